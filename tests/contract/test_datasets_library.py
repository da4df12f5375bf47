"""Whatever Hugging Face's `datasets` writes is read, and what both read is the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from ddcore.data.ingest.intake import take_in
from ddcore.data.stored import StoredSet
from ddcore.spec.ingest import IngestOptions

NAMES = ["cat", "dog", "fox"]


def rows(count: int, seed: int) -> dict[str, list[Any]]:
    rng = np.random.default_rng(seed)
    images = [Image.fromarray(rng.integers(0, 256, (10, 12, 3), dtype=np.uint8)) for _ in range(count)]
    return {"image": images, "label": [number % 3 for number in range(count)]}


def made(count: int, seed: int, label: Any) -> datasets.Dataset:
    columns = rows(count, seed)
    if isinstance(label, datasets.Value):
        columns["label"] = [NAMES[number] for number in columns["label"]]
    return datasets.Dataset.from_dict(columns, features=datasets.Features({"image": datasets.Image(), "label": label}))


def taken(place: Path, tmp_path: Path) -> StoredSet:
    return take_in(place, tmp_path / "shelf", name="set", options=IngestOptions())


def assert_same(found: StoredSet, train: datasets.Dataset, test: datasets.Dataset, names: Sequence[str]) -> None:
    for split, expected in ((found.train, train), (found.test, test)):
        assert split.classes == tuple(names)
        pixels = np.stack([np.asarray(image) for image in expected["image"]]).transpose(0, 3, 1, 2)
        assert np.array_equal(split.images.numpy(), pixels)
        labels = [names[label] if isinstance(label, int) else label for label in expected["label"]]
        assert [names[label] for label in split.labels.tolist()] == labels


@pytest.mark.parametrize("label", [datasets.ClassLabel(names=NAMES), datasets.Value("string")])
@pytest.mark.parametrize("name", ["{}.parquet", "data/{}-00000-of-00001.parquet"])
def test_parquet(tmp_path: Path, label: Any, name: str) -> None:
    train, test = made(30, 0, label), made(9, 1, label)
    for split, content in (("train", train), ("test", test)):
        path = tmp_path / "set" / name.format(split)
        path.parent.mkdir(parents=True, exist_ok=True)
        content.to_parquet(str(path))
    assert_same(taken(tmp_path / "set", tmp_path), train, test, NAMES)


def test_shards(tmp_path: Path) -> None:
    train, test = (made(count, count, datasets.ClassLabel(names=NAMES)) for count in (31, 9))
    (tmp_path / "set").mkdir()
    for number in range(3):
        train.shard(3, number, contiguous=True).to_parquet(
            str(tmp_path / "set" / f"train-{number:05d}-of-00003.parquet")
        )
    test.to_parquet(str(tmp_path / "set" / "test-00000-of-00001.parquet"))
    assert_same(taken(tmp_path / "set", tmp_path), train, test, NAMES)


# The library leaves its tables open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("metadata", [True, False])
def test_imagefolder(tmp_path: Path, metadata: bool) -> None:
    """The folder that `load_dataset("imagefolder")` reads, with a table or with folders of classes."""
    for split, count, seed in (("train", 30, 0), ("test", 9, 1)):
        columns = rows(count, seed)
        lines = ["file_name,label"]
        for number, (image, label) in enumerate(zip(columns["image"], columns["label"], strict=True)):
            folder = tmp_path / "set" / split / ("." if metadata else NAMES[label])
            folder.mkdir(parents=True, exist_ok=True)
            image.save(folder / f"{number:03d}.png")
            lines.append(f"{number:03d}.png,{NAMES[label]}")
        if metadata:
            (tmp_path / "set" / split / "metadata.csv").write_text("\n".join(lines))
    loaded = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"))
    assert_same(taken(tmp_path / "set", tmp_path), loaded["train"], loaded["test"], NAMES)
