"""Full disks: told apart from broken ones, and told with numbers."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or what it came from, says that a disk is full or a user's share of it used up.

    >>> is_full(OSError(errno.ENOSPC, "No space left on device")), is_full(OSError(errno.EIO, "broken"))
    (True, False)
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__
    return False


def told(folder: Path, needed: int) -> str:
    """What is needed and what there is, in words.

    Args:
        folder: on the disk, or where it would be.
        needed: bytes.
    """
    return f"the disk is full: {needed:,} bytes are needed, and {free(folder):,} are free"


def free(folder: Path) -> int:
    """Bytes that are free on the disk of a folder, or where it would be."""
    there = next(path for path in (folder, *folder.parents) if path.is_dir())
    return shutil.disk_usage(there).free
