"""Files that are either absent or whole."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from ddcore.machine import space


def write_atomically(path: Path, data: bytes, *, replace: bool = True) -> bool:
    """Write a file that is either absent or whole, also after a power cut.

    Args:
        path: the file.
        data: what it is to hold.
        replace: whether it takes the place of a file that is there; otherwise of several writers the first one wins.

    Returns:
        Whether the file is the one that was written.

    Raises:
        OSError: it cannot be written. Of a full disk it says how much is needed.
    """
    won = True
    temporary = path.with_name(f".writing-{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            temporary.replace(path)
        else:
            won = _take_name(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and space.is_full(error):
            raise OSError(error.errno, space.told(path.parent, len(data))) from error
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return won


def _take_name(temporary: Path, path: Path) -> bool:
    """Give a file a name that only one may have, unless another has it; whether it was given."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        temporary.unlink()
        return False
    except OSError:  # a file system without hard links: of those who write at the same moment the last one wins
        temporary.replace(path)
        return True
    temporary.unlink()
    return True
