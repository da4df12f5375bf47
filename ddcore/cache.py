"""The folder that jobs share: trained networks, decoded datasets, compiled code."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def note_use(entry: Path) -> None:
    """Set an entry's time to now, since whoever makes room in the cache removes what was used least recently.

    A cache that may only be read, or an entry that has just gone, is as good.
    """
    with suppress(OSError):
        os.utime(entry)
