"""Which files of a folder are a user's images and tables, and which are what systems and tools leave behind."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ddcore.errors import DataError

IMAGES = frozenset(
    (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm",
     ".heic", ".heif", ".avif", ".mpo")
)  # fmt: skip
"""Suffixes of images, in small letters."""

_JUNK_FOLDERS = frozenset(("__MACOSX", "__pycache__", "node_modules", "$RECYCLE.BIN", "System Volume Information"))
_JUNK_FILES = frozenset(("Thumbs.db", "ehthumbs.db", "desktop.ini", "Icon\r"))


@dataclass(frozen=True)
class Listing:
    """The files of a folder, at any depth.

    Attributes:
        root: the folder.
        files: paths relative to it, sorted by their parts.
        ignored: how many files of each kind were left out.
    """

    root: Path
    files: tuple[Path, ...]
    ignored: Mapping[str, int]

    @cached_property
    def images(self) -> tuple[Path, ...]:
        """Those that are images by their names."""
        return tuple(path for path in self.files if path.suffix.lower() in IMAGES)

    def left_alone(self, used: Iterable[Path]) -> dict[str, int]:
        """How many files of each kind a reader did not need, by suffix, or by name where there is none.

        Args:
            used: those that it needed, relative to the folder.
        """
        needed = set(used)
        others = (path for path in self.files if path not in needed)
        return dict(
            Counter(f"*{path.suffix.lower()}" if path.suffix else path.name for path in others) + Counter(self.ignored)
        )


_remembered: ContextVar[dict[Path, Listing] | None] = ContextVar("_remembered", default=None)


@contextmanager
def looked_at_once() -> Iterator[None]:
    """Within this, :func:`listed` looks at each folder once, however many readers ask; it may hold a million files."""
    token = _remembered.set({})
    try:
        yield
    finally:
        _remembered.reset(token)


def listed(root: Path) -> Listing:
    """All files of a folder but hidden ones and what systems and tools leave behind.

    Links to files are followed, links to folders are not: they could lead in a circle.

    Raises:
        DataError: a folder cannot be read.
    """
    known = _remembered.get()
    if known is None:
        return _listed(root)
    if root not in known:
        known[root] = _listed(root)
    return known[root]


def _listed(root: Path) -> Listing:
    files: list[str] = []
    ignored: Counter[str] = Counter()

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be read ({error.strerror}); allow it, or leave it out") from error

    for folder, folders, names in os.walk(root, onerror=refuse):
        for name in [name for name in folders if name in _JUNK_FOLDERS or name.startswith(".")]:
            folders.remove(name)
            ignored[name] += sum(len(inner) for _, _, inner in os.walk(Path(folder, name)))
        inside = os.path.relpath(folder, root)
        prefix = "" if inside == "." else inside + os.sep
        for name in names:
            if name in _JUNK_FILES or name.startswith("."):
                ignored[name if not name.startswith("._") else "._*"] += 1
            else:
                files.append(prefix + name)
    return Listing(root, tuple(sorted(map(Path, files), key=lambda path: path.parts)), dict(ignored))
