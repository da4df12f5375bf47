"""The parts that the rows of a table make."""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ddcore.data.readers.tables.columns import Columns
from ddcore.data.readers.tables.images import TRIED, path_of, some
from ddcore.data.source import Choices, Labels, Part, RawImage, split_named
from ddcore.data.table_files import Table
from ddcore.errors import DataError

_SHOWN = 5
_DIGITS = 18
_BATCH = 1024
_WHOLE = re.compile(r"[+-]?\d+")
_REAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Rows:
    """One table, understood.

    Attributes:
        path: its file.
        name: what the user calls it.
        split: which its file or folder is named after.
        choices: of the user.
        notes: on how it was understood.
    """

    path: Path
    name: str
    split: str | None
    choices: Choices
    notes: list[str] = field(default_factory=list)

    @cached_property
    def columns(self) -> Columns:
        """What its columns mean."""
        return Columns(self.path, self.name, self.choices, self.notes)

    @property
    def table(self) -> Table:
        """Its rows as they are written."""
        return self.columns.table

    @cached_property
    def paths(self) -> list[str]:
        """The absolute path of each image.

        Raises:
            DataError: some are missing, lie where they must not, or may be one of several.
        """
        cells = [path_of(cell) for cell in self.table.column(self.columns.image)]
        texts = [cell or "" for cell in cells]
        base = self.columns.images.base([text for text in texts if text][:TRIED])
        if base:
            self.notes.append(f"the paths of {self.name} are relative to the folder '{base}'")
        fits = [self.columns.images.fits(text, base) if text else [] for text in texts]
        self._check_paths(texts, fits)
        return [fit[0] for fit in fits]

    def _check_paths(self, cells: Sequence[str], fits: Sequence[Sequence[str]]) -> None:
        astray = [row for row, cell in enumerate(cells) if self.columns.images.leads_out(cell)]
        if astray:
            shown = self._shown(astray, cells)
            raise DataError(
                f"{shown} leads out of {self.path.parent} ({len(astray):,} such rows); move the images below it"
            )
        missing = [row for row, fit in enumerate(fits) if not fit]
        if missing:
            raise DataError(
                f"{self._shown(missing, cells)}: no such image below {self.path.parent} ({len(missing):,} of "
                f"{len(fits):,} are missing); add them, or remove the rows"
            )
        several = next((row for row, fit in enumerate(fits) if len(fit) > 1), None)
        if several is not None:
            names = " or ".join(posixpath.basename(path) for path in fits[several])
            raise DataError(f"{self._shown([several], cells)} may be {names}; write the suffix into the table")

    def _shown(self, rows: Sequence[int], cells: Sequence[str]) -> str:
        shown = ", ".join(f"line {self.table.lines[row]} '{cells[row]}'" for row in rows[:_SHOWN])
        return f"{self.name} {shown}{' …' if len(rows) > _SHOWN else ''}"

    @cached_property
    def values(self) -> list[Any]:
        """The label of each image."""
        cells = self.table.column(self.columns.label)
        return cells if self.table.typed else _typed(cells)

    def _check_twice(self) -> None:
        """Refuse an image with two labels; say that one is named twice."""
        first: dict[str, int] = {}
        twice = 0
        for row, path in enumerate(self.paths):
            other = first.setdefault(path, row)
            twice += other != row
            if self.values[other] != self.values[row]:
                raise DataError(
                    f"{self.name} lines {self.table.lines[other]} and {self.table.lines[row]} give one image two "
                    f"labels ({self.values[other]}, {self.values[row]}); only one label an image can be distilled, so "
                    "keep one"
                )
        if twice:
            self.notes.append(f"{twice:,} rows of {self.name} name an image that another row names already")

    def _splits(self) -> list[str | None]:
        """The split of each row."""
        column = self.columns.split
        if self.split is not None:
            return [self.split] * len(self.paths)
        if column is not None:
            return [self._split(row, cell) for row, cell in enumerate(self.table.column(column))]
        return self._splits_of_folders()

    def _split(self, row: int, cell: Any) -> str:
        split = split_named(str(cell))
        if split is None:
            raise DataError(
                f"{self.name} line {self.table.lines[row]}: '{'' if cell is None else cell}' is no split; write train, "
                "validation or test"
            )
        return split

    def _splits_of_folders(self) -> list[str | None]:
        """The splits that the images' folders are named after."""
        root = str(self.path.parent.absolute())
        inner = [path[len(root) + 1 :] if path.startswith(root + "/") else "" for path in self.paths]
        tops = [path.partition("/")[0] if "/" in path else "" for path in inner]
        splits = [split_named(top) for top in tops]
        if not any(splits):
            return splits
        if not all(splits):
            row, other = splits.index(None), next(row for row, split in enumerate(splits) if split)
            raise DataError(
                f"{self.name} line {self.table.lines[other]} names an image of the split folder '{tops[other]}', but "
                f"line {self.table.lines[row]} one that lies in none; add a column `split`, or move it"
            )
        self.notes.append(f"the splits of {self.name} are those of the folders ({some(sorted(set(tops)))})")
        return splits

    def parts(self) -> Iterator[Part]:
        """A part for each split.

        Raises:
            DataError: the table is unfit.
        """
        self._check_twice()
        rows = defaultdict[str | None, list[int]](list)
        for row, split in enumerate(self._splits()):
            rows[split].append(row)
        groups = self._groups()
        for split, places in rows.items():
            yield self._part(split, places, None if groups is None else [groups[row] for row in places])

    def _part(self, split: str | None, rows: Sequence[int], groups: Sequence[str] | None) -> Part:
        paths, lines = [self.paths[row] for row in rows], [self.table.lines[row] for row in rows]
        shown = self.table.column(self.columns.image)
        try:
            labels = Labels.of([self.values[row] for row in rows], self.columns.label)
        except DataError as error:
            raise DataError(f"{self.name}: {error}") from error
        return Part(
            split=split,
            name=self.name,
            labels=labels,
            images=_opened(paths),
            place=lambda number: f"{self.name} line {lines[number]} ({shown[rows[number]]})",
            groups=groups,
        )

    def _groups(self) -> list[str] | None:
        column = self.columns.group
        if column is None:
            return [posixpath.dirname(path) for path in self.paths] if self.choices.group_folders else None
        cells = self.table.column(column)
        empty = next((row for row, cell in enumerate(cells) if cell is None), None)
        if empty is not None:
            line = self.table.lines[empty]
            raise DataError(f"{self.name} line {line}: the group (`{column}`) is empty; every image needs one")
        return [str(cell) for cell in cells]


def _opened(paths: Sequence[str]) -> Callable[[], Iterator[Sequence[RawImage]]]:
    """Gives the paths in batches."""

    def images() -> Iterator[Sequence[RawImage]]:
        for start in range(0, len(paths), _BATCH):
            yield [Path(path) for path in paths[start : start + _BATCH]]

    return images


def _typed(cells: list[Any]) -> list[Any]:
    """Cells of text as whole numbers or as fractions where all of them are."""
    present = [cell for cell in cells if cell is not None]
    for pattern, number in ((_WHOLE, int), (_REAL, float)):
        if present and all(pattern.fullmatch(cell) and len(cell) <= _DIGITS for cell in present):
            return [None if cell is None else number(cell) for cell in cells]
    return cells
