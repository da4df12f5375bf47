"""The images that the cells of a table name."""

from __future__ import annotations

import os
import posixpath
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ddcore.data.ingest.archives import UNPACKED
from ddcore.errors import DataError
from ddcore.spec.listing import IMAGES

TRIED = 100
"""Cells of a column that are looked at, to tell what it holds."""

_SHOWN = 5


@dataclass
class Images:
    """Finds the images that cells name, relative to a folder."""

    folder: Path
    _known: dict[str, _Names] = field(default_factory=dict)

    @cached_property
    def sealed(self) -> bool:
        """Whether the files come out of an archive, so that no path may lead out of them."""
        return any((place / UNPACKED).is_file() for place in (self.folder.absolute(), *self.folder.absolute().parents))

    def leads_out(self, cell: str) -> bool:
        """Whether a path is one that must not be followed."""
        path = cell.replace("\\", "/")
        if self.sealed:
            return path.startswith("/") or ".." in path.split("/")
        return posixpath.normpath(path).split("/")[0] == ".."

    def fits(self, cell: str, base: str = "") -> list[str]:
        """Absolute paths of the images that a cell may name; its suffix may be left out, so there may be several."""
        if self.leads_out(cell) or "\0" in cell:
            return []
        path = posixpath.normpath(posixpath.join(str(self.folder.absolute()), base, cell.replace("\\", "/")))
        parent, name = posixpath.split(path)
        if parent not in self._known:
            self._known[parent] = _Names.of(parent)
        names = self._known[parent]
        return [path] if name in names.files else [posixpath.join(parent, one) for one in names.stems.get(name, ())]

    def find(self, cell: str, base: str = "") -> str | None:
        """The absolute path of the only image that a cell may name."""
        fits = self.fits(cell, base)
        return fits[0] if len(fits) == 1 else None

    def base(self, cells: Sequence[str]) -> str:
        """The subfolder to which paths are relative where they are not relative to the folder itself.

        Raises:
            DataError: images of these names lie in several.
        """
        if not cells or any(self.find(cell) for cell in cells):
            return ""
        inner = sorted(path.name for path in self.folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        fits = [name for name in inner if all(self.find(cell, name) for cell in cells)]
        if len(fits) > 1:
            raise DataError(
                f"'{cells[0]}' lies in {some(fits)} of {self.folder}; write the folder into the paths of the table"
            )
        return fits[0] if fits else ""

    def named(self, cells: Sequence[Any]) -> bool:
        """Whether most of these cells name images."""
        texts = [cell for cell in map(path_of, cells) if cell is not None][:TRIED]
        base = self.base(texts[:1])
        return 2 * sum(bool(self.fits(text, base)) for text in texts) > len(texts)


@dataclass(frozen=True)
class _Names:
    """Names of the files of a folder, and those of images by what is left without their suffix."""

    files: frozenset[str]
    stems: dict[str, list[str]]

    @classmethod
    def of(cls, folder: str) -> _Names:
        files, stems = list[str](), defaultdict[str, list[str]](list)
        with suppress(OSError), os.scandir(folder) as entries:
            files = sorted(entry.name for entry in entries if entry.is_file())
        for name in files:
            stem, suffix = posixpath.splitext(name)
            if suffix.lower() in IMAGES:
                stems[stem].append(name)
        return cls(frozenset(files), dict(stems))


def path_of(cell: Any) -> str | None:
    """A cell as a path; ids may be numbers."""
    if isinstance(cell, bool) or not isinstance(cell, str | int):
        return None
    return str(cell).strip() or None


def some(names: Sequence[str]) -> str:
    """The first few names, for messages."""
    return ", ".join(f"'{name}'" for name in names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")
