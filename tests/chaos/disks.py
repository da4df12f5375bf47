"""Small file systems, and ways to fill them."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

PAGE = 4096


@contextmanager
def small(folder: Path, size: int) -> Iterator[None]:
    """Put a folder on a file system of some bytes; the test must carry the marker ``mount``."""
    folder.mkdir(parents=True, exist_ok=True)
    made = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    subprocess.run(made, capture_output=True, check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=True)


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """Leave no room on a folder's file system, whatever is freed there before the block ends."""
    filling, ended = folder / "filling", threading.Event()
    descriptor = os.open(filling, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def fill() -> None:
        while not ended.is_set():
            try:
                os.write(descriptor, bytes(PAGE))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                ended.wait(0.01)

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        while os.statvfs(folder).f_bavail:
            time.sleep(0.01)
        yield
    finally:
        ended.set()
        thread.join()
        os.close(descriptor)
        filling.unlink()


def empty_wal(database: Path) -> None:
    """Give the space of SQLite's log back to the disk, so that the next write needs new space."""
    with closing(sqlite3.connect(database, timeout=10)) as connection:
        while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            time.sleep(0.01)
