"""What a reader makes of a user's files: every label at once, and images that are fetched when they are needed.

A set may be larger than memory, so nothing here holds pixels: a :class:`Part` gives its images in batches, again each
time that it is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddcore.errors import DataError
from ddcore.spec.ingest import Choices as Choices

UNLABELLED = -1
"""The number of an image that nobody has labelled."""

RawImage = bytes | str | Path | NDArray[Any] | None
"""One image as it is stored: an encoded file, or its path; or pixels (H, W) or (H, W, C); nothing where there is none.

Pixels are uint8, uint16, bool, or floating point from 0 to 1.
"""

SPLITS: Mapping[str, str] = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
}
"""How people name the splits of a set, and how we do."""

_FLAGS_SHOWN = 3


@dataclass(frozen=True)
class Guess:
    """How sure a reader is that files are of its layout.

    Attributes:
        sureness: from 0 (by no means) to 1 (they say so themselves).
        why: what it saw, in a few words that can follow "because".
    """

    sureness: float
    why: str


@dataclass(frozen=True)
class Labels:
    """Labels of some images.

    Attributes:
        numbers: int64 (N,). Places in ``names``; where there are none, the labels as they are stored.
            A negative one marks an image without a label.
        names: what the numbers stand for.
        declared: whether the file lists its classes by itself, in this order; else they are those that occur, sorted.
    """

    numbers: NDArray[np.int64]
    names: tuple[str, ...] | None = None
    declared: bool = False

    def __len__(self) -> int:
        return len(self.numbers)

    @classmethod
    def of(cls, values: Sequence[Any] | NDArray[Any], column: str) -> Labels:
        """Labels as a table or an array holds them: words, flags, or whole numbers in any numeric type.

        Args:
            values: one for each image, ``None`` where there is none; an array may be (N,) or (N, 1).
            column: what the user calls them, for messages.

        Raises:
            DataError: several flags for an image, fractions, or values that name no class.

        >>> Labels.of(["dog", "cat", None], "label")
        Labels(numbers=array([ 1,  0, -1]), names=('cat', 'dog'), declared=False)
        """
        array = np.atleast_1d(values) if isinstance(values, np.ndarray) else _array(values, column)
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array.ndim != 1:
            shown = " ".join(str(row) for row in np.asarray(array[:_FLAGS_SHOWN]).tolist())
            raise DataError(
                f"`{column}` holds {array.shape[-1]} values for each image ({shown} …), so an image can belong to "
                "several classes at once; only one label an image can be distilled, so name a column with one, or "
                "derive one"
            )
        if array.dtype.kind in "OU":
            return cls._named(array, column)
        if array.dtype.kind == "b":
            return cls(array.astype(np.int64), ("false", "true"))
        return cls(_whole(array, column))

    @classmethod
    def _named(cls, array: NDArray[Any], column: str) -> Labels:
        texts = [None if value is None or value != value else value for value in array.tolist()]
        odd = next((value for value in texts if value is not None and not isinstance(value, str)), None)
        if odd is not None:
            raise DataError(f"`{column}` holds words and {odd!r}; store all labels alike")
        names = tuple(sorted({text for text in texts if text}))
        number = {name: place for place, name in enumerate(names)}
        return cls(np.array([number.get(text or "", UNLABELLED) for text in texts], dtype=np.int64), names)


def _array(values: Sequence[Any], column: str) -> NDArray[Any]:
    """Values of a column as an array; what is absent becomes ``UNLABELLED`` among numbers."""
    present = [value for value in values if value is not None and value == value]
    if all(isinstance(value, str) for value in present):
        return np.array(list(values), dtype=object)
    if all(isinstance(value, bool) for value in present) and len(present) == len(values):
        return np.array(values, dtype=bool)
    if any(isinstance(value, str | bytes | Mapping) for value in present):
        odd = next(value for value in present if isinstance(value, str | bytes | Mapping))
        raise DataError(f"`{column}` holds numbers and {odd!r}; store all labels alike")
    try:
        return np.asarray([UNLABELLED if value is None else value for value in values])
    except ValueError as error:
        raise DataError(
            f"`{column}` holds lists of different lengths, so an image can belong to several classes at once; only one "
            "label an image can be distilled, so name a column with one, or derive one"
        ) from error


def _whole(array: NDArray[Any], column: str) -> NDArray[np.int64]:
    if array.dtype.kind in "iu":
        if array.dtype == np.uint64 and len(array) and array.max() > np.iinfo(np.int64).max:
            raise DataError(f"`{column}` holds {array.max()}, which is too large for a label; number the classes")
        return array.astype(np.int64)
    if array.dtype.kind != "f":
        raise DataError(f"`{column}` holds values of type {array.dtype}; labels are words or whole numbers")
    absent = np.isnan(array)
    numbers = np.where(absent, float(UNLABELLED), array)
    odd = np.flatnonzero((numbers != np.rint(numbers)) | (np.abs(numbers) > 2**53))
    if len(odd):
        raise DataError(
            f"`{column}` holds {array[odd[0]]} (row {odd[0]}), a measured quantity rather than a class; labels are "
            "words or whole numbers"
        )
    return numbers.astype(np.int64)


@dataclass(frozen=True)
class Part:
    """Images of one split that lie together: a parquet file, a folder, an array.

    Attributes:
        split: ``train``, ``test`` or ``validation``, where the files say so.
        name: what the user calls it, for messages.
        labels: of all its images.
        images: gives the images in batches, in the order of the labels; anew each time.
        place: says where the image of a number lies, such as ``train.parquet row 3``.
        groups: of each image, what it must not be parted from by a cut.
    """

    split: str | None
    name: str
    labels: Labels
    images: Callable[[], Iterator[Sequence[RawImage]]]
    place: Callable[[int], str]
    groups: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def of_array(cls, split: str | None, name: str, images: NDArray[Any], labels: Labels) -> Part:
        """Images that lie in one array, in memory or mapped from a file.

        Args:
            split: ``train``, ``test``, ``validation`` or unknown.
            name: what the user calls the array.
            images: (N, H, W) or (N, H, W, C).
            labels: of all of them.
        """
        return cls(split, name, labels, lambda: batches(images), lambda number: f"{name}[{number}]")


@dataclass(frozen=True)
class Source:
    """Everything that a reader found.

    Attributes:
        parts: in an order that does not depend on the machine.
        ignored: how many files of each kind were left alone, such as ``{".DS_Store": 3}``.
        notes: what the user should know of how the files were understood.
    """

    parts: Sequence[Part]
    ignored: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()


def split_named(text: str) -> str | None:
    """The split that a folder or a file is named after.

    >>> [split_named(name) for name in ("Train", "val", "cats")]
    ['train', 'validation', None]
    """
    return SPLITS.get(text.lower())


def batches(images: Sequence[RawImage] | NDArray[Any], size: int = 1024) -> Iterator[Sequence[RawImage]]:
    """A sequence, or an array of images, in pieces."""
    for start in range(0, len(images), size):
        yield list(images[start : start + size])
