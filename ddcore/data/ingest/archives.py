"""Unpacks archives that strangers sent: nothing leaves the folder, and nothing grows without bound.

Sizes are counted while bytes come out; what an archive says of itself is never believed.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import importlib
import io
import lzma
import os
import re
import shutil
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol, Self, cast

from ddcore.errors import DataError

UNPACKED = ".unpacked"
"""An empty file of this name lies in the folder of an archive that was unpacked completely."""

_BLOCK = tarfile.BLOCKSIZE
_CHUNK = 1 << 18
_SMALL_CHUNK = 1 << 12
_RATIO_COUNTS_FROM = 64 << 20
_LONGEST_HEADER = 1 << 20
_LONGEST_PART = 255
_LONGEST_PATH = 3800
_BYTES_OF_A_ZIP_ENTRY = 512
_XZ_MEMORY = 512 << 20
_SHOWN = 100
_TAR_BUFFER = 1 << 16
_FIRST_BYTES = 6

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_GZIP, _BZIP2, _XZ, _ZSTD = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"
_TARS = re.compile(r"\.(tar(\.(gz|bz2|xz|zst|zstd))?|tgz|tbz2?|txz|tzst)$", re.IGNORECASE)
_INNER = re.compile(r"\.(zip|7z|rar|tar|gz|tgz|bz2|tbz2|xz|txz|zst|tzst)$", re.IGNORECASE)
_DRIVE = re.compile(r"[A-Za-z]:")
_REPACK = "make a new archive of the folder and send that"
_DAMAGE: tuple[type[Exception], ...] = (
    zipfile.BadZipFile, gzip.BadGzipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError,
    ValueError, OverflowError, MemoryError, RecursionError, IndexError, KeyError, NotImplementedError, RuntimeError,
)  # fmt: skip
"""What the standard library's parsers run into in damaged archives; forged sizes make them ask for too much memory."""


Read = Callable[[int], bytes]
"""Gives at most so many bytes, and none at the end."""


@dataclass(frozen=True)
class Limits:
    """How much may come out of an archive.

    Attributes:
        entries: files and folders.
        total_bytes: of everything, the headers of a tar included.
        entry_bytes: of one file.
        ratio: bytes that come out for each byte of the archive; it counts once more than 64 MB have come out.
    """

    entries: int = 2_000_000
    total_bytes: int = 1 << 40
    entry_bytes: int = 1 << 36
    ratio: int = 200


def is_archive(path: Path) -> bool:
    """Whether a file is a zip or a tar, compressed or not, by its content.

    A file that begins like one and is named like one counts too, so that its damage can be told. Arrays of NumPy
    (``.npz``) do not count, though they are zips.
    """
    if path.suffix.lower() == ".npz" or not path.is_file():
        return False
    with path.open("rb") as opened:
        head = opened.read(_BLOCK)
    if head.startswith(_ZIP):
        return path.suffix.lower() == ".zip" or zipfile.is_zipfile(path)
    if head.startswith((_GZIP, _BZIP2, _XZ, _ZSTD)):
        return bool(_TARS.search(path.name)) or _holds_tar(path)
    return _is_tar(head) or (path.suffix.lower() == ".tar" and len(head) > 0)


def unpack(archive: Path, into: Path, limits: Limits) -> Mapping[str, int]:
    """Unpack an archive into a folder that is empty or not there yet.

    Only plain files are written, for the owner alone. If anything goes wrong, nothing stays behind.

    Returns:
        How many files of each kind were left out (``{"__MACOSX": 3}``) or left packed (``{"inner archives": 1}``).

    Raises:
        DataError: it is no archive, it is damaged, an entry is hostile or cannot be kept, or a limit is exceeded.
        FileExistsError: the folder is not empty.
        OSError: the disk is full, or another fault of the machine.
    """
    made = not into.exists()
    into.mkdir(parents=True, exist_ok=True)
    if any(into.iterdir()):
        raise FileExistsError(errno.EEXIST, "the folder to unpack into is not empty", str(into))
    try:
        with archive.open("rb") as opened:
            target = _Target(archive, into, limits, os.fstat(opened.fileno()).st_size)
            head = opened.read(_BLOCK)
            opened.seek(0)
            (_unzip if head.startswith(_ZIP) else _untar)(opened, target)
        (into / UNPACKED).touch(0o600, exist_ok=False)
    except BaseException:
        _empty(into)
        if made:
            into.rmdir()
        raise
    return dict(target.counted)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


@contextmanager
def _reading(archive: Path, also: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Faults of the archive's bytes as :class:`DataError`; faults of the machine pass."""
    try:
        yield
    except (*_DAMAGE, *also) as error:
        raise _damaged(archive, error) from error
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):
            raise
        raise _damaged(archive, error) from error


def _damaged(archive: Path, error: object) -> DataError:
    return DataError(
        f"{archive.name} is damaged or cut off ({str(error) or type(error).__name__}); send it again, or {_REPACK}"
    )


def _shown(name: str) -> str:
    return repr(name if len(name) <= _SHOWN else name[:_SHOWN] + "…")


@dataclass
class _Target:
    """The folder that is filled, and what has been counted so far."""

    archive: Path
    into: Path
    limits: Limits
    packed_bytes: int
    counted: Counter[str] = field(default_factory=Counter)
    entries: int = 0
    total: int = 0
    known: dict[str, tuple[str, bool]] = field(default_factory=dict)

    def refuse(self, name: str, what: str, way_out: str = _REPACK) -> DataError:
        return DataError(f"{self.archive.name}: the entry {_shown(name)} {what}; {way_out}")

    def too_much(self, what: str) -> DataError:
        return DataError(
            f"{self.archive.name} {what}; send a smaller dataset, or the folder itself in place of an archive"
        )

    def enter(self, name: str, folder: bool) -> Path | None:
        """Admit an entry.

        Returns:
            Where to write it; nothing for a folder, which is made at once, and for a file that is left out.

        Raises:
            DataError: the name is unsafe or clashes with another, or there are too many entries.
        """
        self.entries += 1
        if self.entries > self.limits.entries:
            raise self.too_much(f"holds more than {self.limits.entries:,} entries")
        parts = self._safe(name)
        kind = _junk(parts)
        if kind:
            self.counted[kind] += not folder
            return None
        if parts:
            self._register(name, parts, folder)
        path = self.into.joinpath(*parts)
        (path if folder else path.parent).mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder:
            return None
        if not parts:
            raise self.refuse(name, "is a file without a name")
        self.counted.update(["inner archives"] if _INNER.search(name) else [])
        return path

    def _safe(self, name: str) -> list[str]:
        if "\0" in name:
            raise self.refuse(name, "has a zero byte in its name")
        if "\\" in name:
            raise self.refuse(name, "has a backslash in its name", "rename it, or pack it with / between folders")
        if name.startswith("/") or _DRIVE.match(name):
            raise self.refuse(name, "has an absolute path", "pack the folder from inside, with relative paths")
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise self.refuse(name, "leads out of its folder (..)", "pack the folder from inside")
        try:
            lengths = [len(part.encode()) for part in parts]
        except UnicodeEncodeError as error:
            raise self.refuse(name, "has a name that is not UTF-8", "rename it") from error
        if max(lengths, default=0) > _LONGEST_PART or sum(lengths) + len(lengths) + len(str(self.into)) > _LONGEST_PATH:
            raise self.refuse(name, f"has a name longer than {_LONGEST_PART} bytes, or lies too deep", "shorten it")
        return parts

    def _register(self, name: str, parts: list[str], folder: bool) -> None:
        """Refuse an entry that would lie where another does, here or on a machine that does not tell cases apart."""
        for depth in range(1, len(parts) + 1):
            path, is_folder = "/".join(parts[:depth]), folder or depth < len(parts)
            key = _folded(path)
            if key not in self.known:
                self.known[key] = path, is_folder
                continue
            other, other_is_folder = self.known[key]
            if other != path:
                what = f"and {_shown(other)} differ only in case or in how accents are stored"
                raise self.refuse(name, what, "rename one of them")
            if is_folder != other_is_folder:
                raise self.refuse(name, f"makes {_shown(path)} both a file and a folder")
            if not is_folder:
                raise self.refuse(name, "is there twice", "rename or remove one of them")

    def copy(self, name: str, path: Path | None, read: Read, chunk: int = _CHUNK) -> None:
        """Write what comes out of an entry, or count it only.

        Raises:
            DataError: it is more than the limits allow.
        """
        if path is None:
            self._drain(name, read, None, chunk)
            return
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as out:
            self._drain(name, read, out, chunk)

    def _drain(self, name: str, read: Read, out: IO[bytes] | None, chunk: int) -> None:
        size = 0
        while data := read(chunk):
            size += len(data)
            if size > self.limits.entry_bytes:
                raise self.refuse(name, f"holds more than {self.limits.entry_bytes:,} bytes", "leave it out")
            if out is not None:
                out.write(data)

    def count(self, size: int) -> None:
        """Count bytes that came out.

        Raises:
            DataError: it is more than the limits allow.
        """
        self.total += size
        if self.total > self.limits.total_bytes:
            raise self.too_much(f"unpacks to more than {self.limits.total_bytes:,} bytes")
        if self.total > _RATIO_COUNTS_FROM and self.total > self.limits.ratio * self.packed_bytes:
            raise self.too_much(
                f"has {self.packed_bytes:,} bytes and unpacks to more than {self.limits.ratio} times as many"
            )


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _junk(parts: list[str]) -> str | None:
    if "__MACOSX" in parts:
        return "__MACOSX"
    last = parts[-1] if parts else ""
    if last.startswith("._"):
        return "._*"
    return last if last in (".DS_Store", "Thumbs.db") or parts == [UNPACKED] else None


class _Guarded(io.BufferedIOBase):
    """A file from which nobody reads a huge piece at once, as a forged size of a directory would have it."""

    def __init__(self, inner: IO[bytes], most: int, refuse: Callable[[], DataError]) -> None:
        self.inner, self.most, self.refuse = inner, most, refuse

    def seekable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > self.most:
            raise self.refuse()
        return self.inner.read(_CHUNK if size is None or size < 0 else size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self.inner.seek(offset, whence)

    def tell(self) -> int:
        return self.inner.tell()


def _unzip(opened: IO[bytes], target: _Target) -> None:
    most = max(_CHUNK, target.limits.entries * _BYTES_OF_A_ZIP_ENTRY)
    many = f"holds more than {target.limits.entries:,} entries, or very long names"
    with _reading(target.archive):
        packed = zipfile.ZipFile(_Guarded(opened, most, lambda: target.too_much(many)))
    with packed:
        for info in packed.infolist():
            _unzip_entry(packed, info, target)


def _unzip_entry(packed: zipfile.ZipFile, info: zipfile.ZipInfo, target: _Target) -> None:
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
    with _reading(target.archive):
        member = packed.open(info)
    with member:
        # The standard library unpacks all that it has read of these two at once.
        at_once = _SMALL_CHUNK if info.compress_type in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA) else _CHUNK
        target.copy(name, path, _counting(_safely(member.read, target), target), at_once)


def _safely(read: Read, target: _Target, also: tuple[type[Exception], ...] = ()) -> Read:
    """The same, with damage as :class:`DataError`."""

    def safe(size: int) -> bytes:
        with _reading(target.archive, also):
            return read(size)

    return safe


def _counting(read: Read, target: _Target) -> Read:
    """The same, within the limits."""

    def counted(size: int) -> bytes:
        data = read(size)
        target.count(len(data))
        return data

    return counted


class _BrokenHeaderError(Exception):
    """A header of a tar is damaged, or the tar ends where one must follow."""


class _Strict(tarfile.TarInfo):
    """A header whose damage ends the reading; the standard library takes it for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == _BLOCK and buf.count(0) == _BLOCK:
                raise
            raise _BrokenHeaderError(str(error)) from error


class _Stream:
    """Bytes of a tar, read once and in order; while a header is read, only so many."""

    def __init__(self, read: Read, target: _Target) -> None:
        self._read, self._target = read, target
        self._left: int | None = None

    @contextmanager
    def header(self) -> Iterator[None]:
        """Read a header, with its extensions, in here."""
        self._left = _LONGEST_HEADER
        with _reading(self._target.archive, (_BrokenHeaderError,)):
            yield
        self._left = None

    def read(self, size: int) -> bytes:
        data = self._read(size)
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                most = f"{_LONGEST_HEADER:,} bytes"
                raise DataError(
                    f"{self._target.archive.name} has an entry with a header of more than {most}; {_REPACK}"
                )
        return data


def _untar(opened: IO[bytes], target: _Target) -> None:
    stream = _Stream(_counting(_decompressed(opened, target), target), target)
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


def _untar_entry(packed: tarfile.TarFile, member: tarfile.TarInfo, target: _Target) -> None:
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
    with _reading(target.archive):
        data = packed.extractfile(member)
    if data is not None:
        target.copy(name, path, _safely(data.read, target))


def _check_end(packed: tarfile.TarFile, target: _Target) -> None:
    """Read to the end, where a compressed file has its checksum, and refuse what follows the end of the tar."""
    rest = _safely(cast(Any, packed.fileobj).read, target)
    while data := rest(_CHUNK):
        if data.count(0) != len(data):
            raise DataError(f"{target.archive.name} goes on after its end, as joined archives do; {_REPACK}")


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
                fresh = self._opened.read(_CHUNK)
            if self._now.eof:
                fresh = fresh.lstrip(b"\0")
                if not fresh:
                    return b""
                self._now = self._make()
            elif self._now.needs_input and not fresh:
                raise EOFError("it ends too early")
            if data := self._now.decompress(fresh, size):
                return data


def _decompressed(opened: IO[bytes], target: _Target) -> Read:
    """How to read the bytes of a tar."""
    head = opened.read(_FIRST_BYTES)
    opened.seek(0)
    if head.startswith(_GZIP):
        return _safely(gzip.GzipFile(fileobj=opened).read, target)
    if head.startswith(_BZIP2):
        return _safely(_Decompressed(opened, bz2.BZ2Decompressor).read, target)
    if head.startswith(_XZ):
        return _safely(_Decompressed(opened, lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY)).read, target)
    if head.startswith(_ZSTD):
        return _zstd(opened, target)
    return opened.read


def _zstd(opened: IO[bytes], target: _Target) -> Read:
    with suppress(ImportError):
        ours = importlib.import_module("compression.zstd")
        return _safely(ours.ZstdFile(opened).read, target, (ours.ZstdError,))
    with suppress(ImportError):
        theirs = importlib.import_module("zstandard")
        reader = theirs.ZstdDecompressor().stream_reader(opened, read_across_frames=True, closefd=False)
        return _safely(reader.read, target, (theirs.ZstdError,))
    raise DataError(
        f"{target.archive.name} is compressed with zstd, which this machine cannot read; pack it again as .tar.gz, or "
        "install the package zstandard"
    )


def _is_tar(head: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(head[:_BLOCK], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _holds_tar(path: Path) -> bool:
    """Whether a compressed file begins with a tar; not whether it is whole."""
    unlimited = Limits()
    try:
        with path.open("rb") as opened:
            read = _decompressed(opened, _Target(path, path.parent, unlimited, 0))
            head = b""
            while len(head) < _BLOCK and (data := read(_BLOCK - len(head))):
                head += data
    except DataError:
        return False
    return _is_tar(head)
