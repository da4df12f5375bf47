from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from ddcore.data import load
from ddcore.errors import DataError
from ddcore.spec import DATASETS


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


@pytest.mark.data
@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_facts_of_real_datasets_are_true(data_root: Path, tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    cache = tmp_path_factory.mktemp("cache")
    cold = load(name, data_root, cache)
    assert_facts(cold)
    assert len(cold.test) == 10_000
    mean = cold.train.images[::50].double().div(255).mean(dim=(0, 2, 3))
    assert mean.tolist() == pytest.approx(cold.mean, abs=0.02)
    warm = load(name, data_root, cache)
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
def test_the_published_sets_keep_their_published_constants(name: str, data_root: Path, cache: Path) -> None:
    dataset, facts = load(name, data_root, cache), DATASETS[name]
    assert (dataset.mean, dataset.std, dataset.flip) == (facts.mean, facts.std, facts.flip)
    assert not any("not the published one" in remark for remark in dataset.remarks)


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
    assert "train-*.parquet and test-*.parquet" in message
    assert message.endswith("Did you mean 'toy'?")
    with pytest.raises(DataError, match=r"Did you mean 'cifar10'\?$"):
        load("cifar_10", toy.root)


def test_unknown_name_without_a_data_root() -> None:
    with pytest.raises(DataError, match=r"no dataset 'toy', and no data root .*built in: cifar10, cifar100, digits"):
        load("toy")


def test_absent_data_root_is_no_crash(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder"):
        load("toy", tmp_path / "absent")


def test_folder_without_parquet_lists_what_it_holds(toy: Any) -> None:
    (toy.root / "photos").mkdir()
    (toy.root / "photos" / "cat.jpg").touch()
    with pytest.raises(DataError, match=r"photos holds no train-\*\.parquet, .*present: cat\.jpg"):
        load("photos", toy.root)


@pytest.mark.parametrize("name", ["../toy", "/etc", "a/b", "..", "", ".hidden", "a\0b", "-x"])
def test_names_cannot_leave_the_data_root(toy: Any, name: str) -> None:
    with pytest.raises(DataError, match="cannot name a dataset"):
        load(name, toy.root / "toy")
