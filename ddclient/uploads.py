"""Sending a file in pieces, going on where a connection broke: what is to be sent next, whoever sends it.

Nothing here waits for the network. :meth:`Upload.run` yields what is to be done, and is told what came of it;
:meth:`ddclient.transport.Transport.upload` does it, and :meth:`ddclient.transport.AsyncTransport.upload`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Awaitable, Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, cast

from ddclient.calls import Call
from ddclient.errors import ProblemError
from ddclient.models import UploadState
from ddclient.packing import Content


class Receiving(Protocol):
    """A document of something whose file is sent."""

    @property
    def upload(self) -> UploadState | None:
        """What has come of the file."""

    @property
    def complete(self) -> bool:
        """Whether no byte of it is missing."""


T = TypeVar("T")
D = TypeVar("D", bound=Receiving)
W = TypeVar("W")
F = TypeVar("F")

PIECE = 32 << 20
"""Bytes of a request: what a cut costs at most."""
REFUSALS = 4
"""A service that refuses a piece so often in a row is believed."""
_CHUNK = 1 << 20

Tell = Callable[[str, int, int | None], None]
"""Told what is going on (``sending``, ``queued``, ``ingesting``, …), how far it is, and of how much, where known."""
Requests = Generator["Call[D] | Piece[D]", D, D]
"""Requests one after the other; each is answered by the document as it is afterwards."""
Attempt = Callable[[], Requests[D]]
"""Requests that may be made again from their beginning when the connection fails."""


@dataclass(frozen=True)
class Piece(Generic[D]):
    """Some bytes of the content, to be sent in one request.

    Attributes:
        upload: of which it is a piece.
        start: first byte.
        end: behind the last byte; ``start`` where all bytes are there and only that is to be said.
    """

    upload: Upload[D]
    start: int
    end: int

    @property
    def path(self) -> str:
        """Where it goes."""
        return f"{self.upload.ask.path}/content"

    def headers(self) -> dict[str, str]:
        """What goes with the bytes; with the last ones the digest, for which the whole content may have to be read."""
        total = self.upload.content.size
        span = f"{self.start}-{self.end - 1}" if self.end > self.start else "*"
        found = {
            "Content-Range": f"bytes {span}/{total}",
            "Content-Type": "application/octet-stream",
            "Content-Length": str(self.end - self.start),
        }
        if self.end == total:
            found["Repr-Digest"] = f"sha-256=:{base64.b64encode(self.upload.digest_to(total)).decode()}:"
        return found

    def chunks(self) -> Iterator[Chunk[D]]:
        """What to read and send one after the other."""
        for start in range(self.start, self.end, _CHUNK):
            yield Chunk(self.upload, start, min(_CHUNK, self.end - start))


@dataclass(frozen=True)
class Chunk(Generic[D]):
    """Bytes that are in memory together."""

    upload: Upload[D]
    start: int
    size: int

    def read(self) -> bytes:
        """The bytes.

        Raises:
            BadInputError: a file changed meanwhile.
        """
        return self.upload.read(self.start, self.size)

    def sent(self) -> None:
        """Says how far the upload is."""
        self.upload.tell("sending", self.start + self.size, self.upload.content.size)


class Upload(Generic[D]):
    """Sends the bytes of something that was announced.

    Each piece is a request of its own. After a failure the service is asked how many bytes it has; it may have stored
    what it never confirmed. The SHA-256 of all bytes is sent with the last piece.

    Args:
        document: it as it was announced, or as an earlier attempt left it.
        ask: reads it again; its bytes go to ``content`` below that address.
        content: its bytes.
        tell: told how many bytes have been sent.
    """

    def __init__(self, document: D, ask: Call[D], content: Content, tell: Tell) -> None:
        self.document, self.ask, self.content, self.tell = document, ask, content, tell
        self._at = document.upload.received if document.upload else 0
        self._certain = True
        self._digest, self._digested = hashlib.sha256(), 0

    def run(self) -> Generator[Attempt[D], D, D]:
        """What sends the bytes that are missing; returns the document as it is afterwards.

        A :class:`ProblemError` that ended an attempt has to be thrown in.

        Raises:
            ProblemError: the service refused.
        """
        refused = 0
        while not self.document.complete:
            before = self._at
            try:
                self.document = yield self._send_next
                refused = 0
            except ProblemError as error:
                # Somebody else sent what comes next, or an earlier request of ours arrived late.
                refused += 1
                if error.problem_code != "upload_conflict" or refused >= REFUSALS:
                    raise
                self.document = yield self._ask
                if not self.document.complete and self._at == before:
                    raise
        return self.document

    def read(self, start: int, size: int) -> bytes:
        """Some bytes of the content.

        Raises:
            BadInputError: a file changed meanwhile.
        """
        data = self.content.read(start, size)
        if start == self._digested:
            self._digest.update(data)
            self._digested += len(data)
        return data

    def digest_to(self, end: int) -> bytes:
        """SHA-256 of the bytes before ``end``; those that this process has not sent are read for it."""
        while self._digested < end:
            self.read(self._digested, min(_CHUNK, end - self._digested))
        return self._digest.digest()

    def _ask(self) -> Requests[D]:
        document = yield self.ask
        self._at = document.upload.received if document.upload else 0
        self._certain = True
        return document

    def _send_next(self) -> Requests[D]:
        """Send one piece, or say that all are there."""
        if not self._certain:
            document = yield from self._ask()
            if document.complete:
                return document
        self._certain = False
        end = min(self._at + PIECE, self.content.size)
        document = yield Piece(self, self._at, end)
        self._at, self._certain = end, True
        self.tell("sending", end, self.content.size)
        return document


def carried(steps: Generator[W, F, T], act: Callable[[W], F]) -> T:
    """Do what a generator wishes, and give it what came of it; what it returns.

    Args:
        steps: a :class:`ProblemError` of one of its wishes is thrown into it.
        act: does what it yields.
    """
    try:
        wish = next(steps)
        while True:
            try:
                found = act(wish)
            except ProblemError as error:
                wish = steps.throw(error)
            else:
                wish = steps.send(found)
    except StopIteration as end:
        return cast("T", end.value)


async def carried_async(steps: Generator[W, F, T], act: Callable[[W], Awaitable[F]]) -> T:
    """The same where what is done has to be awaited."""
    try:
        wish = next(steps)
        while True:
            try:
                found = await act(wish)
            except ProblemError as error:
                wish = steps.throw(error)
            else:
                wish = steps.send(found)
    except StopIteration as end:
        return cast("T", end.value)
