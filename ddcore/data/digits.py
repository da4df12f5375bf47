"""The handwritten digits that ship with scikit-learn: 1,797 grey images of 8 x 8 pixels, in need of no download."""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from ddcore.data.dataset import Dataset, ImageSet, describe
from ddcore.errors import DataError
from ddcore.spec.datasets import DATASETS

_TRAIN = 1437
"""They come without a split: the first 1437 train, the last 360 test."""
_FILE = Path("datasets", "data", "digits.csv.gz")


def read() -> Dataset:
    """The digits, with grey levels 0 to 16 as 0 to 255.

    Only the file is read. ``sklearn.datasets.load_digits`` reads the same one, but importing it takes longer than most
    jobs on these images need to begin.

    Raises:
        DataError: scikit-learn is not installed, or keeps the file elsewhere.
    """
    package = find_spec("sklearn")
    places = [] if package is None else list(package.submodule_search_locations or ())
    file = next((Path(place) / _FILE for place in places if (Path(place) / _FILE).is_file()), None)
    if file is None:
        raise DataError(
            f"the digits are read from the file {_FILE} of scikit-learn, which is not there; "
            "install scikit-learn 1.6 or a later one"
        )
    with gzip.open(file, "rt", encoding="ascii") as lines:
        rows = np.loadtxt(lines, delimiter=",", dtype=np.uint8)
    levels, classes = rows[:, :-1].reshape(-1, 1, 8, 8), rows[:, -1]
    images = torch.from_numpy(np.rint(levels * (255 / 16)).astype(np.uint8))
    labels = torch.from_numpy(classes.astype(np.int64))
    names = DATASETS["digits"].classes
    train = ImageSet(images[:_TRAIN], labels[:_TRAIN], names)
    test = ImageSet(images[_TRAIN:], labels[_TRAIN:], names)
    return describe("digits", train, test, published=True)
