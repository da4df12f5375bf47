"""Blobs and the stores that keep them: what every store can do, and what may go wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

CHUNK = 1 << 20
"""Bytes read or written at a time."""
ABANDONED_S = 60.0
"""A file on its way in that nobody has written to for so long, and that nobody holds, is left over."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


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
        with self.incoming() as coming:
            for chunk in chunks:
                coming.write(chunk)
            return coming.keep()

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
        return self.head(sha256) is not None

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
