"""Tiny ImageNet as Stanford's course publishes it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from ddcore.data.readers import reader
from ddcore.data.source import Choices, Guess, Labels, Part, Source, batches
from ddcore.errors import DataError
from ddcore.spec.listing import IMAGES, Listing, listed

_WNIDS = "wnids.txt"
_ANNOTATIONS = Path("val", "val_annotations.txt")
_VALIDATION = ("val", "images")
_TEST = ("test", "images")


@reader("tiny imagenet")
class TinyImageNet:
    """Reads ``train/<wnid>/images``, and ``val/images`` with its ``val_annotations.txt``.

    The classes are the wnids in the order of ``wnids.txt``. ``test/images`` has no labels and is left out.
    """

    heeds: ClassVar[frozenset[str]] = frozenset()

    def sniff(self, place: Path) -> Guess | None:
        """Sure where there are ``wnids.txt`` and ``train``."""
        try:
            ours = (place / _WNIDS).is_file() and (place / "train").is_dir()
        except OSError:
            return None
        return Guess(0.95, f"there are {_WNIDS} and train") if ours else None

    def read(self, place: Path, choices: Choices) -> Source:  # noqa: ARG002 - there is nothing to choose
        """The training and the validation images, as paths.

        Raises:
            DataError: a class has no images, a folder or a line names none of the classes, or images and lines of
                ``val_annotations.txt`` do not agree.
        """
        names = _wnids(place / _WNIDS)
        listing = listed(place)
        folders: defaultdict[tuple[str, ...], list[Path]] = defaultdict(list)
        for path in listing.files:
            if path.suffix.lower() in IMAGES:
                folders[path.parent.parts].append(path)
        parts = [_train(place, folders, names)]
        if (place / "val").is_dir():
            parts.append(_validation(place, folders.get(_VALIDATION, []), names))
        unlabelled = len(folders.get(_TEST, []))
        notes = [f"{unlabelled:,} images in test have no labels and were left out"] if unlabelled else []
        return Source(parts, listing.left_alone(_used(listing, names)), notes)


def _used(listing: Listing, names: Sequence[str]) -> list[Path]:
    """Files that belong to the set; the images of ``test`` do not, as they are left out."""
    known = set(names)
    about = {Path(_WNIDS), Path("words.txt"), _ANNOTATIONS}
    return [
        path
        for path in listing.files
        if path in about
        or path.parent.parts == _VALIDATION
        or (len(path.parts) > 2 and path.parts[0] == "train" and path.parts[1] in known)
    ]


def _lines(file: Path) -> list[str]:
    try:
        return [line for line in file.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} is no readable text ({error}); unpack the archive again") from error


def _wnids(file: Path) -> tuple[str, ...]:
    names = tuple(line.strip() for line in _lines(file))
    if not names or len(set(names)) < len(names):
        twice = next((name for name in names if names.count(name) > 1), None)
        fault = f"lists {twice} twice" if twice else "lists no classes"
        raise DataError(f"{file} {fault}; it has one line for each class")
    return names


def _train(place: Path, folders: Mapping[tuple[str, ...], list[Path]], names: tuple[str, ...]) -> Part:
    known = set(names)
    odd = next(
        (parts for parts in folders if parts[:1] == ("train",) and (len(parts) < 2 or parts[1] not in known)), None
    )
    if odd is not None:
        raise DataError(
            f"{place / Path(*odd)} holds images, but {_WNIDS} lists no such class; add it there, or remove the folder"
        )
    paths: list[Path] = []
    numbers: list[int] = []
    for number, name in enumerate(names):
        images = folders.get(("train", name, "images"), [])
        if not images:
            raise DataError(
                f"{place / 'train' / name / 'images'} holds no images, but {_WNIDS} lists {name}; unpack the archive "
                "again, or remove the line"
            )
        paths += images
        numbers += [number] * len(images)
    return _part("train", place, paths, numbers, names)


def _validation(place: Path, images: Sequence[Path], names: tuple[str, ...]) -> Part:
    file = place / _ANNOTATIONS
    if not file.is_file():
        raise DataError(
            f"{place / 'val'} has no {file.name}, which names the class of each image; unpack the archive again"
        )
    number_of = {name: number for number, name in enumerate(names)}
    numbers: dict[str, int] = {}
    for row, line in enumerate(_lines(file), 1):
        image, _, rest = line.partition("\t")
        wnid = rest.partition("\t")[0].strip()
        if wnid not in number_of:
            raise DataError(
                f"{file} line {row}: {image} has the class '{wnid}', which {_WNIDS} does not list; correct either file"
            )
        if numbers.setdefault(image, number_of[wnid]) != number_of[wnid]:
            raise DataError(f"{file} line {row}: {image} has two classes; leave one line for each image")
    unlabelled = next((path.name for path in images if path.name not in numbers), None)
    if unlabelled is not None:
        raise DataError(f"{file} has no line for {unlabelled} in val/images; add it, or remove the image")
    absent = set(numbers) - {path.name for path in images}
    if absent:
        raise DataError(
            f"{file} names {min(absent)}, which is not in val/images ({len(absent)} such lines); unpack the archive "
            "again"
        )
    return _part("validation", place, images, [numbers[path.name] for path in images], names)


def _part(split: str, place: Path, paths: Sequence[Path], numbers: Sequence[int], names: tuple[str, ...]) -> Part:
    files = [place / path for path in paths]
    return Part(
        split,
        "train" if split == "train" else "val",
        Labels(np.array(numbers, dtype=np.int64), names, declared=True),
        partial(batches, files),
        lambda number: paths[number].as_posix(),
    )
