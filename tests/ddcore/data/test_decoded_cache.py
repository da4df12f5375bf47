import json
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ddcore.data.dataset import ImageSet, digest_of
from ddcore.data.decoded_cache import cached


class Source:
    """Two files, and the number of times they were decoded."""

    def __init__(self, folder: Path) -> None:
        self.files = [folder / "a.parquet", folder / "b.parquet"]
        for file in self.files:
            file.write_bytes(b"encoded")
        self.builds = 0

    def build(self) -> tuple[ImageSet, ImageSet]:
        self.builds += 1
        train, test = (
            ImageSet(torch.arange(n * 12, dtype=torch.uint8).view(n, 3, 2, 2), torch.arange(n) % 2, ("cat", "dog"))
            for n in (6, 4)
        )
        return train, test


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path)


def entry_of(cache: Path) -> Path:
    (entry,) = (path for path in (cache / "datasets").iterdir())
    return entry


def test_second_reading_decodes_nothing_and_gives_the_same(source: Source, tmp_path: Path) -> None:
    cold = cached(tmp_path / "cache", source.files, source.build)
    os.utime(entry_of(tmp_path / "cache"), (0, 0))
    warm = cached(tmp_path / "cache", source.files, source.build)
    assert source.builds == 1
    assert entry_of(tmp_path / "cache").stat().st_mtime > time.time() - 600, "it is known to be in use"
    train, test = source.build()
    for found in (cold, warm):
        assert torch.equal(found.train.images, train.images)
        assert torch.equal(found.test.labels, test.labels)
        assert found.train.classes == ("cat", "dog")
        assert found.digest == digest_of(train, test)


def test_cached_images_are_memory_mapped_and_changing_them_changes_no_file(source: Source, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    images = cached(cache, source.files, source.build).train.images
    images.zero_()
    assert cached(cache, source.files, source.build).train.images.any()
    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if str(entry_of(cache)) in line]
    assert mapped


def test_without_a_cache_nothing_is_written(source: Source, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert cached(None, source.files, source.build).train.classes == ("cat", "dog")
    assert sorted(tmp_path.rglob("*")) == before


def test_replaced_source_file_is_decoded_again(source: Source, tmp_path: Path) -> None:
    cached(tmp_path / "cache", source.files, source.build)
    os.utime(source.files[1], ns=(0, 1))
    cached(tmp_path / "cache", source.files, source.build)
    source.files[0].write_bytes(b"longer than before")
    cached(tmp_path / "cache", source.files, source.build)
    assert source.builds == 3


def truncate(entry: Path) -> None:
    path = entry / "train-images.npy"
    path.write_bytes(path.read_bytes()[:-7])


def forget_a_file(entry: Path) -> None:
    (entry / "test-labels.npy").unlink()


def garble_facts(entry: Path) -> None:
    (entry / "dataset.json").write_text("{")


def other_labels(entry: Path) -> None:
    np.save(entry / "train-labels.npy", np.array([0, 1, 0, 1, 0, 77]))


def pickled(entry: Path) -> None:
    np.save(entry / "train-labels.npy", np.array([{}] * 6, dtype=object), allow_pickle=True)


@pytest.mark.parametrize("damage", [truncate, forget_a_file, garble_facts, other_labels, pickled])
def test_damaged_entry_is_made_anew(source: Source, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    cache = tmp_path / "cache"
    cached(cache, source.files, source.build)
    damage(entry_of(cache))
    for _ in range(2):
        assert torch.equal(cached(cache, source.files, source.build).train.images, source.build()[0].images)
    assert source.builds == 4  # two to fill the cache, two to compare with
    assert json.loads((entry_of(cache) / "dataset.json").read_text())["classes"] == ["cat", "dog"]


def test_racing_writers_leave_one_whole_entry(source: Source, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    barrier = threading.Barrier(4)

    def build_together() -> tuple[ImageSet, ImageSet]:
        built = source.build()
        barrier.wait(timeout=10)
        return built

    digests: list[str] = []
    threads = [
        threading.Thread(target=lambda: digests.append(cached(cache, source.files, build_together).digest))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert digests == [digest_of(*source.build())] * 4
    assert sorted(path.name for path in entry_of(cache).iterdir()) == [
        "dataset.json", "test-images.npy", "test-labels.npy", "train-images.npy", "train-labels.npy",
    ]  # fmt: skip


def test_cache_that_cannot_be_written_is_done_without(
    source: Source, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    with caplog.at_level(logging.WARNING):
        found = cached(tmp_path / "cache", source.files, source.build)
    assert torch.equal(found.train.images, source.build()[0].images)
    assert "cannot keep the decoded dataset" in caplog.text
