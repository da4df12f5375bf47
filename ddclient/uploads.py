"""Sending a file in pieces, going on where a connection broke."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator

from ddclient.errors import ProblemError
from ddclient.models import DatasetDocument
from ddclient.packing import Content
from ddclient.transport import ATTEMPTS, Transport

PIECE = 32 << 20
"""Bytes of a request: what a cut costs at most."""
_CHUNK = 1 << 20

Tell = Callable[[str, int, int | None], None]
"""Told what is going on (``sending``, ``queued``, ``ingesting``, …), how far it is, and of how much, where known."""


class Upload:
    """Sends the bytes of a set that was announced.

    Each piece is a request of its own. After a failure the service is asked how many bytes it has; it may have stored
    what it never confirmed. The SHA-256 of all bytes is sent with the last piece.

    Args:
        transport: the service.
        document: the set as it was announced, or as an earlier attempt left it.
        content: its bytes.
        tell: told how many bytes have been sent.
    """

    def __init__(self, transport: Transport, document: DatasetDocument, content: Content, tell: Tell) -> None:
        self._transport, self._document, self._content, self._tell = transport, document, content, tell
        self._path = f"/v1/datasets/{document.id}"
        self._at = document.upload.received if document.upload else 0
        self._certain = True
        self._digest, self._digested = hashlib.sha256(), 0

    def run(self) -> DatasetDocument:
        """Send what is missing; the set as it is afterwards.

        Raises:
            BadInputError: a file changed meanwhile.
            ProblemError: the service refused.
            UnreachableError: the service does not answer, however often it is asked.
        """
        refused = 0
        while not self._document.complete:
            before = self._at
            try:
                self._document = self._transport.persist(self._send_next)
                refused = 0
            except ProblemError as error:
                # Somebody else sent what comes next, or an earlier request of ours arrived late.
                refused += 1
                if error.problem_code != "upload_conflict" or refused >= ATTEMPTS or not self._moved(before):
                    raise
        return self._document

    def _moved(self, before: int) -> bool:
        """Whether the service waits for other bytes than those that it refused."""
        self._document = self._transport.persist(self._ask)
        return self._document.complete or self._at != before

    def _ask(self) -> DatasetDocument:
        document = DatasetDocument.model_validate(self._transport.get(self._path))
        self._at = document.upload.received if document.upload else 0
        self._certain = True
        return document

    def _send_next(self) -> DatasetDocument:
        """Send one piece, or say that all are there."""
        if not self._certain and (document := self._ask()).complete:
            return document
        self._certain = False
        start, total = self._at, self._content.size
        end = min(start + PIECE, total)
        span = f"{start}-{end - 1}" if end > start else "*"
        headers = {"Content-Range": f"bytes {span}/{total}"}
        if end == total:
            headers["Repr-Digest"] = f"sha-256=:{base64.b64encode(self._digest_to(total)).decode()}:"
        answer = self._transport.put(f"{self._path}/content", self._bytes(start, end), end - start, headers)
        self._at, self._certain = end, True
        self._tell("sending", end, total)
        return DatasetDocument.model_validate(answer)

    def _bytes(self, start: int, end: int) -> Iterator[bytes]:
        for at in range(start, end, _CHUNK):
            chunk = self._content.read(at, min(_CHUNK, end - at))
            if at == self._digested:
                self._digest.update(chunk)
                self._digested += len(chunk)
            yield chunk
            self._tell("sending", at + len(chunk), self._content.size)

    def _digest_to(self, end: int) -> bytes:
        """SHA-256 of the bytes before ``end``; those that this process has not sent are read for it."""
        while self._digested < end:
            chunk = self._content.read(self._digested, min(_CHUNK, end - self._digested))
            self._digest.update(chunk)
            self._digested += len(chunk)
        return self._digest.digest()
