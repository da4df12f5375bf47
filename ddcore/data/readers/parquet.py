"""Hugging Face-layout parquet: ``train-*.parquet`` and ``test-*.parquet`` with an image and a label column."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from ddcore.data.dataset import ImageSet
from ddcore.data.image_files import Picture, decode
from ddcore.data.readers import Found, reader
from ddcore.data.shards import check_complete
from ddcore.errors import DataError

_IMAGE_COLUMNS = ("image", "img")
_LABEL_COLUMNS = ("label", "labels", "fine_label")
_ROWS_AT_ONCE = 1024
_ROWS_SHOWN = 20
_LFS = b"version https://git-lfs"


@dataclass(frozen=True)
class Files:
    """The files of both splits, in the order of their names."""

    train: tuple[Path, ...]
    test: tuple[Path, ...]


def find(folder: Path) -> Files | None:
    """Look for parquet files in a folder, or in its subfolder ``data``.

    Returns:
        The files, or ``None`` where there is no training split at all.

    Raises:
        DataError: the test split is missing, or files of a split are.
    """
    for place in (folder, folder / "data"):
        train = tuple(sorted(place.glob("train-*.parquet")))
        test = tuple(sorted(place.glob("test-*.parquet")))
        if not train:
            continue
        if not test:
            present = ", ".join(sorted(path.name for path in place.glob("*.parquet")))
            raise DataError(
                f"{place} has no test split (test-*.parquet); present: {present}. "
                "Provide one: scoring needs images that were not learned from"
            )
        for split in (train, test):
            check_complete(split)
        return Files(train, test)
    return None


@reader("parquet")
def layout(folder: Path) -> Found | None:
    """What :func:`find` finds, for :func:`read`."""
    files = find(folder)
    return None if files is None else Found((*files.train, *files.test), lambda known: read(files, known))


def read(files: Files, known_classes: Sequence[str] | None = None) -> tuple[ImageSet, ImageSet]:
    """Read and decode both splits.

    Classes are matched by their names wherever the files give them, file by file.

    Args:
        files: from :func:`find`.
        known_classes: names of the classes where the files do not give them.

    Returns:
        The training and the test split, of one size and one number of channels: one where every
        image is grey, otherwise three.

    Raises:
        DataError: something in the files is unfit; the message names file, row and value.
    """
    train, test = _read_split(files.train), _read_split(files.test)
    classes = _classes(train, test, known_classes)
    _check_sizes([*train.chunks, *test.chunks])
    for split in (train, test):
        _check_labels(split, len(classes))
    _check_classes(train, classes)
    levels = _levels(train, test)
    channels = max(chunk.pixels.shape[1] for split in (train, test) for chunk in split.chunks)
    return train.assemble(classes, channels, levels), test.assemble(classes, channels, levels)


@dataclass(frozen=True)
class _Chunk:
    """Some consecutive decoded rows of a file: uint8 or uint16 (n, 1 or 3, H, W), and how many were transparent."""

    file: Path
    first_row: int
    pixels: NDArray[np.uint8] | NDArray[np.uint16]
    see_through: int = 0


@dataclass(frozen=True)
class _Labels:
    """Labels of a file, still unchecked, and the names that it gives them."""

    file: Path
    numbers: NDArray[np.int64]
    names: tuple[str, ...] | None


@dataclass(frozen=True)
class _Split:
    """One split as it was read, with labels still unchecked."""

    labels_of: tuple[_Labels, ...]
    chunks: tuple[_Chunk, ...]

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """Labels of all files."""
        return np.concatenate([part.numbers for part in self.labels_of])

    def place(self, index: int) -> str:
        """Where the image at ``index`` of the split comes from."""
        for chunk in self.chunks:
            if index < len(chunk.pixels):
                return f"{chunk.file.name} row {chunk.first_row + index}"
            index -= len(chunk.pixels)
        raise IndexError(index)

    def assemble(self, classes: tuple[str, ...], channels: int, levels: tuple[int, int] | None) -> ImageSet:
        pixels = [np.repeat(_eight_bit(c.pixels, levels), channels // c.pixels.shape[1], axis=1) for c in self.chunks]
        images, labels = torch.from_numpy(np.concatenate(pixels)), torch.from_numpy(self.labels)
        return ImageSet(images, labels, classes, tuple(self._remarks(levels)))

    def _remarks(self, levels: tuple[int, int] | None) -> Iterator[str]:
        split = self.chunks[0].file.name.partition("-")[0]
        see_through = sum(chunk.see_through for chunk in self.chunks)
        if see_through:
            yield f"{see_through} of {len(self.labels)} images of {split} are partly transparent and were laid on white"
        if levels is None:
            return
        low, high = levels
        yield f"the images of {split} have 16 bits a pixel; {low} to {high} (the range of train) was scaled to 0 to 255"
        outside = sum(int(((c.pixels < low) | (c.pixels > high)).any(axis=(1, 2, 3)).sum()) for c in self.chunks)
        if outside:
            yield f"{outside} of {len(self.labels)} images of {split} leave that range and were cut off there"


def _classes(train: _Split, test: _Split, known: Sequence[str] | None) -> tuple[str, ...]:
    """Names of the classes; labels of files that number them otherwise are renumbered."""
    named = [part for split in (train, test) for part in split.labels_of if part.names is not None]
    if not named:
        fits = known is not None and int(train.labels.max()) + 1 == len(known)
        return tuple(known) if known is not None and fits else _numbered(train)
    first = named[0]
    classes = first.names or ()
    if len(set(classes)) < len(classes):
        twice = next(name for name in classes if classes.count(name) > 1)
        raise DataError(f"{first.file.name} gives two classes the name '{twice}'; names must tell classes apart")
    for part in (*train.labels_of, *test.labels_of):
        if part.names is None:
            raise DataError(
                f"{part.file.name} numbers its classes without naming them, but {first.file.name} names them "
                f"({_listed(classes)}), so that nobody can tell whether both mean the same; write both alike"
            )
        _renumber(part, first.file, classes)
    return classes


def _renumber(part: _Labels, first: Path, classes: tuple[str, ...]) -> None:
    """Give the labels of a file the numbers that their names have elsewhere."""
    names = part.names or ()
    if names == classes:
        return
    if set(names) - set(classes) or len(set(names)) < len(names):
        raise DataError(
            f"{part.file.name} has other classes ({_listed(names)}) than {first.name} ({_listed(classes)}); "
            "the files of a dataset must agree in the names of their classes"
        )
    inside = (part.numbers >= 0) & (part.numbers < len(names))
    if not inside.all():
        row = int(np.flatnonzero(~inside)[0])
        raise DataError(
            f"{part.file.name} row {row}: label {part.numbers[row]} is outside 0 to {len(names) - 1} "
            f"({len(names)} classes); {int((~inside).sum())} such rows"
        )
    part.numbers[:] = np.array([classes.index(name) for name in names], dtype=np.int64)[part.numbers]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (" …" if len(names) > 10 else "")


def _levels(train: _Split, test: _Split) -> tuple[int, int] | None:
    """Least and greatest value of the training images where all images have 16 bits; nothing where all have 8."""
    chunks = (*train.chunks, *test.chunks)
    deep = [chunk for chunk in chunks if chunk.pixels.dtype == np.uint16]
    if not deep:
        return None
    flat = next((chunk for chunk in chunks if chunk.pixels.dtype != np.uint16), None)
    if flat is not None:
        raise DataError(
            f"{deep[0].file.name} row {deep[0].first_row} has 16 bits a pixel, but {flat.file.name} row "
            f"{flat.first_row} has 8; their values do not compare, so store all images alike"
        )
    return min(int(c.pixels.min()) for c in train.chunks), max(int(c.pixels.max()) for c in train.chunks)


def _eight_bit(pixels: NDArray[np.uint8] | NDArray[np.uint16], levels: tuple[int, int] | None) -> NDArray[np.uint8]:
    """Pixels of 16 bits as shares of the range in use; test images may leave it, and are cut off there."""
    if levels is None:
        eight: NDArray[np.uint8] = pixels.astype(np.uint8, copy=False)
        return eight
    low, high = levels
    shares = (pixels.astype(np.float32) - low) * (255 / max(1, high - low))
    scaled: NDArray[np.uint8] = np.rint(shares.clip(0, 255)).astype(np.uint8)
    return scaled


def _read_split(files: tuple[Path, ...]) -> _Split:
    labels: list[_Labels] = []
    chunks: list[_Chunk] = []
    for file in files:
        try:
            with pq.ParquetFile(file) as parquet:
                image, label = _columns(file, parquet.schema_arrow)
                names = _class_names(file, parquet.schema_arrow, label)
                labels.append(_Labels(file, _labels(file, parquet.read([label]).column(0)), names))
                chunks += _decoded(file, parquet, image)
        except (pa.ArrowException, OSError) as error:
            raise DataError(_unreadable(file, error)) from error
    if not chunks:
        raise DataError(f"{files[0]} has no rows; each split needs images")
    return _Split(tuple(labels), tuple(chunks))


def _unreadable(file: Path, error: Exception) -> str:
    """Say why a file is no parquet; a pointer of git-lfs stands where the file was never fetched."""
    with suppress(OSError), file.open("rb") as opened:
        if opened.read(len(_LFS)) == _LFS:
            return f"{file} is a pointer of git-lfs, not the file itself; fetch it with `git lfs pull`"
    return f"{file} is not a readable parquet file ({error}); write or copy it again"


def _columns(file: Path, schema: pa.Schema) -> tuple[str, str]:
    """Names of the image and the label column."""
    present = "columns present: " + ", ".join(f"{field.name} ({field.type})" for field in schema)
    image = next((name for name in _IMAGE_COLUMNS if name in schema.names), None)
    label = next((name for name in _LABEL_COLUMNS if name in schema.names), None)
    if image is None:
        raise DataError(f"{file} has no image column ({' or '.join(_IMAGE_COLUMNS)}); {present}")
    if label is None:
        raise DataError(f"{file} has no label column ({' or '.join(_LABEL_COLUMNS)}); {present}")
    kind = schema.field(image).type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise DataError(f"{file}: `{image}` must hold encoded images, as binary or as a struct with `bytes`; {present}")
    if not pa.types.is_integer(schema.field(label).type):
        raise DataError(f"{file}: `{label}` must hold whole numbers, counting classes from 0; {present}")
    return image, label


def _class_names(file: Path, schema: pa.Schema, label: str) -> tuple[str, ...] | None:
    """Names of a ``ClassLabel`` feature, where the schema describes one."""
    described = (schema.metadata or {}).get(b"huggingface")
    if described is None:
        return None
    try:
        feature: Any = json.loads(described)["info"]["features"][label]
        names = feature.get("names")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file}: the description of its features is damaged ({error!r}); remove or mend it") from error
    return None if names is None else tuple(str(name) for name in names)


def _labels(file: Path, column: pa.ChunkedArray) -> NDArray[np.int64]:
    if column.null_count:
        row = column.is_null().index(True).as_py()
        raise DataError(f"{file.name} row {row}: no label; every image needs one")
    labels: NDArray[np.int64] = column.cast(pa.int64()).to_numpy().copy()
    return labels


def _decoded(file: Path, parquet: pq.ParquetFile, column: str) -> Iterator[_Chunk]:
    """Decoded chunks in order, with at most :data:`_ROWS_AT_ONCE` rows held in encoded form."""
    workers = os.cpu_count() or 1
    share = -(-_ROWS_AT_ONCE // workers)
    first_row = 0
    with ThreadPoolExecutor(workers) as pool:
        for batch in parquet.iter_batches(_ROWS_AT_ONCE, columns=[column]):
            values = batch.column(0)
            if pa.types.is_struct(values.type):
                values = pc.struct_field(values, "bytes")
            encoded = values.to_pylist()
            starts = range(0, len(encoded), share)
            rows = [first_row + start for start in starts]
            parts = [encoded[start : start + share] for start in starts]
            yield from _of_workers(
                file, [pool.submit(_decode_chunk, file, *part) for part in zip(rows, parts, strict=True)]
            )
            first_row += len(encoded)


class UnreadableRowsError(DataError):
    """Some rows of a file cannot be decoded.

    Args:
        file: which.
        rows: what is wrong with each.
    """

    def __init__(self, file: Path, rows: Sequence[str]) -> None:
        self.rows = tuple(rows)
        shown = "; ".join(rows[:_ROWS_SHOWN]) + (
            f"; and {len(rows) - _ROWS_SHOWN} more" if len(rows) > _ROWS_SHOWN else ""
        )
        super().__init__(f"{file.name} {shown}; mend or drop {'the row' if len(rows) == 1 else 'these rows'}")


def _of_workers(file: Path, parts: Sequence[Future[_Chunk]]) -> list[_Chunk]:
    """Chunks in order; unreadable rows of all of them are named at once."""
    chunks, bad = list[_Chunk](), list[str]()
    for part in parts:
        try:
            chunks.append(part.result())
        except UnreadableRowsError as error:
            bad += error.rows
    if bad:
        raise UnreadableRowsError(file, bad)
    return chunks


def _decode_chunk(file: Path, first_row: int, encoded: Sequence[bytes | None]) -> _Chunk:
    pictures: list[Picture] = []
    bad: list[str] = []
    for row, data in enumerate(encoded, start=first_row):
        if not data:
            raise DataError(f"{file.name} row {row}: no image bytes; images must lie in the file, not beside it")
        try:
            pictures.append(decode(data))
        except ValueError as error:
            bad.append(f"row {row}: {error}")
    if bad:
        raise UnreadableRowsError(file, bad)
    images = [picture.pixels for picture in pictures]
    see_through = sum(picture.see_through for picture in pictures)
    if len({image.dtype for image in images}) > 1:
        deep = next(row for row, image in enumerate(images, start=first_row) if image.dtype == np.uint16)
        raise DataError(
            f"{file.name} row {deep} has 16 bits a pixel, but others near it have 8; their values do not compare, so "
            "store all images alike"
        )
    channels = max(len(image) for image in images)
    chunks = [_Chunk(file, row, image[None]) for row, image in enumerate(images, start=first_row)]
    _check_sizes(chunks)
    pixels = np.concatenate([c.pixels.repeat(channels // c.pixels.shape[1], 1) for c in chunks])
    return _Chunk(file, first_row, pixels, see_through)


def _check_sizes(chunks: Sequence[_Chunk]) -> None:
    first = chunks[0]
    for chunk in chunks:
        if chunk.pixels.shape[2:] != first.pixels.shape[2:]:
            places = (f"{c.file.name} row {c.first_row} is {_size(c.pixels)}" for c in (first, chunk))
            raise DataError(f"all images of a dataset must agree in size, but {', '.join(places)}; resize them first")


def _size(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> str:
    height, width = pixels.shape[2:]
    return f"{width} x {height}"


def _numbered(train: _Split) -> tuple[str, ...]:
    """Class names for a set that has none: its label numbers."""
    largest = int(train.labels.max())
    if largest >= len(train.labels):
        index = int(train.labels.argmax())
        raise DataError(
            f"{train.place(index)}: label {largest}, but there are only {len(train.labels)} training images; "
            "labels count classes from 0 without gaps"
        )
    used = np.unique(train.labels)
    if used[0] >= 0 and len(used) <= largest:
        shown = ", ".join(map(str, used[:10])) + (" …" if len(used) > 10 else "")
        way_out = (
            f"subtract {used[0]} from each"
            if used[0] == largest + 1 - len(used)
            else f"number the {len(used)} classes 0 to {len(used) - 1}"
        )
        raise DataError(f"the training labels are {shown}; labels count classes from 0 without gaps, so {way_out}")
    return tuple(str(number) for number in range(largest + 1))


def _check_labels(split: _Split, classes: int) -> None:
    wrong = np.flatnonzero((split.labels < 0) | (split.labels >= classes))
    if len(wrong):
        raise DataError(
            f"{split.place(int(wrong[0]))}: label {split.labels[wrong[0]]} is outside 0 to {classes - 1} "
            f"({classes} classes); {len(wrong)} such rows"
        )


def _check_classes(train: _Split, classes: tuple[str, ...]) -> None:
    counts = np.bincount(train.labels, minlength=len(classes))
    present = [name for name, count in zip(classes, counts, strict=True) if count]
    if len(present) < 2:
        raise DataError(f"all {len(train.labels)} training images are of class '{present[0]}'; at least 2 are needed")
    absent = [f"{number} ('{name}')" for number, name in enumerate(classes) if not counts[number]]
    if absent:
        raise DataError(
            f"{len(absent)} of {len(classes)} classes have no training image: {', '.join(absent[:5])}"
            f"{' …' if len(absent) > 5 else ''}; add images or drop the class"
        )
