"""Where the bytes of artifacts live: content-addressed by SHA-256, in a local folder or an object store.

A key is built from a digest alone (``sha256/ab/cd/<digest>``), never from a name that a user gave, so no
request can reach a file outside the store. Equal contents are stored once.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import ObjectStore

    from app.core.settings import Settings

CHUNK = 1 << 20
"""Bytes read or written at a time."""
ABANDONED_S = 60.0
"""A file on its way in that nobody has written to for so long, and that nobody holds, is left over."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_MULTIPART_ABOVE = 16 << 20
_INCOMING = "incoming"


class StorageError(Exception):
    """The store cannot do what was asked; the message names the digest, never a path."""


class BlobMissingError(StorageError):
    """The store holds nothing under this digest."""


class ChecksumMismatchError(StorageError):
    """The stored bytes do not have the digest they are filed under."""


@dataclass(frozen=True)
class Blob:
    """Stored bytes.

    Attributes:
        sha256: digest of the contents, 64 lower-case hexadecimal digits; also the key.
        size: length in bytes.
    """

    sha256: str
    size: int


class Incoming(Protocol):
    """A blob on its way in, piece by piece. What is not kept when its block ends is forgotten."""

    def write(self, data: bytes) -> None:
        """Add some bytes.

        Raises:
            OSError: the disk is full.
        """
        ...

    def keep(self) -> Blob:
        """Store what has been written; nothing may be written afterwards."""
        ...


class ArtifactStore(Protocol):
    """Immutable blobs under their digest. Every method may raise :class:`StorageError`."""

    def incoming(self) -> AbstractContextManager[Incoming]:
        """Begin a blob whose bytes are still to come, such as an upload's."""
        ...

    def put_file(self, path: Path) -> Blob:
        """Store the contents of a file; storing the same contents again changes nothing."""
        ...

    def put_stream(self, chunks: Iterable[bytes]) -> Blob:
        """Store bytes as they come, hashing on the way."""
        ...

    def iter_range(self, sha256: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Chunks of bytes ``start`` (inclusive) to ``end`` (exclusive; default: the whole rest).

        Nothing is opened before the first chunk is asked for, which raises :class:`BlobMissingError` where
        nothing is stored.
        """
        ...

    def head(self, sha256: str) -> Blob | None:
        """Digest and size, or ``None`` where nothing is stored."""
        ...

    def exists(self, sha256: str) -> bool:
        """Whether something is stored under this digest."""
        ...

    def delete(self, sha256: str) -> None:
        """Forget the blob; deleting what is not there is fine."""
        ...

    def sign_url(self, sha256: str, expires_s: int) -> str | None:
        """A URL that reads the blob without our credentials for a while, or ``None`` where there is no such thing."""
        ...

    def remove_abandoned(self, age_s: float = ABANDONED_S) -> int:
        """Remove what processes have left that were killed while they wrote.

        Args:
            age_s: seconds since something was written to it last.

        Returns:
            How many files were removed.
        """
        ...


def key_of(sha256: str) -> str:
    """Key of a blob.

    Raises:
        ValueError: for anything but a lower-case hexadecimal SHA-256.

    >>> key_of("ab" * 32)[:16]
    'sha256/ab/ab/aba'
    """
    if not _DIGEST.fullmatch(sha256):
        raise ValueError(f"{sha256!r} is not a SHA-256 in lower-case hexadecimal digits")
    return f"sha256/{sha256[:2]}/{sha256[2:4]}/{sha256}"


def open_store(settings: Settings) -> ArtifactStore:
    """The store that the settings name."""
    return store_at(settings.storage_url)


def store_at(url: str) -> ArtifactStore:
    """The store at a folder (a path or ``file://``), ``s3://bucket/prefix`` or ``memory://``.

    Raises:
        ValueError: for a scheme that is none of these.
    """
    parts = urlsplit(url)
    if not parts.scheme:
        return LocalStore(Path(url))
    if parts.scheme == "file":
        return LocalStore(Path(unquote(parts.path)))
    if parts.scheme in ("s3", "memory"):
        return RemoteStore(url)
    raise ValueError(f"storage URL {url!r}: scheme {parts.scheme!r} is not one of file, s3, memory")


def read_verified(store: ArtifactStore, blob: Blob) -> bytes:
    """All bytes of a blob, checked against its digest before the first is handed out.

    Raises:
        ChecksumMismatchError: if the stored bytes have changed.
        BlobMissingError: if they are gone.
    """
    data = b"".join(store.iter_range(blob.sha256))
    if hashlib.sha256(data).hexdigest() != blob.sha256:
        raise ChecksumMismatchError(f"stored bytes of sha256:{blob.sha256} have changed")
    return data


def iter_verified(store: ArtifactStore, blob: Blob) -> Iterator[bytes]:
    """Chunks of a blob; the last one is held back until the digest is known to be right.

    Raises:
        ChecksumMismatchError: instead of yielding the last chunk, so that a reader never gets a full-length wrong file.
    """
    digest, held = hashlib.sha256(), b""
    for chunk in store.iter_range(blob.sha256):
        if held:
            yield held
        digest.update(chunk)
        held = chunk
    if digest.hexdigest() != blob.sha256:
        raise ChecksumMismatchError(f"stored bytes of sha256:{blob.sha256} have changed")
    yield held


def fetch(store: ArtifactStore, blob: Blob, target: Path) -> None:
    """Copy a blob into a file, which appears only complete and verified.

    Raises:
        ChecksumMismatchError: if the stored bytes have changed; ``target`` is left as it was.
    """
    with _new_file(target.parent) as (temporary, handle):
        for chunk in iter_verified(store, blob):
            handle.write(chunk)
        _sync(handle)
        temporary.replace(target)


class LocalStore:
    """Blobs as files below one folder.

    A blob is written to a temporary name, flushed to disk and renamed, so that a file under its final name
    is complete even after a power cut. Reading walks down from the root without following links.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def put_file(self, path: Path) -> Blob:
        """Store the contents of a file."""
        with path.open("rb") as handle:
            return self.put_stream(iter(lambda: handle.read(CHUNK), b""))

    def put_stream(self, chunks: Iterable[bytes]) -> Blob:
        """Store bytes as they come, hashing on the way."""
        with self.incoming() as coming:
            for chunk in chunks:
                coming.write(chunk)
            return coming.keep()

    @contextmanager
    def incoming(self) -> Iterator[Incoming]:
        """Begin a blob whose bytes are still to come."""
        with _new_file(self._root / _INCOMING) as (temporary, handle):
            # Who holds the lock is alive; remove_abandoned takes the files of the others.
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield _LocalIncoming(self._root, temporary, handle)

    def iter_range(self, sha256: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Chunks of bytes ``start`` to ``end``."""
        with os.fdopen(self._open(sha256), "rb") as handle:
            handle.seek(start)
            left = None if end is None else end - start
            while left is None or left > 0:
                chunk = handle.read(CHUNK if left is None else min(CHUNK, left))
                if not chunk:
                    return
                left = None if left is None else left - len(chunk)
                yield chunk

    def head(self, sha256: str) -> Blob | None:
        """Digest and size, or ``None``."""
        try:
            descriptor = self._open(sha256)
        except BlobMissingError:
            return None
        try:
            return Blob(sha256, os.fstat(descriptor).st_size)
        finally:
            os.close(descriptor)

    def exists(self, sha256: str) -> bool:
        """Whether something is stored under this digest."""
        return self.head(sha256) is not None

    def delete(self, sha256: str) -> None:
        """Forget the blob."""
        (self._root / key_of(sha256)).unlink(missing_ok=True)

    def sign_url(self, sha256: str, expires_s: int) -> str | None:  # noqa: ARG002 - a folder has no URLs
        """``None``: a folder has no URLs of its own."""
        return None

    def remove_abandoned(self, age_s: float = ABANDONED_S) -> int:
        """Remove the files of writers that are gone."""
        removed = 0
        for path in (self._root / _INCOMING).glob(".*"):
            try:
                with path.open("rb") as handle:
                    if os.fstat(handle.fileno()).st_mtime > time.time() - age_s:  # its writer may be about to lock it
                        continue
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
                    removed += 1
            except (BlockingIOError, FileNotFoundError):  # still being written, or kept at this moment
                continue
        return removed

    def _open(self, sha256: str) -> int:
        *folders, name = key_of(sha256).split("/")
        try:
            descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
            for part in (*folders, name):
                kind = 0 if part == name else os.O_DIRECTORY
                try:
                    deeper = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | kind, dir_fd=descriptor)
                finally:
                    os.close(descriptor)
                descriptor = deeper
        except FileNotFoundError as error:
            raise BlobMissingError(f"nothing is stored under sha256:{sha256}") from error
        except OSError as error:
            raise StorageError(f"sha256:{sha256} cannot be read: {error.strerror}") from error
        return descriptor


class _LocalIncoming:
    """A blob on its way into a folder."""

    def __init__(self, root: Path, temporary: Path, handle: IO[bytes]) -> None:
        self._root, self._temporary, self._handle = root, temporary, handle
        self._digest, self._size = hashlib.sha256(), 0

    def write(self, data: bytes) -> None:
        self._handle.write(data)
        self._digest.update(data)
        self._size += len(data)

    def keep(self) -> Blob:
        _sync(self._handle)
        blob = Blob(self._digest.hexdigest(), self._size)
        final = self._root / key_of(blob.sha256)
        final.parent.mkdir(parents=True, exist_ok=True)
        # Replacing rather than keeping an older file heals a blob that has rotted; its contents are the same.
        self._temporary.replace(final)
        for folder in (final.parent, final.parent.parent, final.parent.parent.parent):
            _sync_folder(folder)
        return blob


class RemoteStore:
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

    def put_stream(self, chunks: Iterable[bytes]) -> Blob:
        """Store bytes as they come."""
        with self.incoming() as coming:
            for chunk in chunks:
                coming.write(chunk)
            return coming.keep()

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

    def exists(self, sha256: str) -> bool:
        """Whether something is stored under this digest."""
        return self.head(sha256) is not None

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


@contextmanager
def _new_file(folder: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """A new file that vanishes unless it is renamed in time."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".{secrets.token_hex(16)}"
    try:
        with path.open("xb") as handle:
            yield path, handle
    finally:
        path.unlink(missing_ok=True)


def _sync(handle: IO[bytes]) -> None:
    handle.flush()
    os.fsync(handle.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
