"""What the columns of a table mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ddcore.data.readers.tables.images import Images
from ddcore.data.source import Choices
from ddcore.data.table_files import Table, read_table
from ddcore.errors import DataError

_IMAGE_COLUMNS = ("file_name", "path", "image", "img", "filename", "file", "image_path", "image_id")
_LABEL_COLUMNS = ("label", "labels", "class", "category", "target", "fine_label")
_SPLIT_COLUMN = "split"


@dataclass(frozen=True)
class Columns:
    """A table and its columns, found when they are asked for.

    Attributes:
        path: its file.
        name: what the user calls it.
        choices: of the user.
        notes: on how it was understood; more are added.
    """

    path: Path
    name: str
    choices: Choices
    notes: list[str]

    @cached_property
    def images(self) -> Images:
        """Finds what the cells name."""
        return Images(self.path.parent)

    @cached_property
    def table(self) -> Table:
        """All rows.

        Raises:
            DataError: there are none, or they cannot be read.
        """
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
    def image(self) -> str:
        """The column of images: the one that the user names, one of a known name, or the only one that fits.

        Raises:
            DataError: there is none, or there are several.
        """
        known = self._known(_IMAGE_COLUMNS)
        if chosen := self._chosen(self.choices.image_column, "image_column") or next(iter(known), None):
            return chosen
        fits = [name for name in self.table.columns if name and self.images.named(self.table.column(name))]
        if len(fits) == 1:
            return fits[0]
        raise self._refuse(f"has {'several columns' if fits else 'no column'} of images; name it as `image_column`")

    @cached_property
    def label(self) -> str:
        """The column of labels: the one that the user names, the only one of a known name, or the only one left.

        Raises:
            DataError: there is none, or there are several.
        """
        if chosen := self._chosen(self.choices.label_column, "label_column"):
            return chosen
        taken = (self.image, self.choices.group_column, *self._known((_SPLIT_COLUMN,)), "")
        known = [name for name in self._known(_LABEL_COLUMNS) if name not in taken]
        others = [name for name in self.table.columns if name not in taken]
        candidates = known or others
        if len(candidates) == 1:
            return candidates[0]
        several = f"has several columns that may be labels ({', '.join(candidates)})"
        what = several if candidates else "has no column of labels"
        raise self._refuse(f"{what}; name it as `label_column`")

    @property
    def split(self) -> str | None:
        """The column of splits, where there is one and it does not hold the labels."""
        column = next(iter(self._known((_SPLIT_COLUMN,))), None)
        return None if column == self.choices.label_column else column

    @property
    def group(self) -> str | None:
        """The column of groups that the user names.

        Raises:
            DataError: it is not there, or the user wants folders for groups, too.
        """
        column = self._chosen(self.choices.group_column, "group_column")
        if column is not None and self.choices.group_folders:
            raise DataError(
                f"{self.name}: `group_column` is '{column}' and `group_folders` is True, but an image is of one group "
                "only; leave one of them out"
            )
        return column
