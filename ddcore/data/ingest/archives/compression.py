"""What comes out of gzip, bzip2, xz and zstd, a piece at a time."""

from __future__ import annotations

import bz2
import gzip
import importlib
import lzma
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Protocol

from ddcore.data.ingest.archives.damage import Read, safely
from ddcore.data.ingest.archives.target import CHUNK
from ddcore.errors import DataError

_GZIP, _BZIP2, _XZ, _ZSTD = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"
COMPRESSED = (_GZIP, _BZIP2, _XZ, _ZSTD)
"""First bytes of what can be read."""

_FIRST_BYTES = max(map(len, COMPRESSED))
_XZ_MEMORY = 512 << 20


def decompressed(opened: IO[bytes], archive: Path) -> Read:
    """How to read what a file holds, compressed or not.

    Raises:
        DataError: it is compressed with zstd, which this machine cannot read; or, from reading, it is damaged.
    """
    head = opened.read(_FIRST_BYTES)
    opened.seek(0)
    if head.startswith(_GZIP):
        return safely(gzip.GzipFile(fileobj=opened).read, archive)
    if head.startswith(_BZIP2):
        return safely(_Decompressed(opened, bz2.BZ2Decompressor).read, archive)
    if head.startswith(_XZ):
        return safely(_Decompressed(opened, lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY)).read, archive)
    if head.startswith(_ZSTD):
        return _zstd(opened, archive)
    return opened.read


def _zstd(opened: IO[bytes], archive: Path) -> Read:
    with suppress(ImportError):
        ours = importlib.import_module("compression.zstd")
        return safely(ours.ZstdFile(opened).read, archive, (ours.ZstdError,))
    with suppress(ImportError):
        theirs = importlib.import_module("zstandard")
        reader = theirs.ZstdDecompressor().stream_reader(opened, read_across_frames=True, closefd=False)
        return safely(reader.read, archive, (theirs.ZstdError,))
    raise DataError(
        f"{archive.name} is compressed with zstd, which this machine cannot read; pack it again as .tar.gz, or "
        "install the package zstandard"
    )


class _Decompressor(Protocol):
    """What the decompressors of :mod:`bz2` and :mod:`lzma` have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Decompressed:
    """What comes out of compressed streams, one after the other."""

    def __init__(self, opened: IO[bytes], make: Callable[[], _Decompressor]) -> None:
        self._opened, self._make = opened, make
        self._now = make()

    def read(self, size: int) -> bytes:
        while True:
            fresh = self._now.unused_data if self._now.eof else b""
            if not fresh and (self._now.eof or self._now.needs_input):
                fresh = self._opened.read(CHUNK)
            if self._now.eof:
                fresh = fresh.lstrip(b"\0")
                if not fresh:
                    return b""
                self._now = self._make()
            elif self._now.needs_input and not fresh:
                raise EOFError("it ends too early")
            if data := self._now.decompress(fresh, size):
                return data
