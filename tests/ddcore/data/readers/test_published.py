import struct
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torchvision import datasets

from ddcore.data.readers import published
from ddcore.data.sources import load
from ddcore.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 28, 28), dtype=np.uint8)


def write_mnist(root: Path) -> None:
    """MNIST's own files with four training and two test images."""
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for split, count in (("train", 4), ("t10k", 2)):
        (folder / f"{split}-images-idx3-ubyte").write_bytes(
            struct.pack(">4i", 2051, count, 28, 28) + PIXELS[:count].tobytes()
        )
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, count) + bytes(range(count)))


class FakeLoader:
    """Stands in for a torchvision loader whose archives are where ``present`` says."""

    present: Path | None = None
    asked: list[tuple[Path, bool]]

    def __init__(self, root: Path, download: bool, train: bool | None = None, split: str | None = None) -> None:
        self.asked.append((root, download))
        if download:
            raise URLError("no route to host")
        if root != self.present:
            raise RuntimeError("Dataset not found or corrupted. You can use download=True to download it")
        count = 3 if train or split == "train" else 2
        rng = np.random.default_rng(count)
        self.data = rng.integers(0, 256, (count, 3, 32, 32) if split else (count, 32, 32, 3), dtype=np.uint8)
        self.targets = self.labels = list(range(count))


@pytest.fixture
def loader(monkeypatch: pytest.MonkeyPatch) -> type[FakeLoader]:
    fake = type("Fake", (FakeLoader,), {"asked": []})
    for name in ("CIFAR10", "SVHN", "FashionMNIST"):
        monkeypatch.setattr(datasets, name, fake)
    return fake


def test_archives_in_the_data_root_are_read_by_torchvision(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    dataset = load("mnist", tmp_path)
    assert torch.equal(dataset.train.images, torch.from_numpy(PIXELS).unsqueeze(1))
    assert torch.equal(dataset.test.images, torch.from_numpy(PIXELS[:2]).unsqueeze(1))
    assert dataset.train.labels.tolist() == [0, 1, 2, 3]
    assert (dataset.mean, dataset.std, dataset.flip) == ((0.1307,), (0.3081,), False)
    assert len(dataset.classes) == 10


@pytest.mark.parametrize(("name", "axes"), [("cifar10", (0, 3, 1, 2)), ("svhn", (0, 1, 2, 3))])
def test_channels_come_first(loader: Any, tmp_path: Path, name: str, axes: tuple[int, ...]) -> None:
    loader.present = tmp_path
    train, test = published.read(name, tmp_path, None)
    original = loader(tmp_path, False, **({"split": "train"} if name == "svhn" else {"train": True})).data
    assert torch.equal(train.images, torch.from_numpy(original.transpose(axes).copy()))
    assert (train.shape, len(test), train.labels.tolist()) == ((3, 32, 32), 2, [0, 1, 2])


def test_archives_downloaded_before_are_found_in_the_cache(loader: Any, tmp_path: Path) -> None:
    loader.present = tmp_path / "cache" / "torchvision"
    train, _ = published.read("cifar10", tmp_path / "data", tmp_path / "cache")
    assert len(train) == 3
    assert not any(download for _, download in loader.asked)


def test_failed_download_names_every_way_to_provide_the_data(loader: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load("cifar10", tmp_path / "data", tmp_path / "cache")
    assert loader.asked == [
        (tmp_path / "data", False),
        (tmp_path / "cache" / "torchvision", False),
        (tmp_path / "cache" / "torchvision", True),
    ]
    message = str(caught.value)
    assert f"train-*.parquet and test-*.parquet in {tmp_path / 'data' / 'cifar10'}" in message
    assert "no route to host" in message
    assert "You can use download=True" not in message


def test_without_any_folder_nothing_is_downloaded(loader: Any) -> None:
    with pytest.raises(DataError, match=r"no data for 'svhn'.*no folder to look in was given"):
        load("svhn")
    assert loader.asked == []
