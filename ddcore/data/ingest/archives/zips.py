"""Zips, entry by entry."""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Callable
from typing import IO

from ddcore.data.ingest.archives.damage import reading, safely
from ddcore.data.ingest.archives.target import CHUNK, Target, counting
from ddcore.errors import DataError

ZIP = (b"PK\x03\x04", b"PK\x05\x06")
"""First bytes of a zip, with entries and without."""

_SMALL_CHUNK = 1 << 12
_BYTES_OF_A_ZIP_ENTRY = 512


def unzip(opened: IO[bytes], target: Target) -> None:
    """Unpack a zip.

    Raises:
        DataError: it is damaged, an entry is hostile or cannot be kept, or a limit is exceeded.
    """
    most = max(CHUNK, target.limits.entries * _BYTES_OF_A_ZIP_ENTRY)
    many = f"holds more than {target.limits.entries:,} entries, or very long names"
    with reading(target.archive):
        packed = zipfile.ZipFile(_Guarded(opened, most, lambda: target.too_much(many)))
    with packed:
        for info in packed.infolist():
            _unzip_entry(packed, info, target)


def _unzip_entry(packed: zipfile.ZipFile, info: zipfile.ZipInfo, target: Target) -> None:
    name, kind = info.orig_filename, stat.S_IFMT(info.external_attr >> 16)
    if info.flag_bits & 0x1:
        raise target.refuse(name, "is encrypted", "pack it without a password")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        what = "a symbolic link" if kind == stat.S_IFLNK else "a device or a pipe"
        raise target.refuse(name, f"is {what}, not a file", "put the file itself in its place")
    folder = name.endswith("/")
    path = target.enter(name, folder)
    if folder:
        return
    with reading(target.archive):
        member = packed.open(info)
    with member:
        # The standard library unpacks all that it has read of these two at once.
        at_once = _SMALL_CHUNK if info.compress_type in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA) else CHUNK
        target.copy(name, path, counting(safely(member.read, target.archive), target), at_once)


class _Guarded(io.BufferedIOBase):
    """A file from which nobody reads a huge piece at once, as a forged size of a directory would have it."""

    def __init__(self, inner: IO[bytes], most: int, refuse: Callable[[], DataError]) -> None:
        self.inner, self.most, self.refuse = inner, most, refuse

    def seekable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > self.most:
            raise self.refuse()
        return self.inner.read(CHUNK if size is None or size < 0 else size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self.inner.seek(offset, whence)

    def tell(self) -> int:
        return self.inner.tell()
