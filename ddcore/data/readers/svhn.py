"""SVHN's cropped digits as their authors publish them, in MATLAB files."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ddcore.data.readers import reader
from ddcore.data.source import Choices, Guess, Labels, Part, RawImage, Source
from ddcore.errors import DataError
from ddcore.spec.datasets import DATASETS
from ddcore.spec.listing import listed

_FILES = {"train_32x32.mat": "train", "test_32x32.mat": "test"}
_EXTRA = "extra_32x32.mat"
_SIDE = (32, 32, 3)
_ZERO = 10
_ROWS = 1024
_MOST_IMAGES = 1_000_000


@reader("svhn")
class Svhn:
    """Reads ``train_32x32.mat`` and ``test_32x32.mat``; ``extra_32x32.mat`` is left out.

    MATLAB's format keeps the images of a file in one piece, so that they pass through a file beside it.
    """

    heeds: ClassVar[frozenset[str]] = frozenset()

    def sniff(self, place: Path) -> Guess | None:
        """Sure where one of the two files is there."""
        try:
            name = next((name for name in _FILES if (place / name).is_file()), None)
        except OSError:
            return None
        return Guess(0.95, f"there is {name}") if name is not None else None

    def read(self, place: Path, choices: Choices) -> Source:  # noqa: ARG002 - there is nothing to choose
        """Both splits, or the one that is there, with the label 10 of the digit 0 made 0.

        Raises:
            DataError: a file is no readable MATLAB file, or its `X` and `y` are not those of SVHN.
        """
        files = [place / name for name in _FILES if (place / name).is_file()]
        if not files:
            raise DataError(f"{place} holds no train_32x32.mat; give the folder with SVHN's files")
        parts = [_part(file) for file in files]
        notes = ["the digit 0, which SVHN labels 10, was given the label 0"]
        if (place / _EXTRA).is_file():
            notes.append(f"{_EXTRA} was left out, as it is in published results")
        return Source(parts, listed(place).left_alone([file.relative_to(place) for file in files]), notes)


def _part(file: Path) -> Part:
    with tempfile.TemporaryDirectory(prefix="svhn-") as made:
        count = _count(file, _converted(file, ["y"], Path(made)))
        values = np.array(_loaded(file, "y", Path(made)))
    if values.dtype.kind not in "iuf" or values.size != count:
        raise DataError(
            f"{file}: `y` holds {values.size} values of {values.dtype} for {count} images; copy or download it again"
        )
    numbers = values.reshape(-1)
    odd = np.flatnonzero((numbers < 0) | (numbers > _ZERO) | (numbers != np.rint(numbers)) | np.isnan(numbers))
    if len(odd):
        raise DataError(
            f"{file.name} image {odd[0]}: the label {numbers[odd[0]]} is no digit (1 to 9, and 10 for 0); copy or "
            "download it again"
        )
    labels = numbers.astype(np.int64)
    labels[labels == _ZERO] = 0
    return Part(
        _FILES[file.name],
        file.name,
        Labels(labels, DATASETS["svhn"].classes, declared=True),
        partial(_images, file),
        lambda number: f"{file.name} image {number}",
    )


_PROGRAM = """
import json, sys
import numpy as np
from scipy.io import loadmat, whosmat

file, names, out = sys.argv[1], sys.argv[2].split(), sys.argv[3]
try:
    found = {name: [list(map(int, shape)), kind] for name, shape, kind in whosmat(file)}
    if all(name in found for name in names):
        for name, values in loadmat(file, variable_names=names).items():
            if name in names:
                np.save(f"{out}/{name}.npy", values, allow_pickle=False)
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
json.dump(found, open(f"{out}/found.json", "w"))
"""


def _converted(file: Path, names: Sequence[str], out: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Write arrays of a MATLAB file as ``.npy``, in a process of its own: damaged files make SciPy's parser crash.

    Returns:
        Shape and type of every array of the file.
    """
    done = subprocess.run(  # noqa: S603 - our own program, with paths as its arguments
        [sys.executable, "-c", _PROGRAM, str(file), " ".join(names), str(out)],
        capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    if done.returncode > 0:
        raise _unreadable(file, done.stderr.strip().rpartition("\n")[2])
    if done.returncode:
        raise _unreadable(file, "it makes its reader crash")
    found = json.loads((out / "found.json").read_text("utf-8"))
    return {name: (tuple(shape), kind) for name, (shape, kind) in found.items()}


def _count(file: Path, found: dict[str, tuple[tuple[int, ...], str]]) -> int:
    """How many images a file claims."""
    shown = ", ".join(f"{name} {shape} {kind}" for name, (shape, kind) in found.items()) or "nothing"
    shape, kind = found.get("X", ((), ""))
    # MATLAB drops a last axis of one image.
    shape = (*shape, 1) if shape == _SIDE else shape
    if "y" not in found or len(shape) != 4 or shape[:3] != _SIDE or kind != "uint8":
        raise DataError(f"{file} must hold `X` (32, 32, 3, N) of uint8 and `y`, but holds {shown}; get it anew")
    count = shape[3]
    if not 0 < count <= _MOST_IMAGES:
        raise DataError(f"{file} claims {count:,} images; 1 to {_MOST_IMAGES:,} are allowed, so cut it in pieces")
    return count


def _loaded(file: Path, name: str, out: Path) -> NDArray[Any]:
    try:
        values: NDArray[Any] = np.load(out / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise _unreadable(file, f"`{name}` is no array of numbers") from error
    return values


def _unreadable(file: Path, reason: str) -> DataError:
    return DataError(f"{file} is not a readable MATLAB file of version 5 to 7 ({reason}); copy or download it again")


def _images(file: Path) -> Iterator[Sequence[RawImage]]:
    with tempfile.TemporaryDirectory(prefix="svhn-") as made:
        _converted(file, ["X"], Path(made))
        pixels = _loaded(file, "X", Path(made)).reshape(*_SIDE, -1)
        for start in range(0, pixels.shape[3], _ROWS):
            yield list(np.ascontiguousarray(pixels[..., start : start + _ROWS].transpose(3, 0, 1, 2)))
