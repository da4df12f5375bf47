"""The folder that jobs share: trained networks, decoded datasets, compiled code."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def note_use(entry: Path) -> None:
    """Set an entry's time to now: the entries used least recently are removed first when the cache is full.

    Nothing happens where the cache is read-only or the entry has just gone.
    """
    with suppress(OSError):
        os.utime(entry)
