"""Which files of a folder are tables that name images."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ddcore.data.readers.tables.images import TRIED, Images, some
from ddcore.data.source import split_named
from ddcore.data.table_files import TABLES, read_table
from ddcore.errors import DataError
from ddcore.spec.listing import IMAGES, Listing

_METADATA = ("metadata.csv", "metadata.jsonl")
_HEAD = 1 << 16
_IMAGE_LIKE = re.compile(
    r"\.(" + "|".join(suffix[1:] for suffix in sorted(IMAGES)) + r")[\"']?\s*([,;|\t}\r\n]|$)",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True)
class Found:
    """Tables and images of a folder."""

    listing: Listing

    @property
    def images(self) -> tuple[Path, ...]:
        """Images by their names, whether a table names them or not."""
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
        return [path for path in self.metadata or others if looks(root / path, Images((root / path).parent))]

    @property
    def by_split(self) -> bool:
        """Whether every table is of another split."""
        splits = [split_of(path) for path in self.tables]
        return None not in splits and len(set(splits)) == len(splits)

    def check(self) -> None:
        """Refuse a folder without a table, or with several that do not stand for splits.

        Raises:
            DataError: always for those.
        """
        names = some([path.as_posix() for path in self.tables])
        if not self.tables:
            raise DataError(
                f"{self.listing.root} holds no table ({', '.join(sorted(TABLES))}) that names images; add one"
            )
        if len(self.tables) > 1 and not self.by_split:
            raise DataError(
                f"{self.listing.root} holds several tables that name images ({names}); keep one, keep one for each "
                "split (train.csv, test.csv), or give the path of the table itself"
            )


def split_of(path: Path) -> str | None:
    """The split that the folder of a table is named after, or the table itself where it lies in none."""
    return split_named(path.parts[0] if len(path.parts) > 1 else path.stem)


def looks(path: Path, images: Images) -> bool:
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
        return any(images.named(table.column(name)[:TRIED]) for name in table.columns if table.rows)
    return False


def _never(_: str) -> bool:
    return False
