"""The idx files in which MNIST and its relatives are published."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, ClassVar, cast

import numpy as np

from ddcore.data.image_files import MAX_PIXELS
from ddcore.data.readers import reader
from ddcore.data.source import Choices, Guess, Labels, Part, RawImage, Source
from ddcore.errors import DataError
from ddcore.spec.listing import listed

_SPLITS = {"train": "train", "t10k": "test"}
_AXES = {"images": 3, "labels": 1}
_UNSIGNED_BYTES = 8
_ROWS = 1024
_BATCH_BYTES = 64 * 2**20
_MOST_LABELS = 100_000_000


@reader("idx")
class Idx:
    """Reads ``train-images-idx3-ubyte`` and its three companions, packed with gzip or not, in a folder or in its
    ``raw``.

    A dot may stand before ``idx``. Either split may be absent. The digits name themselves.
    """

    heeds: ClassVar[frozenset[str]] = frozenset()

    def sniff(self, place: Path) -> Guess | None:
        """Sure where a file has one of the four names."""
        try:
            files = _files(place)
        except OSError:
            return None
        return Guess(0.95, f"{next(iter(files.values())).name} is a file of MNIST's layout") if files else None

    def read(self, place: Path, choices: Choices) -> Source:  # noqa: ARG002 - there is nothing to choose
        """Both splits, or the one that is there.

        Raises:
            DataError: images lack their labels or labels their images, both disagree in number, or a file is damaged or
                no idx file of bytes; what gzip hides is found when images are fetched.
        """
        files = _files(place)
        parts = []
        for prefix, split in _SPLITS.items():
            images, labels = files.get((prefix, "images")), files.get((prefix, "labels"))
            if images is not None and labels is not None:
                parts.append(_part(split, images, labels))
            elif images is not None or labels is not None:
                absent = f"{prefix}-labels-idx1-ubyte" if labels is None else f"{prefix}-images-idx3-ubyte"
                raise DataError(f"{place} holds {(images or labels or place).name} but no {absent}; add it")
        if not parts:
            raise DataError(f"{place} holds no train-images-idx3-ubyte; give the folder with MNIST's four files")
        return Source(parts, listed(place).left_alone([file.relative_to(place) for file in files.values()]))


def _files(place: Path) -> dict[tuple[str, str], Path]:
    found = {}
    for prefix in _SPLITS:
        for kind, axes in _AXES.items():
            names = [f"{prefix}-{kind}{dot}idx{axes}-ubyte{packed}" for packed in ("", ".gz") for dot in "-."]
            paths = [folder / name for folder in (place, place / "raw") for name in names]
            path = next((path for path in paths if path.is_file()), None)
            if path is not None:
                found[prefix, kind] = path
    return found


def _part(split: str, images: Path, labels: Path) -> Part:
    with _opened(images) as stream:
        shape = _header(images, stream, 3)
    if not 0 < math.prod(shape[1:]) <= MAX_PIXELS:
        raise DataError(
            f"{images} has images of {shape[1]} x {shape[2]} pixels; 1 to {MAX_PIXELS:,} pixels are allowed, so "
            "scale them"
        )
    with _opened(labels) as stream:
        (count,) = _header(labels, stream, 1)
        if count > _MOST_LABELS:
            raise DataError(
                f"{labels} claims {count:,} labels, more than the {_MOST_LABELS:,} allowed; cut it in pieces"
            )
        data = _exactly(labels, stream, count)
        _check_end(labels, stream)
    if count != shape[0]:
        raise DataError(f"{images} holds {shape[0]:,} images, but {labels.name} {count:,} labels; get both anew")
    return Part(
        split,
        images.name,
        Labels(np.frombuffer(data, np.uint8).astype(np.int64)),
        partial(_images, images, shape),
        lambda number: f"{images.name} image {number}",
    )


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            yield cast(BinaryIO, stream)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file} is not readable ({error}); copy or download it again") from error


def _header(file: Path, stream: BinaryIO, axes: int) -> tuple[int, ...]:
    """Sizes of the axes; those of an unpacked file are compared with its length."""
    wanted = bytes((0, 0, _UNSIGNED_BYTES, axes))
    magic = stream.read(len(wanted))
    if magic != wanted:
        raise DataError(
            f"{file} starts with {magic.hex(' ') or 'nothing'} instead of {wanted.hex(' ')} (idx, bytes, {axes} axes); "
            "copy or download it again"
        )
    sizes = np.frombuffer(_exactly(file, stream, 4 * axes), ">u4")
    shape = tuple(int(size) for size in sizes)
    if file.suffix != ".gz":
        held = file.stat().st_size - 4 - 4 * axes
        if held != math.prod(shape):
            raise DataError(
                f"{file} claims {' x '.join(map(str, shape))} bytes but holds {held:,}; copy or download it again"
            )
    return shape


def _exactly(file: Path, stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) != count:
        raise DataError(f"{file} ends early; copy or download it again")
    return data


def _check_end(file: Path, stream: BinaryIO) -> None:
    if stream.read(1):
        raise DataError(f"{file} holds more than it claims; copy or download it again")


def _images(file: Path, shape: tuple[int, ...]) -> Iterator[Sequence[RawImage]]:
    count, height, width = shape
    step = max(1, min(_ROWS, _BATCH_BYTES // (height * width)))
    with _opened(file) as stream:
        _header(file, stream, 3)
        for first in range(0, count, step):
            rows = min(step, count - first)
            data = _exactly(file, stream, rows * height * width)
            yield list(np.frombuffer(data, np.uint8).reshape(rows, height, width))
        _check_end(file, stream)
