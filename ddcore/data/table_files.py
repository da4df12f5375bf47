"""Rows of the tables that people keep beside their images: CSV, TSV and JSON lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ddcore.errors import DataError

TABLES = frozenset((".csv", ".tsv", ".jsonl"))
"""Suffixes of tables, in small letters."""

_DELIMITERS = ",;\t|"
_SAMPLE_LINES = 50
_LFS = "version https://git-lfs"


@dataclass(frozen=True)
class Table:
    """A table with a header.

    Attributes:
        path: its file.
        columns: names, as they are written.
        rows: cells in the order of the columns; ``None`` where one is empty. Those of CSV and TSV are text.
        lines: of each row, the line of the file in which it ends, from 1.
        headless: whether the file names no columns; they are called ``column 1``, ``column 2`` and so on.
    """

    path: Path
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    lines: list[int]
    headless: bool = False

    def column(self, name: str) -> list[Any]:
        """All cells of a column."""
        place = self.columns.index(name)
        return [row[place] for row in self.rows]

    @property
    def typed(self) -> bool:
        """Whether cells have types of their own."""
        return self.path.suffix.lower() == ".jsonl"


def read_table(path: Path, names_image: Callable[[str], bool], text: str | None = None) -> Table:
    """All rows of a table.

    Args:
        path: its file.
        names_image: whether a cell names an image that exists; where one of the first row does, there is no header.
        text: what the file holds, where it has been read already.

    Raises:
        DataError: it is not UTF-8, or a line cannot be read; the message says which.
    """
    text = _decoded(path) if text is None else text
    if text.startswith(_LFS):
        raise DataError(f"{path} is a pointer of git-lfs, not the file itself; fetch it with `git lfs pull`")
    return _json_lines(path, text) if path.suffix.lower() == ".jsonl" else _separated(path, text, names_image)


def _decoded(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 ({error.reason} at byte {error.start:,}); save it as UTF-8") from error


def _json_lines(path: Path, text: str) -> Table:
    records, lines = list[dict[str, Any]](), list[int]()
    for number, line in enumerate(io.StringIO(text), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path.name} line {number} is no JSON ({error}); mend or remove it") from error
        if not isinstance(record, dict):
            raise DataError(
                f'{path.name} line {number} is no JSON object; write {{"file_name": …, "label": …}} on each line'
            )
        records.append(record)
        lines.append(number)
    columns = tuple(dict.fromkeys(name for record in records for name in record))
    return Table(path, columns, [tuple(record.get(name) for name in columns) for record in records], lines)


def _separated(path: Path, text: str, names_image: Callable[[str], bool]) -> Table:
    opened = io.StringIO(text, newline="")
    reader = csv.reader(opened, delimiter=_delimiter(path, text), skipinitialspace=True, strict=True)
    rows, lines = list[tuple[str | None, ...]](), list[int]()
    try:
        for row in reader:
            cells = tuple(cell.strip() or None for cell in row)
            if any(cells):
                rows.append(_fitted(path, reader.line_num, cells, len(rows[0])) if rows else cells)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{path.name} line {reader.line_num} cannot be read ({error}); mend its quotes") from error
    if not rows:
        return Table(path, (), [], [])
    if any(cell and names_image(cell) for cell in rows[0]):
        return Table(path, tuple(f"column {number}" for number in range(1, len(rows[0]) + 1)), [*rows], lines, True)
    return Table(path, _header(path, rows[0]), [*rows[1:]], lines[1:])


def _fitted(path: Path, line: int, cells: tuple[str | None, ...], width: int) -> tuple[str | None, ...]:
    if len(cells) < width or any(cells[width:]):
        raise DataError(
            f"{path.name} line {line} has {len(cells)} cells, but the first row has {width}; put cells that hold the "
            "separator in quotes, and write one for each column"
        )
    return cells[:width]


def _header(path: Path, cells: Iterable[str | None]) -> tuple[str, ...]:
    columns = tuple(cell or "" for cell in cells)
    twice = next((name for name in columns if name and columns.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path.name} has two columns called '{twice}'; rename one of them")
    return columns


def _delimiter(path: Path, text: str) -> str:
    """What separates the cells: of the marks in the first line, the most frequent one that gives all lines as many."""
    lines = list(islice(filter(str.strip, io.StringIO(text)), _SAMPLE_LINES))
    found = sorted((mark for mark in _DELIMITERS if lines and mark in lines[0]), key=lambda mark: -lines[0].count(mark))
    if path.suffix.lower() == ".tsv" and "\t" in found:
        return "\t"
    return next((mark for mark in found if _even(lines, mark)), found[0] if found else ",")


def _even(lines: Iterable[str], mark: str) -> bool:
    """Whether all lines have as many cells. The last one may have been cut off in the middle of a quoted cell."""
    return len({len(row) for row in csv.reader(lines, delimiter=mark, skipinitialspace=True)}) == 1
