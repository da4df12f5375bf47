"""Blobs as files below one folder."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

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
from app.core.storage.files import new_file, sync, sync_folder

_INCOMING = "incoming"


class LocalStore(ArtifactStore):
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

    @contextmanager
    def incoming(self) -> Iterator[Incoming]:
        """Begin a blob whose bytes are still to come."""
        with new_file(self._root / _INCOMING) as (temporary, handle):
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

    def digests(self) -> Iterator[str]:
        """Digests that it has files of, in no order."""
        for path in self._root.glob("sha256/??/??/*"):
            yield path.name

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
        sync(self._handle)
        blob = Blob(self._digest.hexdigest(), self._size)
        final = self._root / key_of(blob.sha256)
        final.parent.mkdir(parents=True, exist_ok=True)
        # Replacing rather than keeping an older file heals a blob that has rotted; its contents are the same.
        self._temporary.replace(final)
        for folder in (final.parent, final.parent.parent, final.parent.parent.parent):
            sync_folder(folder)
        return blob
