"""A table that says where each image lies and what it shows: CSV, TSV, JSON lines, Hugging Face's ``imagefolder``."""

from __future__ import annotations

import os
import posixpath
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from ddcore.data.ingest.archives import UNPACKED
from ddcore.data.listing import IMAGES, Listing, listed
from ddcore.data.readers import reader
from ddcore.data.source import Choices, Guess, Labels, Part, RawImage, Source, split_named
from ddcore.data.table_files import TABLES, Table, read_table
from ddcore.errors import DataError

_METADATA = ("metadata.csv", "metadata.jsonl")
_IMAGE_COLUMNS = ("file_name", "path", "image", "img", "filename", "file", "image_path", "image_id")
_LABEL_COLUMNS = ("label", "labels", "class", "category", "target", "fine_label")
_SPLIT_COLUMN = "split"
_HEAD = 1 << 16
_TRIED = 100
_SHOWN = 5
_DIGITS = 18
_BATCH = 1024
_IMAGE_LIKE = re.compile(
    r"\.(" + "|".join(suffix[1:] for suffix in sorted(IMAGES)) + r")[\"']?\s*([,;|\t}\r\n]|$)",
    re.IGNORECASE | re.MULTILINE,
)
_WHOLE = re.compile(r"[+-]?\d+")
_REAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_METADATA_SURE, _TABLE_SURE, _UNSURE = 0.9, 0.7, 0.3


@reader("table")
class Tables:
    """Reads a table given itself, the only one of a folder, one for each split, or ``metadata.csv`` (``.jsonl``)."""

    heeds: ClassVar[frozenset[str]] = frozenset(("image_column", "label_column", "group_column", "group_folders"))

    def sniff(self, place: Path) -> Guess | None:
        """Whether a table lies there whose first 64 KB name images."""
        if place.is_file():
            is_one = place.suffix.lower() in TABLES and _looks(place, _Images(place.parent))
            return Guess(_TABLE_SURE, f"{place.name} names images") if is_one else None
        try:
            found = _Found(listed(place)) if place.is_dir() else None
        except DataError:
            return None
        if found is None or not found.tables:
            return None
        names = _some([path.as_posix() for path in found.tables])
        if found.metadata:
            return Guess(_METADATA_SURE, f"there is {names}")
        sure = found.images and (len(found.tables) == 1 or found.by_split)
        return Guess(_TABLE_SURE if sure else _UNSURE, f"{names} names images")

    def read(self, place: Path, choices: Choices) -> Source:
        """All images that the table names, with their labels.

        Raises:
            DataError: a table is unreadable or ambiguous, columns are missing, or images are.
        """
        if place.is_file():
            rows = _Rows(place, place.name, split_named(place.stem), choices)
            return Source(list(rows.parts()), {}, rows.notes)
        found = _Found(listed(place))
        found.check()
        tables = [_Rows(place / path, path.as_posix(), _split_of(path), choices) for path in found.tables]
        parts = [part for rows in tables for part in rows.parts()]
        notes = [note for rows in tables for note in rows.notes]
        unnamed = len(
            {str(place.absolute() / path) for path in found.images}.difference(*(rows.paths for rows in tables))
        )
        if unnamed:
            names = _some([path.as_posix() for path in found.tables])
            notes.append(f"{unnamed:,} images are not named in {names} and were left out")
        return Source(parts, found.listing.left_alone([*found.tables, *found.images]), notes)


def _split_of(path: Path) -> str | None:
    return split_named(path.parts[0] if len(path.parts) > 1 else path.stem)


@dataclass(frozen=True)
class _Found:
    """Tables and images of a folder."""

    listing: Listing

    @property
    def images(self) -> tuple[Path, ...]:
        return self.listing.images

    @cached_property
    def metadata(self) -> list[Path]:
        """Tables of Hugging Face's layout."""
        return [path for path in self.listing.files if path.name in _METADATA and self._belongs(path)]

    @staticmethod
    def _belongs(path: Path) -> bool:
        return len(path.parts) == 1 or (len(path.parts) == 2 and split_named(path.parts[0]) is not None)

    @cached_property
    def tables(self) -> list[Path]:
        """Tables that name images; those of Hugging Face's layout only, where there are any."""
        root = self.listing.root
        others = [path for path in self.listing.files if len(path.parts) == 1 and path.suffix.lower() in TABLES]
        return [path for path in self.metadata or others if _looks(root / path, _Images((root / path).parent))]

    @property
    def by_split(self) -> bool:
        """Whether every table is of another split."""
        splits = [_split_of(path) for path in self.tables]
        return None not in splits and len(set(splits)) == len(splits)

    def check(self) -> None:
        """Refuse a folder without a table, or with several that do not stand for splits.

        Raises:
            DataError: always for those.
        """
        names = _some([path.as_posix() for path in self.tables])
        if not self.tables:
            raise DataError(
                f"{self.listing.root} holds no table ({', '.join(sorted(TABLES))}) that names images; add one"
            )
        if len(self.tables) > 1 and not self.by_split:
            raise DataError(
                f"{self.listing.root} holds several tables that name images ({names}); keep one, keep one for each "
                "split (train.csv, test.csv), or give the path of the table itself"
            )


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


@dataclass
class _Images:
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
                f"'{cells[0]}' lies in {_some(fits)} of {self.folder}; write the folder into the paths of the table"
            )
        return fits[0] if fits else ""

    def named(self, cells: Sequence[Any]) -> bool:
        """Whether most of these cells name images."""
        texts = [cell for cell in map(_path, cells) if cell is not None][:_TRIED]
        base = self.base(texts[:1])
        return 2 * sum(bool(self.fits(text, base)) for text in texts) > len(texts)


def _path(cell: Any) -> str | None:
    """A cell as a path; ids may be numbers."""
    if isinstance(cell, bool) or not isinstance(cell, str | int):
        return None
    return str(cell).strip() or None


def _never(_: str) -> bool:
    return False


def _looks(path: Path, images: _Images) -> bool:
    """Whether the beginning of a table names images."""
    try:
        with path.open("rb") as opened:
            head = opened.read(_HEAD)
    except OSError:
        return False
    text = head.decode("utf-8-sig", errors="replace")
    if _IMAGE_LIKE.search(text):
        return True
    whole = text if len(head) < _HEAD else text[: text.rfind("\n") + 1]
    with suppress(DataError):
        table = read_table(path, _never, whole)
        return any(images.named(table.column(name)[:_TRIED]) for name in table.columns if table.rows)
    return False


@dataclass(frozen=True)
class _Rows:
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
    def images(self) -> _Images:
        return _Images(self.path.parent)

    @cached_property
    def table(self) -> Table:
        table = read_table(self.path, self._names_image)
        if not table.rows:
            raise DataError(f"{self.path} holds no rows; write one for each image")
        if table.headless:
            self.notes.append(f"{self.name} has no header; its columns are called {', '.join(table.columns)}")
        return table

    def _names_image(self, cell: str) -> bool:
        if cell.lower() in (*_IMAGE_COLUMNS, *_LABEL_COLUMNS):
            return False
        return self.images.find(cell, self.images.base([cell])) is not None

    def _refuse(self, what: str) -> DataError:
        return DataError(f"{self.name} {what}; present: {', '.join(self.table.columns)}")

    def _chosen(self, column: str | None, choice: str) -> str | None:
        if column is not None and column not in self.table.columns:
            raise self._refuse(f"has no column '{column}'; name another as `{choice}`")
        return column

    def _known(self, names: Sequence[str]) -> list[str]:
        """Columns of these names in any case, in the order of the names."""
        return [column for name in names for column in self.table.columns if column.lower() == name]

    @cached_property
    def image_column(self) -> str:
        known = self._known(_IMAGE_COLUMNS)
        if chosen := self._chosen(self.choices.image_column, "image_column") or next(iter(known), None):
            return chosen
        fits = [name for name in self.table.columns if name and self.images.named(self.table.column(name))]
        if len(fits) == 1:
            return fits[0]
        raise self._refuse(f"has {'several columns' if fits else 'no column'} of images; name it as `image_column`")

    @cached_property
    def label_column(self) -> str:
        if chosen := self._chosen(self.choices.label_column, "label_column"):
            return chosen
        taken = (self.image_column, self.choices.group_column, *self._known((_SPLIT_COLUMN,)), "")
        known = [name for name in self._known(_LABEL_COLUMNS) if name not in taken]
        others = [name for name in self.table.columns if name not in taken]
        candidates = known or others
        if len(candidates) == 1:
            return candidates[0]
        several = f"has several columns that may be labels ({', '.join(candidates)})"
        what = several if candidates else "has no column of labels"
        raise self._refuse(f"{what}; name it as `label_column`")

    @cached_property
    def paths(self) -> list[str]:
        """The absolute path of each image.

        Raises:
            DataError: some are missing, lie where they must not, or may be one of several.
        """
        cells = [_path(cell) for cell in self.table.column(self.image_column)]
        texts = [cell or "" for cell in cells]
        base = self.images.base([text for text in texts if text][:_TRIED])
        if base:
            self.notes.append(f"the paths of {self.name} are relative to the folder '{base}'")
        fits = [self.images.fits(text, base) if text else [] for text in texts]
        self._check_paths(texts, fits)
        return [fit[0] for fit in fits]

    def _check_paths(self, cells: Sequence[str], fits: Sequence[Sequence[str]]) -> None:
        astray = [row for row, cell in enumerate(cells) if self.images.leads_out(cell)]
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
        cells = self.table.column(self.label_column)
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
        column = next(iter(self._known((_SPLIT_COLUMN,))), None)
        if self.split is not None:
            return [self.split] * len(self.paths)
        if column is not None and column != self.choices.label_column:
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
                f"line {self.table.lines[row]} one that lies in none; add a column `{_SPLIT_COLUMN}`, or move it"
            )
        self.notes.append(f"the splits of {self.name} are those of the folders ({_some(sorted(set(tops)))})")
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
        shown = self.table.column(self.image_column)
        try:
            labels = Labels.of([self.values[row] for row in rows], self.label_column)
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
        column = self._chosen(self.choices.group_column, "group_column")
        if column is not None and self.choices.group_folders:
            raise DataError(
                f"{self.name}: `group_column` is '{column}' and `group_folders` is True, but an image is of one group "
                "only; leave one of them out"
            )
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


def _some(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")
