"""Folders of images by class, and parquet files: what the readers of datasets know already."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from ddcore.bundle.foreign.found import SOFT_LABELS, Found
from ddcore.bundle.foreign.likeness import Likeness
from ddcore.data import image_files, readers
from ddcore.data.source import Part, RawImage
from ddcore.errors import DataError
from ddcore.spec.ingest import IngestOptions

MOST_IMAGES = 1_000_000
"""That are decoded: a distilled set is small, and all of it is in memory."""
_NUMBERED = re.compile(r"^\d+[_-]+(?=.)")


def read(place: Path, dataset: Likeness) -> Found:
    """Images by class in a folder, or a parquet file; of several splits the training images.

    Args:
        place: of the images.
        dataset: whose size they have.

    Raises:
        DataError: nothing there can be read as labelled images, one cannot be decoded, or one has another size.
    """
    match = readers.match(place)
    source = match.read(IngestOptions(size="keep"))
    parts = [part for part in source.parts if part.split in (None, "train")]
    if not parts:
        raise DataError(f"{place} holds test or validation images only; a distilled set is trained on")
    left = len(source.parts) - len(parts)
    splits = (f"{left} parts of test or validation images are left out",) if left else ()
    if sum(map(len, parts)) > MOST_IMAGES:
        raise DataError(f"{place} holds more than {MOST_IMAGES:,} images; a distilled set has a few of each class")
    names = _names(parts)
    numbers = np.concatenate([part.labels.numbers for part in parts])
    size = dataset.shape[1:]
    images = _stacked([_decoded(part, row, raw, size) for part in parts for row, raw in enumerate(_raw(part))])
    soft_labels = _soft_labels(match.place) if match.layout == "parquet" else None
    return Found(match.layout, images, torch.from_numpy(numbers), soft_labels, names, (*source.notes, *splits))


def _soft_labels(place: Path) -> Tensor | None:
    """The column of a label for each class of a parquet file, if there is one.

    Raises:
        DataError: there are several files with one, or its lists differ in length.
    """
    files = [place] if place.is_file() else sorted(place.rglob("*.parquet"))
    columns = [(file, name) for file in files for name in SOFT_LABELS if name in pq.read_schema(file).names]
    if not columns:
        return None
    if len(files) > 1:
        raise DataError(f"{place} holds {len(files)} files with `{columns[0][1]}`; name one of them, {files[0].name}")
    file, name = columns[0]
    try:
        return torch.tensor(pq.read_table(file, columns=[name]).column(0).to_pylist(), dtype=torch.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"{file}: `{name}` holds no list of as many numbers for each image; mend it") from error


def _names(parts: Sequence[Part]) -> tuple[str, ...] | None:
    """What the labels stand for, the same in all parts."""
    named = {part.labels.names for part in parts}
    if len(named) > 1:
        raise DataError(f"{parts[0].name} and {parts[-1].name} name their classes otherwise; write them alike")
    return named.pop()


def _raw(part: Part) -> Iterator[RawImage]:
    for batch in part.images():
        yield from batch


def _decoded(part: Part, row: int, raw: RawImage, size: tuple[int, ...]) -> NDArray[np.uint8]:
    """Pixels of an image, (channels, H, W), of the only size that is let: a small file may unpack to any."""
    try:
        if raw is None:
            raise ValueError("there is no image")
        picture = image_files.of_array(raw) if isinstance(raw, np.ndarray) else image_files.decode(raw)
    except ValueError as error:
        raise DataError(f"{part.place(row)}: {error}; mend it, or leave it out") from error
    if picture.pixels.dtype != np.uint8:
        raise DataError(f"{part.place(row)} has 16 bits a pixel; store 8 bits, or an .npz of floating-point values")
    if picture.pixels.shape[1:] != size:
        height, width = picture.pixels.shape[1:]
        raise DataError(
            f"{part.place(row)} has {height} x {width} pixels, but the images of the dataset have {size[0]} x "
            f"{size[1]}; store them so, or name another dataset"
        )
    return picture.pixels.astype(np.uint8)


def _stacked(images: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Images of one size as (N, C, H, W); grey ones among coloured ones get three channels."""
    channels = max(image.shape[0] for image in images)
    wide = [np.broadcast_to(image, (channels, *image.shape[1:])) for image in images]
    return torch.from_numpy(np.stack(wide))


def matched(names: Sequence[str], classes: Sequence[str]) -> list[int] | None:
    """Which class of a dataset each name stands for; nothing where that cannot be told.

    Names are those of classes, however spelled, with or without a number before them, or else numbers from 0.

    Args:
        names: each occurs once.
        classes: of the dataset, in the order of its labels.

    >>> matched(("00_T-Shirt", "01_dress"), ("dress", "t shirt")), matched(("001", "000"), ("dress", "t shirt"))
    ([1, 0], [1, 0])
    >>> matched(("1", "2"), ("1", "2", "3")), matched(("0", "1"), ("1", "2", "3"))
    ([0, 1], [0, 1])
    >>> matched(("n01440764", "n02102040"), ("tench", "springer")) is None
    True
    """
    known = {_plain(name): place for place, name in enumerate(classes)}
    for spelled in (list(names), [_NUMBERED.sub("", name) for name in names]):
        places = [known.get(_plain(name)) for name in spelled]
        found = [place for place in places if place is not None]
        if len(found) == len(set(found)) == len(names) and len(known) == len(classes):
            return found
    numbers = [int(name) for name in names if name.isdecimal()]
    told = len(set(numbers)) == len(numbers) == len(names) and max(numbers) < len(classes)
    return numbers if told else None


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", " ", name).strip().lower()
