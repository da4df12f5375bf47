"""A folder as a tar that is never written to disk: its size is known beforehand, and any part of it can be read.

The same files always make the same bytes: sorted, without owners, times or modes. So an upload that was cut can go on
later, even from another process.
"""

from __future__ import annotations

import os
import stat
import tarfile
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Protocol

from ddclient.errors import BadInputError
from ddcore.errors import DataError
from ddcore.spec.listing import listed

_BLOCK = tarfile.BLOCKSIZE
_PLAIN_NAME = 100
_PLAIN_SIZE = 8**11
"""Longer names, names that are not ASCII and files of this size have a PAX header before their own."""


class Content(Protocol):
    """Bytes that can be sent, from any place on.

    Attributes:
        name: of the file that the service sees.
        size: bytes in all.
    """

    name: str
    size: int

    def read(self, start: int, size: int) -> bytes:
        """The bytes from ``start`` on, ``size`` of them or as many as there are.

        Raises:
            BadInputError: a file has changed since its size was read.
        """
        ...


class PlainFile:
    """A file as it is.

    Raises:
        BadInputError: it cannot be read, is no plain file, or is empty.
    """

    def __init__(self, path: Path) -> None:
        self._file = _Watched.at(path)
        self.name, self.size = path.name, self._file.size
        if not self.size:
            raise BadInputError(f"{path} is empty; give a file that holds images")

    def read(self, start: int, size: int) -> bytes:
        """See :class:`Content`."""
        return self._file.read(start, min(size, self.size - start))


class Tar:
    """Files in the format of POSIX.1-2001 (PAX), uncompressed, since images hardly shrink.

    Args:
        name: of the tar.
        members: the path that each file has inside, and the file.

    Raises:
        BadInputError: there are none, or one cannot be read, is no plain file, or has a name that is no text.
    """

    def __init__(self, name: str, members: Sequence[tuple[str, Path]]) -> None:
        if not members:
            raise BadInputError(f"there is nothing to send as {name}; give a folder that holds images")
        self.name = name
        self._members = [_Member(inside, _Watched.at(path)) for inside, path in members]
        self._starts = list(accumulate((member.length for member in self._members), initial=0))
        """Where each begins, and where the last one ends."""
        # two empty blocks end a tar, and its length is a multiple of twenty
        self.size = -(-(self._starts[-1] + 2 * _BLOCK) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE

    def read(self, start: int, size: int) -> bytes:
        """See :class:`Content`."""
        end = min(start + size, self.size)
        return b"".join(self._pieces(start, end))

    def _pieces(self, start: int, end: int) -> Iterator[bytes]:
        place = bisect_right(self._starts, start) - 1
        while start < end:
            if place == len(self._members):
                yield bytes(end - start)
                return
            piece = self._members[place].read(start - self._starts[place], end - start)
            yield piece
            start += len(piece)
            place += start == self._starts[place + 1]


def folder(place: Path, name: str | None = None) -> Tar:
    """A folder as a tar, without what readers would ignore.

    Args:
        place: the folder. Links to files are followed, links to folders are not.
        name: of the tar. Default: that of the folder.

    Raises:
        BadInputError: it holds no file, or something in it cannot be read.
    """
    return Tar(f"{name or place.resolve().name or 'images'}.tar", members_of(place))


def members_of(place: Path, prefix: str = "") -> list[tuple[str, Path]]:
    """Every file of a folder that is worth sending, by the path that it has in a tar.

    Raises:
        BadInputError: a folder cannot be read.
    """
    try:
        listing = listed(place)
    except DataError as error:
        raise BadInputError(str(error)) from error
    return [(prefix + path.as_posix(), place / path) for path in listing.files]


@dataclass(frozen=True, slots=True)
class _Watched:
    """A file, and how it was when its size was read."""

    path: Path
    size: int
    changed_ns: int

    @classmethod
    def at(cls, path: Path) -> _Watched:
        try:
            found = path.stat()
        except OSError as error:
            raise BadInputError(f"{path} cannot be read ({error.strerror}); mend it, or leave it out") from error
        if not stat.S_ISREG(found.st_mode):
            raise BadInputError(f"{path} is no plain file, so it cannot be sent; leave it out")
        return cls(path, found.st_size, found.st_mtime_ns)

    def read(self, start: int, size: int) -> bytes:
        """Bytes of the file, as long as it is as it was.

        Raises:
            BadInputError: it is not, or cannot be read.
        """
        try:
            with self.path.open("rb") as opened:
                opened.seek(start)
                data = opened.read(size)
                now = os.fstat(opened.fileno())
        except OSError as error:
            raise BadInputError(f"{self.path} cannot be read ({error.strerror}); mend it, or leave it out") from error
        if (now.st_size, now.st_mtime_ns, len(data)) != (self.size, self.changed_ns, size):
            raise BadInputError(f"{self.path} changed while it was being sent; send it again once nothing writes to it")
        return data


@dataclass(frozen=True, slots=True)
class _Member:
    """A file in a tar: its header, its bytes, and zeros up to the next block."""

    inside: str
    file: _Watched

    def __post_init__(self) -> None:
        try:
            self.inside.encode()
        except UnicodeEncodeError as error:
            raise BadInputError(f"the name of {self.inside!r} is not UTF-8, so it cannot be sent; rename it") from error

    @property
    def length(self) -> int:
        """Bytes that it takes, a multiple of a block."""
        return self._head + -(-self.file.size // _BLOCK) * _BLOCK

    @property
    def _head(self) -> int:
        plain = len(self.inside) <= _PLAIN_NAME and self.inside.isascii() and self.file.size < _PLAIN_SIZE
        return _BLOCK if plain else len(self._header())

    def _header(self) -> bytes:
        info = tarfile.TarInfo(self.inside)
        info.size, info.mode = self.file.size, 0o644
        return info.tobuf(tarfile.PAX_FORMAT)

    def read(self, start: int, size: int) -> bytes:
        """At least one byte from ``start`` on, up to the end of the header, of the file or of the zeros."""
        head = self._head
        if start < head:
            return self._header()[start : start + size]
        start -= head
        if start < self.file.size:
            return self.file.read(start, min(size, self.file.size - start))
        return bytes(min(size, self.length - head - start))
