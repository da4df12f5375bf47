"""Hugging Face-layout parquet: ``train-*.parquet`` and ``test-*.parquet`` with an image and a label column."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from ddcore.data.dataset import ImageSet
from ddcore.data.image_files import decode
from ddcore.data.readers import Found, reader
from ddcore.errors import DataError

_IMAGE_COLUMNS = ("image", "img")
_LABEL_COLUMNS = ("label", "labels", "fine_label")
_ROWS_AT_ONCE = 1024


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
            _check_complete(split)
        return Files(train, test)
    return None


@reader("parquet")
def layout(folder: Path) -> Found | None:
    """What :func:`find` finds, for :func:`read`."""
    files = find(folder)
    return None if files is None else Found((*files.train, *files.test), lambda known: read(files, known))


def read(files: Files, known_classes: Sequence[str] | None = None) -> tuple[ImageSet, ImageSet]:
    """Read and decode both splits.

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
    classes = train.names or tuple(known_classes or ()) or _numbered(train)
    _check_sizes([*train.chunks, *test.chunks])
    for split in (train, test):
        _check_labels(split, len(classes))
    _check_classes(train, classes)
    channels = max(chunk.pixels.shape[1] for split in (train, test) for chunk in split.chunks)
    return train.assemble(classes, channels), test.assemble(classes, channels)


@dataclass(frozen=True)
class _Chunk:
    """Some consecutive decoded rows of a file: uint8 (n, 1 or 3, H, W)."""

    file: Path
    first_row: int
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class _Split:
    """One split as it was read, with labels still unchecked."""

    labels: NDArray[np.int64]
    names: tuple[str, ...] | None
    chunks: tuple[_Chunk, ...]

    def place(self, index: int) -> str:
        """Where the image at ``index`` of the split comes from."""
        for chunk in self.chunks:
            if index < len(chunk.pixels):
                return f"{chunk.file.name} row {chunk.first_row + index}"
            index -= len(chunk.pixels)
        raise IndexError(index)

    def assemble(self, classes: tuple[str, ...], channels: int) -> ImageSet:
        pixels = [np.repeat(c.pixels, channels // c.pixels.shape[1], axis=1) for c in self.chunks]
        return ImageSet(torch.from_numpy(np.concatenate(pixels)), torch.from_numpy(self.labels), classes)


def _read_split(files: tuple[Path, ...]) -> _Split:
    labels: list[NDArray[np.int64]] = []
    chunks: list[_Chunk] = []
    names: tuple[str, ...] | None = None
    for file in files:
        try:
            with pq.ParquetFile(file) as parquet:
                image, label = _columns(file, parquet.schema_arrow)
                names = names or _class_names(file, parquet.schema_arrow, label)
                labels.append(_labels(file, parquet.read([label]).column(0)))
                chunks += _decoded(file, parquet, image)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{file} is not a readable parquet file ({error}); write or copy it again") from error
    if not chunks:
        raise DataError(f"{files[0]} has no rows; each split needs images")
    return _Split(np.concatenate(labels), names, tuple(chunks))


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
            yield from pool.map(_decode_chunk, [file] * len(rows), rows, parts)
            first_row += len(encoded)


def _decode_chunk(file: Path, first_row: int, encoded: Sequence[bytes | None]) -> _Chunk:
    images: list[NDArray[np.uint8]] = []
    for row, data in enumerate(encoded, start=first_row):
        if not data:
            raise DataError(f"{file.name} row {row}: no image bytes; images must lie in the file, not beside it")
        try:
            images.append(decode(data))
        except ValueError as error:
            raise DataError(f"{file.name} row {row}: {error}; mend or drop the row") from error
    channels = max(len(image) for image in images)
    chunks = [_Chunk(file, row, image[None]) for row, image in enumerate(images, start=first_row)]
    _check_sizes(chunks)
    return _Chunk(file, first_row, np.concatenate([c.pixels.repeat(channels // c.pixels.shape[1], 1) for c in chunks]))


def _check_sizes(chunks: Sequence[_Chunk]) -> None:
    first = chunks[0]
    for chunk in chunks:
        if chunk.pixels.shape[2:] != first.pixels.shape[2:]:
            places = (f"{c.file.name} row {c.first_row} is {_size(c.pixels)}" for c in (first, chunk))
            raise DataError(f"all images of a dataset must agree in size, but {', '.join(places)}; resize them first")


def _size(pixels: NDArray[np.uint8]) -> str:
    height, width = pixels.shape[2:]
    return f"{width} x {height}"


def _check_complete(files: tuple[Path, ...]) -> None:
    """Where the names say how many files a split has, all must be there."""
    announced = re.search(r"-of-(\d+)\.parquet$", files[0].name)
    if announced is not None and int(announced[1]) != len(files):
        present = ", ".join(file.name for file in files)
        raise DataError(
            f"{files[0].parent} holds {len(files)} of {int(announced[1])} files of a split ({present}); copy the rest"
        )


def _numbered(train: _Split) -> tuple[str, ...]:
    """Class names for a set that has none: its label numbers."""
    largest = int(train.labels.max())
    if largest >= len(train.labels):
        index = int(train.labels.argmax())
        raise DataError(
            f"{train.place(index)}: label {largest}, but there are only {len(train.labels)} training images; "
            "labels count classes from 0 without gaps"
        )
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
