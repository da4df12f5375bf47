"""What a reader reports of the files that it did not need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from ddcore.data.listing import Listing


def left_alone(listing: Listing, used: Iterable[Path]) -> dict[str, int]:
    """How many files of each kind were left alone, by suffix, or by name where there is none.

    Args:
        listing: all files of a folder.
        used: those that were needed, relative to the folder.
    """
    needed = set(used)
    counts = Counter(listing.ignored)
    counts.update(path.suffix.lower() or path.name for path in listing.files if path not in needed)
    return dict(sorted(counts.items()))
