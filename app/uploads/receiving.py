"""Receiving the bytes of a file: counted, hashed and stored as they come, a part at a time.

A part is in the store before its row exists, and rows follow each other without a gap, so an upload that is cut, by
the client or with this process, goes on behind the last part.
"""

from __future__ import annotations

import base64
import binascii
import errno
import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

import structlog
from fastapi import Header
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from app.core.errors import DatasetTooLarge, InvalidParameter, NoSpace, Unavailable, UploadConflict
from app.core.storage import ArtifactStore, Incoming, StorageError
from app.uploads.transactions import UploadTransactions

PART = 64 << 20
"""Bytes of a part: what a cut can cost, and what a store holds under one key."""
_PIECE = 1 << 20
_RANGE = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18}|\*)")
_FULL = (errno.ENOSPC, errno.EDQUOT)

BODY = {"requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {
    "type": "string", "format": "binary"}}}}}  # fmt: skip
"""What the documentation says of the body of a request that sends bytes."""
ContentRange = Annotated[
    str | None, Header(description="`bytes 0-999/5000`: what of the file is sent. Without it: all of it.")
]
ReprDigest = Annotated[
    str | None, Header(description="`sha-256=:…:` of the whole file (RFC 9530); checked before it is read.")
]

D = TypeVar("D")

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Span:
    """What a request sends of a file.

    Attributes:
        start: its first byte; ``None`` where it sends the whole file.
        end: the byte after its last one, where that is known.
        total: bytes of the file, where they are known.
    """

    start: int | None = None
    end: int | None = None
    total: int | None = None


def span_of(content_range: str | None) -> Span:
    """What a ``Content-Range`` header says.

    Raises:
        InvalidParameter: it cannot be read, or contradicts itself.

    >>> span_of("bytes 100-199/1000")
    Span(start=100, end=200, total=1000)
    >>> span_of("bytes */1000")
    Span(start=1000, end=1000, total=1000)
    >>> span_of(None)
    Span(start=None, end=None, total=None)
    """
    if content_range is None:
        return Span()
    match = _RANGE.fullmatch(content_range.strip())
    if match is None:
        raise InvalidParameter(
            f"Content-Range is {content_range!r}, but must look like bytes 0-999/5000, bytes 0-999/* or bytes */5000"
        )
    first, last, size = match.groups()
    total = None if size == "*" else int(size)
    if first is None:
        if total is None:
            raise InvalidParameter("Content-Range is 'bytes */*', which says nothing; give the size of the file")
        return Span(total, total, total)
    start, end = int(first), int(last) + 1
    if end <= start or (total is not None and end > total):
        raise InvalidParameter(
            f"Content-Range is {content_range!r}, but its last byte must not lie before its first one or behind the "
            "file's end"
        )
    return Span(start, end, total)


def digest_of(repr_digest: str | None) -> str | None:
    """The SHA-256 that a ``Repr-Digest`` header (RFC 9530) gives of the whole file, hexadecimal.

    Raises:
        InvalidParameter: it holds no SHA-256 that can be read.

    >>> digest_of("sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:")[:8]
    'e3b0c442'
    """
    if repr_digest is None:
        return None
    match = re.search(r"(?:^|[,\s])sha-256=:([A-Za-z0-9+/=]+):", repr_digest)
    try:
        found = base64.b64decode(match[1], validate=True) if match else b""
    except binascii.Error:
        found = b""
    if len(found) != hashlib.sha256().digest_size:
        raise InvalidParameter(f"Repr-Digest is {repr_digest!r}, but must look like sha-256=:<base64 of 32 bytes>:")
    return found.hex()


class Receiver(Generic[D]):
    """Takes in the body of one request.

    Args:
        transactions: the uploads of who sends.
        store: where parts go.
        identity: of what the file is for.
        span: what the request says that it sends.
        sha256: what it says of the whole file.
    """

    def __init__(
        self,
        transactions: UploadTransactions[Any, D],
        store: ArtifactStore,
        identity: str,
        span: Span,
        sha256: str | None,
    ) -> None:
        self._transactions = transactions
        self._store = store
        self._identity = identity
        self._span = span
        self._told = sha256
        self._seen = hashlib.sha256()
        self._start = self._at = self._most = 0
        self._cut = False

    async def receive(self, chunks: AsyncIterator[bytes]) -> D:
        """Store what comes; the document as it is afterwards, a worker's where nothing is missing any more.

        Raises:
            NotFound: there is nothing of that id.
            UploadConflict: these bytes do not come next, or are not those that were announced.
            DatasetTooLarge: there is no room for them; nothing of the upload was kept.
            NoSpace: the disk is full; nothing of the upload was kept.
            InvalidParameter: more or fewer bytes came than ``Content-Range`` says.
            Unavailable: the store cannot be reached; what came before is kept.
        """
        self._start, self._most = await run_in_threadpool(self._transactions.begin, self._identity, self._span.start)
        self._at = self._start
        try:
            await self._store_parts(self._pieces(chunks))
        except DatasetTooLarge:
            await run_in_threadpool(self._transactions.discard, self._identity)
            raise
        except OSError as error:
            if error.errno not in _FULL:
                raise
            await run_in_threadpool(self._transactions.discard, self._identity)
            raise NoSpace(
                "the service's disk is full, and nothing of the upload was kept; delete sets that you no longer need, "
                "or send it again later"
            ) from error
        except StorageError as error:
            raise Unavailable("the artifact store cannot be reached; go on with the upload shortly") from error
        return await run_in_threadpool(self._end)

    async def _store_parts(self, pieces: AsyncIterator[bytes]) -> None:
        while True:
            size = 0
            with self._store.incoming() as coming:
                while size < PART and (piece := await anext(pieces, b"")):
                    await run_in_threadpool(self._write, coming, piece)
                    size += len(piece)
                if not size:
                    return
                blob = await run_in_threadpool(coming.keep)
            await run_in_threadpool(self._transactions.add_part, self._identity, self._at, blob)
            self._at += size

    def _write(self, coming: Incoming, piece: bytes) -> None:
        coming.write(piece)
        self._seen.update(piece)

    async def _pieces(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The body in pieces that are worth a thread's turn, counted; up to the cut, where the client is gone."""
        piece, come = bytearray(), self._start
        try:
            async for chunk in chunks:
                piece += chunk
                come += len(chunk)
                self._check(come)
                while len(piece) >= _PIECE:
                    yield bytes(piece[:_PIECE])
                    del piece[:_PIECE]
        except ClientDisconnect:
            self._cut = True
            log.info("upload cut", upload=self._identity, received=come)
        if piece:
            yield bytes(piece)

    def _check(self, come: int) -> None:
        if self._span.end is not None and come > self._span.end:
            raise InvalidParameter(
                f"Content-Range ends before byte {self._span.end:,}, but more bytes came; send what it says"
            )
        if come > self._most:
            raise DatasetTooLarge(
                f"there is room for {self._most:,} bytes, and more came; nothing of the upload was kept. Delete sets "
                "that you no longer need, or ask for more"
            )

    def _end(self) -> D:
        if self._cut:
            return self._transactions.get(self._identity)
        if self._span.end is not None and self._at < self._span.end:
            raise InvalidParameter(
                f"Content-Range ends before byte {self._span.end:,}, but the body ended before byte {self._at:,}; "
                "its bytes are kept, so go on there"
            )
        total = self._at if self._span.start is None else self._span.total
        if total is None or self._at < total:
            return self._transactions.get(self._identity)
        if not total:
            raise InvalidParameter("the body is empty; send the bytes of the file")
        return self._transactions.complete(self._identity, total, self._digest())

    def _digest(self) -> str | None:
        """Digest of the whole file as far as it is known: seen where one request sent all of it, else told.

        Raises:
            UploadConflict: what was seen is not what was told.
        """
        if self._start:
            return self._told
        seen = self._seen.hexdigest()
        if self._told not in (None, seen):
            self._transactions.discard(self._identity)
            raise UploadConflict(
                f"Repr-Digest says that the file's SHA-256 is {self._told}, but it is {seen}; nothing was kept, so "
                "send it again",
                extra={"received": 0},
            )
        return seen
