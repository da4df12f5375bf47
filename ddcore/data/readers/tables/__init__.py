"""A table that says where each image lies and what it shows: CSV, TSV, JSON lines, Hugging Face's ``imagefolder``."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from ddcore.data.readers import reader
from ddcore.data.readers.tables.found import Found, looks, split_of
from ddcore.data.readers.tables.images import Images, some
from ddcore.data.readers.tables.rows import Rows
from ddcore.data.source import Choices, Guess, Source, split_named
from ddcore.data.table_files import TABLES
from ddcore.errors import DataError
from ddcore.spec.listing import listed

_METADATA_SURE, _TABLE_SURE, _UNSURE = 0.9, 0.7, 0.3


@reader("table")
class Tables:
    """Reads a table given itself, the only one of a folder, one for each split, or ``metadata.csv`` (``.jsonl``)."""

    heeds: ClassVar[frozenset[str]] = frozenset(("image_column", "label_column", "group_column", "group_folders"))

    def sniff(self, place: Path) -> Guess | None:
        """Whether a table lies there whose first 64 KB name images."""
        if place.is_file():
            is_one = place.suffix.lower() in TABLES and looks(place, Images(place.parent))
            return Guess(_TABLE_SURE, f"{place.name} names images") if is_one else None
        try:
            found = Found(listed(place)) if place.is_dir() else None
        except DataError:
            return None
        if found is None or not found.tables:
            return None
        names = some([path.as_posix() for path in found.tables])
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
            rows = Rows(place, place.name, split_named(place.stem), choices)
            return Source(list(rows.parts()), {}, rows.notes)
        found = Found(listed(place))
        found.check()
        tables = [Rows(place / path, path.as_posix(), split_of(path), choices) for path in found.tables]
        parts = [part for rows in tables for part in rows.parts()]
        notes = [note for rows in tables for note in rows.notes]
        unnamed = len(
            {str(place.absolute() / path) for path in found.images}.difference(*(rows.paths for rows in tables))
        )
        if unnamed:
            names = some([path.as_posix() for path in found.tables])
            notes.append(f"{unnamed:,} images are not named in {names} and were left out")
        return Source(parts, found.listing.left_alone([*found.tables, *found.images]), notes)
