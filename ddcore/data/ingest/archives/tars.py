"""Tars, read once and in order, compressed or not."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, Self, cast

from ddcore.data.ingest.archives.compression import decompressed
from ddcore.data.ingest.archives.damage import REPACK, Read, reading, safely
from ddcore.data.ingest.archives.target import CHUNK, Target, counting
from ddcore.errors import DataError

BLOCK = tarfile.BLOCKSIZE
"""Bytes of a header."""

_LONGEST_HEADER = 1 << 20
_TAR_BUFFER = 1 << 16


class _BrokenHeaderError(Exception):
    """A header of a tar is damaged, or the tar ends where one must follow."""


class _Strict(tarfile.TarInfo):
    """A header whose damage ends the reading; the standard library takes it for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == BLOCK and buf.count(0) == BLOCK:
                raise
            raise _BrokenHeaderError(str(error)) from error


class _Stream:
    """Bytes of a tar, read once and in order; while a header is read, only so many."""

    def __init__(self, read: Read, target: Target) -> None:
        self._read, self._target = read, target
        self._left: int | None = None

    @contextmanager
    def header(self) -> Iterator[None]:
        """Read a header, with its extensions, in here."""
        self._left = _LONGEST_HEADER
        with reading(self._target.archive, (_BrokenHeaderError,)):
            yield
        self._left = None

    def read(self, size: int) -> bytes:
        data = self._read(size)
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                most = f"{_LONGEST_HEADER:,} bytes"
                raise DataError(f"{self._target.archive.name} has an entry with a header of more than {most}; {REPACK}")
        return data


def untar(opened: IO[bytes], target: Target) -> None:
    """Unpack a tar, compressed or not.

    Raises:
        DataError: it is damaged, an entry is hostile or cannot be kept, or a limit is exceeded.
    """
    stream = _Stream(counting(decompressed(opened, target.archive), target), target)
    with stream.header():
        packed = tarfile.open(fileobj=cast(IO[bytes], stream), mode="r|", tarinfo=_Strict, bufsize=_TAR_BUFFER)  # noqa: SIM115
    with packed:
        while (member := _next(packed, stream)) is not None:
            _untar_entry(packed, member, target)
        _check_end(packed, target)


def _next(packed: tarfile.TarFile, stream: _Stream) -> tarfile.TarInfo | None:
    """The next member; those before are forgotten, or millions would fill the memory."""
    cast(Any, packed).members.clear()
    packed.pax_headers = {}
    with stream.header():
        return packed.next()


def _untar_entry(packed: tarfile.TarFile, member: tarfile.TarInfo, target: Target) -> None:
    name = member.name
    if member.issym() or member.islnk():
        raise target.refuse(name, "is a link, not a file", "put the file itself in its place")
    if member.issparse():
        raise target.refuse(name, "is stored as a sparse file", "pack it without --sparse")
    if not member.isreg() and not member.isdir():
        raise target.refuse(name, "is a device, a pipe or of an unknown kind, not a file", "leave it out")
    path = target.enter(name, member.isdir())
    if member.isdir():
        return
    with reading(target.archive):
        data = packed.extractfile(member)
    if data is not None:
        target.copy(name, path, safely(data.read, target.archive))


def _check_end(packed: tarfile.TarFile, target: Target) -> None:
    """Read to the end, where a compressed file has its checksum, and refuse what follows the end of the tar."""
    rest = safely(cast(Any, packed.fileobj).read, target.archive)
    while data := rest(CHUNK):
        if data.count(0) != len(data):
            raise DataError(f"{target.archive.name} goes on after its end, as joined archives do; {REPACK}")


def is_tar(head: bytes) -> bool:
    """Whether bytes begin with the header of a tar."""
    try:
        tarfile.TarInfo.frombuf(head[:BLOCK], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True
