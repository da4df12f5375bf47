"""The archives in which well-known datasets were published, read by torchvision's own loaders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ddcore.data.dataset import ImageSet
from ddcore.errors import DataError
from ddcore.spec.datasets import DATASETS

LOADERS = {
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "svhn": "SVHN",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
}
"""Dataset names, and the class of ``torchvision.datasets`` that reads each."""


def read(name: str, data_root: Path | None, cache: Path | None) -> tuple[ImageSet, ImageSet]:
    """Read both splits from ``data_root`` or ``cache/torchvision``, downloading them if need be.

    A download goes to the cache, or to ``data_root`` where there is no cache.

    Args:
        name: a key of :data:`LOADERS`.
        data_root: folder of named datasets.
        cache: folder shared by jobs.

    Raises:
        DataError: the archives are in neither place and could not be downloaded.
    """
    try:
        from torchvision import datasets
    except (ImportError, RuntimeError) as error:
        raise DataError(_unavailable(name, data_root, [f"torchvision cannot be loaded: {error}"])) from error
    loader = getattr(datasets, LOADERS[name])
    archives = None if cache is None else cache / "torchvision"
    places = [place for place in (data_root, archives) if place is not None]
    attempts = [(place, False) for place in places] + [(place, True) for place in places[-1:]]
    reasons = []
    for place, download in attempts:
        try:
            return _split(name, loader, place, True, download), _split(name, loader, place, False, download)
        except (OSError, RuntimeError, EOFError, ValueError, AssertionError) as error:
            # What follows the first sentence is advice to a caller of torchvision, or addresses that it tried.
            reason = str(error).partition("\n")[0].split(". ")[0].rstrip(":")
            reasons.append(f"{'download to ' if download else ''}{place}: {reason}")
    raise DataError(_unavailable(name, data_root, reasons or ["no folder to look in was given"]))


def _split(name: str, loader: Any, root: Path, train: bool, download: bool) -> ImageSet:
    if name == "svhn":
        archive = loader(root, split="train" if train else "test", download=download)
        labels = archive.labels
    else:
        archive = loader(root, train=train, download=download)
        labels = archive.targets
    images = torch.as_tensor(archive.data)
    if images.ndim == 3:
        images = images.unsqueeze(1)
    elif name.startswith("cifar"):
        images = images.permute(0, 3, 1, 2).contiguous()
    return ImageSet(images, torch.as_tensor(labels, dtype=torch.int64), DATASETS[name].classes)


def _unavailable(name: str, data_root: Path | None, reasons: list[str]) -> str:
    folder = f"{data_root / name}" if data_root is not None else f"a folder {name} in the data root (none is set)"
    return (
        f"no data for '{name}'. Provide it in one of three ways: train-*.parquet and test-*.parquet in {folder}; "
        f"the published archives, as torchvision stores them, in the data root; or a connection to download them. "
        f"Tried: {'; '.join(reasons)}"
    )
