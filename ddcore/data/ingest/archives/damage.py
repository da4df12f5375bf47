"""Faults of an archive's bytes in words, apart from faults of the machine."""

from __future__ import annotations

import errno
import gzip
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ddcore.errors import DataError

REPACK = "make a new archive of the folder and send that"
"""The way out of most faults."""

Read = Callable[[int], bytes]
"""Gives at most so many bytes, and none at the end."""

_DAMAGE: tuple[type[Exception], ...] = (
    zipfile.BadZipFile, gzip.BadGzipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError,
    ValueError, OverflowError, MemoryError, RecursionError, IndexError, KeyError, NotImplementedError, RuntimeError,
)  # fmt: skip
"""What the standard library's parsers run into in damaged archives; forged sizes make them ask for too much memory."""


@contextmanager
def reading(archive: Path, also: tuple[type[Exception], ...] = ()) -> Iterator[None]:
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
        f"{archive.name} is damaged or cut off ({str(error) or type(error).__name__}); send it again, or {REPACK}"
    )


def safely(read: Read, archive: Path, also: tuple[type[Exception], ...] = ()) -> Read:
    """The same, with damage as :class:`DataError`."""

    def safe(size: int) -> bytes:
        with reading(archive, also):
            return read(size)

    return safe
