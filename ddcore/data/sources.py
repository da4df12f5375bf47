"""Where a dataset comes from: scikit-learn, parquet files in a folder, or torchvision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ddcore.data.images import Dataset, ImageSet, describe
from ddcore.errors import DataError
from ddcore.spec.datasets import DATASETS

_DIGITS_TRAIN = 1437
"""scikit-learn's digits have no split of their own: the first 1437 train, the last 360 test."""


def load(name: str, data_root: Path | None = None, cache: Path | None = None) -> Dataset:
    """Load a dataset by name."""
    if name == "digits":
        return _digits()
    raise DataError(f"no dataset '{name}'")


def _digits() -> Dataset:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    # Grey levels 0 to 16 become 0 to 255.
    images = torch.from_numpy(np.rint(bunch.images * (255 / 16)).astype(np.uint8)).unsqueeze(1)
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    classes = DATASETS["digits"].classes
    train = ImageSet(images[:_DIGITS_TRAIN], labels[:_DIGITS_TRAIN], classes)
    test = ImageSet(images[_DIGITS_TRAIN:], labels[_DIGITS_TRAIN:], classes)
    return describe("digits", train, test)
