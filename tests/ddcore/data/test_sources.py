import logging
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from ddcore.data import load
from ddcore.data.dataset import Dataset
from ddcore.data.ingest import intake
from ddcore.data.sources import own
from ddcore.errors import DataError
from ddcore.spec import DATASETS
from ddcore.spec.ingest import IngestOptions


def test_digits_need_no_files_and_keep_their_fixed_split() -> None:
    dataset = load("digits")
    bunch = load_digits()
    assert (len(dataset.train), len(dataset.test)) == (1437, 360)
    assert torch.equal(dataset.train.labels, torch.from_numpy(bunch.target[:1437]))
    assert np.array_equal(np.rint(dataset.test.images[:, 0].numpy() / 255.0 * 16), bunch.images[1437:])
    assert dataset.train.images.max() == 255


def test_digest_of_digits_is_pinned() -> None:
    # Bundles refer to a dataset by this value: it must not change between versions.
    assert load("digits").digest == "56c2193b297587bb8312fe33103a7b1039577c11b090992ae120fc7dc0eb0d61"


def assert_facts(dataset: Any) -> None:
    facts = DATASETS[dataset.name]
    assert (dataset.shape, dataset.classes, dataset.flip) == (facts.shape, facts.classes, facts.flip)
    assert (len(dataset.train), min(dataset.class_counts)) == (facts.train_size, facts.smallest_class)


def test_facts_of_digits_are_true() -> None:
    assert_facts(load("digits"))


class Published:
    """The real datasets, each read from its files once; decoding and hashing all of one takes seconds."""

    def __init__(self, root: Path, cache: Path) -> None:
        self.root, self.cache = root, cache
        self._cold: dict[str, Dataset] = {}

    def cold(self, name: str) -> Dataset:
        """As the first load found it, which left it in the cache."""
        if name not in self._cold:
            self._cold[name] = load(name, self.root, self.cache)
        return self._cold[name]


@pytest.fixture(scope="module")
def published(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Published:
    return Published(data_root, tmp_path_factory.mktemp("published"))


@pytest.mark.data
@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_facts_of_real_datasets_are_true(published: Published, name: str) -> None:
    cold = published.cold(name)
    assert_facts(cold)
    assert len(cold.test) == 10_000
    mean = cold.train.images[::50].double().div(255).mean(dim=(0, 2, 3))
    assert mean.tolist() == pytest.approx(cold.mean, abs=0.02)
    warm = load(name, published.root, published.cache)
    assert warm.digest == cold.digest
    assert torch.equal(warm.train.images[::777], cold.train.images[::777])


def test_folder_in_the_data_root_is_a_dataset(toy: Any, tmp_path: Path) -> None:
    dataset = load("toy", toy.root, tmp_path / "cache")
    assert (dataset.name, dataset.shape, dataset.class_counts) == ("toy", (3, 6, 5), (3, 3))
    assert dataset.flip is False
    assert load("toy", toy.root).digest == dataset.digest


def test_class_names_of_a_known_dataset_are_used_where_files_give_none(toy: Any) -> None:
    toy.folder = toy.root / "mnist"
    for split in ("train", "test"):
        toy.write(split, toy.images(10, channels=1), list(range(10)))
    dataset = load("mnist", toy.root)
    assert dataset.classes == DATASETS["mnist"].classes
    assert dataset.mean != (0.1307,), "ten images are not MNIST"


@pytest.mark.parametrize("name", ["digits", "cifar10", "fashion_mnist"])
def test_a_folder_of_the_users_own_goes_before_a_built_in_name(toy: Any, name: str) -> None:
    toy.folder.rename(toy.root / name)
    dataset = load(name, toy.root)
    assert (dataset.shape, dataset.classes, dataset.class_counts) == ((3, 6, 5), ("cat", "dog"), (3, 3))
    assert dataset.flip is False
    assert any(f"`{name}` is a set of your own" in remark for remark in dataset.remarks)


@pytest.mark.data
@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_the_published_sets_keep_their_published_constants(name: str, published: Published) -> None:
    dataset, facts = published.cold(name), DATASETS[name]
    assert (dataset.mean, dataset.std, dataset.flip) == (facts.mean, facts.std, facts.flip)
    assert not any("not the published one" in remark for remark in dataset.remarks)


def test_a_copy_of_a_published_set_is_treated_as_that_set_under_any_name(tmp_path: Path) -> None:
    digits = load("digits")
    train, test = digits.train, digits.test
    np.savez(
        tmp_path / "mine.npz",
        train_images=train.images[:, 0].numpy(),
        train_labels=train.labels.numpy(),
        test_images=test.images[:, 0].numpy(),
        test_labels=test.labels.numpy(),
    )
    mine = load("mine", tmp_path)
    assert (mine.digest, mine.mean, mine.std, mine.flip) == (digits.digest, digits.mean, digits.std, digits.flip)


@pytest.mark.data
def test_so_is_a_copy_of_cifar10(published: Published, tmp_path: Path) -> None:
    (tmp_path / "mine").symlink_to(published.root / "cifar10")
    mine, theirs = load("mine", tmp_path, published.cache), published.cold("cifar10")
    assert (mine.mean, mine.std, mine.flip) == (theirs.mean, theirs.std, True)
    assert torch.equal(mine.train.images[::999], theirs.train.images[::999])


def test_remarks_come_out_of_the_cache_too(toy: Any, tmp_path: Path) -> None:
    toy.write("test", toy.images(4, seed=50), [0] * 4, classes=["cat", "dog"])
    first, again = (load("toy", toy.root, tmp_path / "cache") for _ in range(2))
    assert first.remarks == again.remarks
    assert first.remarks == ("1 of 2 classes have no test image ('dog'), so no score speaks of them",)


def test_unknown_name_says_where_it_looked_and_what_is_near(toy: Any) -> None:
    with pytest.raises(DataError) as caught:
        load("toyy", toy.root)
    message = str(caught.value)
    assert str(toy.root / "toyy") in message
    assert "folders with a folder of images for each class, parquet files, .npz arrays" in message
    assert message.startswith("no dataset 'toyy', did you mean 'toy'?")
    with pytest.raises(DataError, match=r"no dataset 'cifar_10', did you mean 'cifar10'\? Others: 'cifar100'"):
        load("cifar_10", toy.root)


def test_unknown_name_without_a_data_root() -> None:
    with pytest.raises(DataError, match=r"no dataset 'toy', and no data root .*built in: cifar10, cifar100, digits"):
        load("toy")


def test_absent_data_root_is_no_crash(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder"):
        load("toy", tmp_path / "absent")


def test_a_folder_that_nobody_can_read_lists_what_it_holds(toy: Any) -> None:
    (toy.root / "photos").mkdir()
    (toy.root / "photos" / "cat.jpg").touch()
    with pytest.raises(DataError, match=r"photos holds nothing that can be read as labelled images; present: cat\.jpg"):
        load("photos", toy.root)


def test_a_file_or_an_archive_in_the_data_root_is_a_dataset(toy: Any) -> None:
    (toy.folder / "train-00000-of-00001.parquet").rename(toy.root / "lone.parquet")
    assert load("lone", toy.root).class_counts == (2, 2)
    shutil.make_archive(str(toy.root / "packed"), "zip", toy.root, "toy")
    toy.write("train", toy.images(6), [0, 1] * 3, classes=["cat", "dog"])
    toy.write("test", toy.images(4, seed=50), [0, 1] * 2, classes=["cat", "dog"])
    shutil.make_archive(str(toy.root / "packed"), "gztar", toy.root, "toy")
    with pytest.raises(DataError, match=r"several files of the name packed \(packed\.tar\.gz, packed\.zip\); keep one"):
        load("packed", toy.root)
    (toy.root / "packed.zip").unlink()
    assert load("packed", toy.root).digest == load("toy", toy.root).digest


class TestCache:
    @pytest.fixture
    def cache(self, tmp_path: Path) -> Path:
        """One that no other test has filled."""
        return tmp_path / "cache"

    def entries(self, cache: Path) -> list[str]:
        return sorted(path.name for path in (cache / "datasets").iterdir())

    def test_a_set_is_taken_in_once_and_then_known_to_be_in_use(
        self, toy: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cold = load("toy", toy.root, cache)
        (entry,) = (cache / "datasets").iterdir()
        os.utime(entry, (0, 0))
        monkeypatch.setattr(intake, "take_in", never)
        warm = load("toy", toy.root, cache)
        assert torch.equal(cold.train.images, warm.train.images)
        assert (cold.digest, cold.remarks) == (warm.digest, warm.remarks)
        assert entry.stat().st_mtime > time.time() - 600
        assert entry.name == intake.set_id(cold.digest)

    def test_a_replaced_file_or_another_option_is_taken_in_anew(self, toy: Any, cache: Path) -> None:
        load("toy", toy.root, cache)
        toy.write("test", toy.images(4, seed=90), [0, 1] * 2, classes=["cat", "dog"])
        load("toy", toy.root, cache)
        assert len(self.entries(cache)) == 2
        assert own(toy.folder, "toy", IngestOptions(size=4), cache).train.shape == (3, 4, 4)
        assert len(self.entries(cache)) == 3

    def test_a_set_can_be_named_by_its_identity(self, toy: Any, cache: Path) -> None:
        named = load("toy", toy.root, cache)
        again = load(intake.set_id(named.digest), None, cache)
        assert (again.name, again.digest) == ("toy", named.digest)
        with pytest.raises(DataError, match=r"the set ds_0{20} is not here.*take it in again"):
            load("ds_" + 20 * "0", None, cache)

    def test_the_same_images_under_two_names_share_pixels_and_nothing_else(self, toy: Any, cache: Path) -> None:
        shutil.copytree(toy.folder, toy.root / "twin")
        for name in ("toy", "twin", "toy"):
            assert load(name, toy.root, cache).name == name
        joined = own(toy.folder, "toy", IngestOptions(size="keep", validation="join"), cache)
        assert own(toy.folder, "toy", IngestOptions(size="keep"), cache).report.options.validation == "auto"
        assert joined.report.options.validation == "join"
        assert len(self.entries(cache)) == 1

    def test_a_link_that_leads_nowhere_is_named(self, toy: Any, cache: Path) -> None:
        (toy.folder / "lost.parquet").symlink_to(toy.root / "nothing")
        with pytest.raises(DataError, match=r"lost\.parquet cannot be read \(No such file"):
            load("toy", toy.root, cache)

    def test_images_are_mapped_and_changing_them_changes_no_file(self, toy: Any, cache: Path) -> None:
        load("toy", toy.root, cache).train.images.zero_()
        images = load("toy", toy.root, cache).train.images
        assert images.any()
        assert str(cache / "datasets") in Path("/proc/self/maps").read_text()

    @pytest.mark.parametrize(
        "damage",
        [
            lambda entry: (entry / "train-images.npy").write_bytes((entry / "train-images.npy").read_bytes()[:-7]),
            lambda entry: (entry / "test-labels.npy").unlink(),
            lambda entry: (entry / "dataset.json").write_text("{"),
            lambda entry: np.save(entry / "train-labels.npy", np.array([0, 1, 0, 1, 0, 77])),
            lambda entry: np.save(entry / "train-labels.npy", np.array([{}] * 6, dtype=object), allow_pickle=True),
        ],
    )
    def test_a_damaged_entry_is_made_anew(self, toy: Any, cache: Path, damage: Any) -> None:
        whole = load("toy", toy.root, cache)
        expected = whole.train.images.clone()
        (entry,) = (cache / "datasets").iterdir()
        damage(entry)
        for _ in range(2):
            assert torch.equal(load("toy", toy.root, cache).train.images, expected)
        assert self.entries(cache) == [entry.name]

    def test_racing_processes_leave_one_whole_entry(self, toy: Any, cache: Path) -> None:
        digests: list[str] = []
        threads = [
            threading.Thread(target=lambda: digests.append(load("toy", toy.root, cache).digest)) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert digests == [load("toy", toy.root).digest] * 4
        assert self.entries(cache) == [intake.set_id(digests[0])]

    def test_a_cache_that_cannot_be_written_is_done_without(
        self, toy: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "no folder").write_text("a file where a folder should be")
        with caplog.at_level(logging.WARNING):
            assert len(load("toy", toy.root, tmp_path / "no folder").train) == 6
        assert "cannot keep the decoded dataset" in caplog.text

    def test_files_of_the_user_and_of_the_system_stay_as_they_are(self, toy: Any) -> None:
        before = sorted(toy.root.rglob("*"))
        load("toy", toy.root)
        assert sorted(toy.root.rglob("*")) == before


def never(*_: Any, **__: Any) -> None:
    raise AssertionError("nothing is taken in again")


@pytest.mark.parametrize("name", ["../toy", "/etc", "a/b", "..", "", ".hidden", "a\0b", "-x"])
def test_names_cannot_leave_the_data_root(toy: Any, name: str) -> None:
    with pytest.raises(DataError, match="cannot name a dataset"):
        load(name, toy.root / "toy")
