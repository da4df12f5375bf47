"""A folder of images for each class, below a folder for each split or without one."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from ddcore.data.readers import reader
from ddcore.data.source import Choices, Guess, Labels, Part, RawImage, Source, batches, split_named
from ddcore.errors import DataError
from ddcore.spec.listing import IMAGES, Listing, listed

_METADATA = frozenset(("metadata.csv", "metadata.jsonl"))
_SHOWN = 5
_SPLIT_FOLDERS, _CLASS_FOLDERS = 0.8, 0.6


@reader("class folders")
class ClassFolders:
    """Reads ``<class>/…`` and ``<split>/<class>/…``, with images at any depth below the folder of their class."""

    heeds: ClassVar[frozenset[str]] = frozenset(("group_folders",))

    def sniff(self, place: Path) -> Guess | None:
        """Whether images lie at least two levels deep and no table of metadata says what they show."""
        if not place.is_dir():
            return None
        try:
            found = _Found(listed(place))
        except DataError:
            return None
        if found.metadata or found.only_wraps:
            return None
        classes = {path.parts[found.depth] for path in found.classified}
        if not classes:
            return None
        if found.split and len(classes) > 1:
            return Guess(_SPLIT_FOLDERS, f"folders of images lie in {_some(found.tops)}")
        return Guess(_CLASS_FOLDERS, f"images lie in folders ({_some(sorted(classes))})")

    def read(self, place: Path, choices: Choices) -> Source:
        """All images, each of the class that its folder names.

        Raises:
            DataError: an image lies in no class, only some folders are named like splits, two folders name one split,
                or the names of two classes cannot be told apart.
        """
        found = _Found(listed(place))
        if not found.images:
            raise DataError(
                f"{place} holds no images ({', '.join(sorted(IMAGES))}); put them in a folder for each class"
            )
        found.check()
        return Source(list(_parts(found, choices)), found.listing.left_alone(found.images), found.notes)


@dataclass(frozen=True)
class _Found:
    """What a listing comes to when its folders are taken for splits and classes."""

    listing: Listing

    @property
    def root(self) -> Path:
        return self.listing.root

    @property
    def images(self) -> tuple[Path, ...]:
        return self.listing.images

    @cached_property
    def tops(self) -> list[str]:
        """Folders of the root that hold images."""
        return sorted({path.parts[0] for path in self.images if len(path.parts) > 1})

    @cached_property
    def split(self) -> bool:
        """Whether every folder of the root is named like a split."""
        return bool(self.tops) and all(split_named(top) for top in self.tops)

    @property
    def depth(self) -> int:
        """Place of the class among the parts of a path."""
        return int(self.split)

    @property
    def classified(self) -> list[Path]:
        return [path for path in self.images if len(path.parts) > self.depth + 1]

    @property
    def only_wraps(self) -> bool:
        """Whether all images lie in folders of one folder, which then is no class but holds the set."""
        return len(self.tops) == 1 and not self.split and all(len(path.parts) > 2 for path in self.images)

    @property
    def metadata(self) -> bool:
        return any(
            path.name in _METADATA and (len(path.parts) == 1 or (len(path.parts) == 2 and split_named(path.parts[0])))
            for path in self.listing.files
        )

    @property
    def notes(self) -> list[str]:
        return [f"the folder '{folder.as_posix()}' holds no image and was left out" for folder in self._empty()]

    def _empty(self) -> list[Path]:
        """Folders that could be splits or classes but hold no image."""
        above = [Path(), *(Path(top) for top in self.tops if self.split)]
        folders = {path.parent for path in self.images}
        filled = folders.union(*(folder.parents for folder in folders))
        present = [place / inner.name for place in above for inner in (self.root / place).iterdir() if inner.is_dir()]
        return sorted(path for path in present if path not in filled and path.name not in self.listing.ignored)

    def check(self) -> None:
        """Raises:
        DataError: the folders do not tell splits and classes of all images.
        """
        self._check_splits()
        self._check_unclassified()
        _check_names({path.parts[self.depth] for path in self.images})

    def _check_splits(self) -> None:
        named = [top for top in self.tops if split_named(top)]
        others = [top for top in self.tops if not split_named(top)]
        if named and others:
            raise DataError(
                f"{self.root} holds {_some(named)}, named like a split, beside {_some(others)}; move all images into "
                "folders of splits (train, validation, test), or rename what is a class and no split"
            )
        spellings = defaultdict[str | None, list[str]](list)
        for top in named:
            spellings[split_named(top)].append(top)
        for split, tops in spellings.items():
            if len(tops) > 1:
                raise DataError(
                    f"{self.root} holds {_some(tops)}, all of which mean {split}; merge or remove all but one"
                )

    def _check_unclassified(self) -> None:
        astray = [path.as_posix() for path in self.images if len(path.parts) <= self.depth + 1]
        if astray:
            raise DataError(
                f"{self.root}: {_some(astray)} {'lies' if len(astray) == 1 else 'lie'} in no class ({len(astray):,} "
                "such images); move them into the folder of their class, or out of the dataset"
            )


def _check_names(names: set[str]) -> None:
    """Refuse names that are no text, and pairs that look the same."""
    first: dict[str, str] = {}
    for name in sorted(names):
        if not _is_text(name):
            raise DataError(f"the name of the folder {name!r} is not UTF-8; rename it")
        other = first.setdefault(unicodedata.normalize("NFC", name).rstrip(), name)
        if other != name:
            raise DataError(
                f"the folders {other!a} and {name!a} differ only in how accents are stored or in blanks at the end; "
                "rename one of them, or merge them if they are one class"
            )


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _parts(found: _Found, choices: Choices) -> Iterator[Part]:
    if not found.split:
        yield _part(found, choices, None, found.root.name, found.images)
        return
    for top in found.tops:
        yield _part(found, choices, split_named(top), top, [path for path in found.images if path.parts[0] == top])


def _part(found: _Found, choices: Choices, split: str | None, name: str, paths: Sequence[Path]) -> Part:
    root = os.fspath(found.root.absolute())

    def images() -> Iterator[Sequence[RawImage]]:
        # Paths as text: making an object of each takes a tenth of the time that decoding it does.
        return batches([f"{root}{os.sep}{path}" for path in paths])

    return Part(
        split=split,
        name=name,
        labels=Labels.of([path.parts[found.depth] for path in paths], "folder"),
        images=images,
        place=lambda number: paths[number].as_posix(),
        groups=[path.parent.as_posix() for path in paths] if choices.group_folders else None,
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")
