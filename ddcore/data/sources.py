"""Where a dataset comes from: scikit-learn, parquet files in a folder, or torchvision."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch

from ddcore.data import readers
from ddcore.data.dataset import Dataset, ImageSet, describe
from ddcore.data.decoded_cache import cached
from ddcore.data.inspection import inspected
from ddcore.data.readers import published
from ddcore.errors import DataError
from ddcore.spec.datasets import DATASETS
from ddcore.spec.errors import nearest

_DIGITS_TRAIN = 1437
"""scikit-learn's digits come without a split: the first 1437 train, the last 360 test."""


def load(name: str, data_root: Path | None = None, cache: Path | None = None) -> Dataset:
    """Load a dataset by name.

    It is looked for in ``data_root/name`` by every reader (:mod:`ddcore.data.readers`); ours knows Hugging Face-layout
    parquet (``train-*.parquet`` and ``test-*.parquet``, there or in the subfolder ``data``). A folder of the user's own
    goes before a built-in name. ``digits`` ships with scikit-learn. mnist, fashion_mnist, svhn, cifar10 and cifar100
    are then looked for in the files of torchvision's own loaders in ``data_root`` or ``cache/torchvision``, where they
    are downloaded if need be.

    Args:
        name: name of the dataset.
        data_root: folder of named datasets.
        cache: folder shared by jobs; parquet is decoded once and then memory-mapped from here.

    Raises:
        DataError: nothing by that name was found, or what was found is unfit; the message says where
            it looked, or names file and row.
    """
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise DataError(f"'{name}' cannot name a dataset; names consist of letters, digits and . _ -")
    if data_root is not None:
        found = readers.find(data_root / name)
        if found is not None:
            facts = DATASETS.get(name)
            known = facts.classes if facts is not None else None
            decoded = cached(cache, found.files, lambda: inspected(*found.read(known)))
            return describe(name, decoded.train, decoded.test, decoded.digest)
    if name == "digits":
        return _digits()
    if name in published.LOADERS:
        return describe(name, *published.read(name, data_root, cache), published=True)
    raise DataError(_not_found(name, data_root))


def _digits() -> Dataset:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    # Grey levels 0 to 16 become 0 to 255.
    images = torch.from_numpy(np.rint(bunch.images * (255 / 16)).astype(np.uint8)).unsqueeze(1)
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    classes = DATASETS["digits"].classes
    train = ImageSet(images[:_DIGITS_TRAIN], labels[:_DIGITS_TRAIN], classes)
    test = ImageSet(images[_DIGITS_TRAIN:], labels[_DIGITS_TRAIN:], classes)
    return describe("digits", train, test, published=True)


def _not_found(name: str, data_root: Path | None) -> str:
    built_in = f"built in: {', '.join(sorted(DATASETS))}"
    if data_root is None:
        return f"no dataset '{name}', and no data root to look for a folder of that name in; {built_in}"
    folder = data_root / name
    siblings = [path.name for path in data_root.iterdir() if path.is_dir()] if data_root.is_dir() else []
    guess = nearest(name, {*DATASETS, *siblings} - {name})
    hint = f" Did you mean '{guess}'?" if guess else ""
    if folder.is_dir():
        present = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        return f"{folder} holds no train-*.parquet, nor does its subfolder data; present: {present}"
    return (
        f"no dataset '{name}': there is no folder {folder} with train-*.parquet and test-*.parquet; {built_in}.{hint}"
    )
