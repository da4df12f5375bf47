"""Blobs in an object store."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

from app.core.storage.blobs import (
    ABANDONED_S,
    CHUNK,
    ArtifactStore,
    Blob,
    BlobMissingError,
    Incoming,
    StorageError,
    key_of,
)

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import ObjectStore

_MULTIPART_ABOVE = 16 << 20


class RemoteStore(ArtifactStore):
    """Blobs in an object store, through obstore; credentials come from the store's usual environment variables."""

    def __init__(self, url: str) -> None:
        try:
            import obstore
            from obstore.store import from_url
        except ImportError as error:
            scheme = urlsplit(url).scheme
            raise StorageError(
                f"storing artifacts at {scheme}:// needs obstore: pip install 'ddservice[s3]'"
            ) from error
        self._obstore = obstore
        self._store: ObjectStore = from_url(url if urlsplit(url).scheme != "memory" else "memory:///")
        self._signs = urlsplit(url).scheme == "s3"

    def put_file(self, path: Path) -> Blob:
        """Store the contents of a file."""
        with path.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        blob = Blob(digest, path.stat().st_size)
        if self.head(digest) != blob:
            self._put(key_of(digest), path, multipart=blob.size > _MULTIPART_ABOVE)
        return blob

    @contextmanager
    def incoming(self) -> Iterator[Incoming]:
        """Begin a blob; it passes through a temporary file because the key is its digest."""
        with tempfile.NamedTemporaryFile(prefix="dd-upload-") as spool:
            yield _RemoteIncoming(self, spool)

    def iter_range(self, sha256: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Chunks of bytes ``start`` to ``end``."""
        if end is not None and start >= end:
            return
        with _translated(sha256):
            options: GetOptions = {}
            if end is not None:
                options = {"range": (start, end)}
            elif start:
                options = {"range": {"offset": start}}
            result = self._obstore.get(self._store, key_of(sha256), options=options)
            for chunk in result.stream(min_chunk_size=CHUNK):
                yield bytes(chunk)

    def head(self, sha256: str) -> Blob | None:
        """Digest and size, or ``None``."""
        try:
            with _translated(sha256):
                return Blob(sha256, self._obstore.head(self._store, key_of(sha256))["size"])
        except BlobMissingError:
            return None

    def delete(self, sha256: str) -> None:
        """Forget the blob."""
        if self.exists(sha256):
            with _translated(sha256):
                self._obstore.delete(self._store, key_of(sha256))

    def sign_url(self, sha256: str, expires_s: int) -> str | None:
        """A pre-signed GET, where the store knows such a thing."""
        if not self._signs:
            return None
        with _translated(sha256):
            # obstore types sign() for its signing stores only; `_signs` says that this is one.
            return str(self._obstore.sign(self._store, "GET", key_of(sha256), timedelta(seconds=expires_s)))  # type: ignore[call-overload]

    def remove_abandoned(self, age_s: float = ABANDONED_S) -> int:  # noqa: ARG002 - one signature for all stores
        """Nothing to do: object stores show no object before it is whole."""
        return 0

    def _put(self, key: str, path: Path, *, multipart: bool) -> None:
        with _translated(key.rpartition("/")[2]):
            self._obstore.put(self._store, key, path, use_multipart=multipart)


class _RemoteIncoming:
    """A blob on its way into an object store."""

    def __init__(self, store: RemoteStore, spool: IO[bytes]) -> None:
        self._store, self._spool = store, spool

    def write(self, data: bytes) -> None:
        self._spool.write(data)

    def keep(self) -> Blob:
        self._spool.flush()
        return self._store.put_file(Path(self._spool.name))


@contextmanager
def _translated(sha256: str) -> Iterator[None]:
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError as error:
        raise BlobMissingError(f"nothing is stored under sha256:{sha256}") from error
    except (BaseError, OSError) as error:
        raise StorageError(f"the object store failed for sha256:{sha256}") from error
