"""New files that are seen only once they are whole, and are safe on disk then."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def new_file(folder: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """A new file that vanishes unless it is renamed in time."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".{secrets.token_hex(16)}"
    try:
        with path.open("xb") as handle:
            yield path, handle
    finally:
        path.unlink(missing_ok=True)


def sync(handle: IO[bytes]) -> None:
    """Return when what was written is safe on disk."""
    handle.flush()
    os.fsync(handle.fileno())


def sync_folder(folder: Path) -> None:
    """Return when the names in a folder are safe on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
