from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddcore.data.ingest.splits import cut, divide
from ddcore.data.source import Labels, Part
from ddcore.errors import DataError
from ddcore.spec.ingest import IngestOptions

NAMES = tuple("abcdef")


def part(split: str | None, count: int = 4, number: int = 0) -> Part:
    labels = Labels(np.full(count, number, dtype=np.int64))
    return Part(split, f"{split} part", labels, lambda: iter(()), str)


@pytest.mark.parametrize(
    ("splits", "options", "train", "test", "remark"),
    [
        (["train", "test"], {}, ["train"], ["test"], None),
        ([None], {}, [None], [], None),
        (["train"], {}, ["train"], [], None),
        (
            ["train", "validation"],
            {},
            ["train"],
            ["validation"],
            "there is no test split, so 4 validation images score",
        ),
        (["train", "validation", "test"], {}, ["train"], ["test"], "4 validation images were left out"),
        (
            ["train", "validation"],
            {"validation": "join"},
            ["train", "validation"],
            [],
            "4 validation images were joined",
        ),
        (["train", "validation"], {"validation": "drop"}, ["train"], [], "4 validation images were left out"),
    ],
)
def test_given_splits_are_kept(
    splits: list[str | None], options: Mapping[str, Any], train: list[str | None], test: list[str | None],
    remark: str | None,
) -> None:  # fmt: skip
    division = divide([part(split) for split in splits], IngestOptions(**options))
    assert [found.split for found in division.train] == train
    assert [found.split for found in division.test] == test
    assert division.is_cut == (not test)
    assert any((remark or "") in said for said in division.remarks) == (remark is not None)


def test_a_test_split_without_labels_is_left_out_by_choice() -> None:
    parts = [part("train"), part("test", number=-1)]
    assert not divide(parts, IngestOptions()).is_cut
    division = divide(parts, IngestOptions(drop_unlabelled=True))
    assert division.is_cut
    assert division.remarks == ("none of the 4 test images has a label, so they were left out",)


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (["test"], "there are only test images and none to learn from; call the split to learn from `train`"),
        (["test", "validation"], "there are only test and validation images"),
        (["train", None], "None part is named after no split, but train part is"),
    ],
)
def test_splits_that_cannot_be_told_are_refused(splits: list[str | None], message: str) -> None:
    with pytest.raises(DataError, match=message):
        divide([part(split) for split in splits], IngestOptions())


@given(
    counts=st.lists(st.integers(2, 40), min_size=2, max_size=6),
    share=st.floats(0.05, 0.9),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_cut_takes_from_and_leaves_to_every_class(counts: list[int], share: float, seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    options = IngestOptions(test_split=share, seed=seed)
    chosen, _ = cut(labels, NAMES, None, options)
    again, _ = cut(labels, NAMES, None, options)
    assert np.array_equal(chosen, again)
    tested = np.bincount(labels[chosen], minlength=len(counts))
    for count, own in zip(counts, tested.tolist(), strict=True):
        assert 1 <= own <= count - 1
        assert own in (1, count - 1) or abs(own - share * count) <= 0.5


def test_a_cut_takes_the_same_share_of_each_class_and_says_so() -> None:
    labels = np.repeat(np.arange(3), [100, 50, 10])
    chosen, sentence = cut(labels, NAMES, None, IngestOptions(test_split=0.2, seed=3))
    assert np.bincount(labels[chosen]).tolist() == [20, 10, 2]
    assert sentence.endswith("so 32 of 160 images were set aside for scoring (test_split 0.2, seed 3)")
    other, _ = cut(labels, NAMES, None, IngestOptions(test_split=0.2, seed=4))
    assert not np.array_equal(chosen, other)


def test_a_class_that_joins_leaves_the_cut_of_the_others_alone() -> None:
    options = IngestOptions(test_split=0.2, seed=3)
    before, _ = cut(np.repeat(np.arange(2), [100, 50]), ("cat", "owl"), None, options)
    now, _ = cut(np.repeat(np.arange(3), [100, 70, 50]), ("cat", "dog", "owl"), None, options)
    assert np.array_equal(now[:100], before[:100])
    assert np.array_equal(now[170:], before[100:])
    assert not np.array_equal(now[:50], now[170:])


def test_groups_are_not_parted() -> None:
    rng = np.random.default_rng(0)
    groups = [f"patient {number}" for number in rng.integers(0, 30, 300)]
    labels = rng.integers(0, 2, 300)
    chosen, sentence = cut(labels, NAMES, groups, IngestOptions(test_split=0.2))
    tested = {group for group, is_test in zip(groups, chosen, strict=True) if is_test}
    learned = {group for group, is_test in zip(groups, chosen, strict=True) if not is_test}
    assert not tested & learned
    assert 0.1 < chosen.mean() < 0.3
    assert "no group in both" in sentence


def test_too_little_to_cut_is_refused() -> None:
    with pytest.raises(DataError, match=r"a class has a single image.*\(1 such classes\)"):
        cut(np.array([0, 0, 1]), NAMES, None, IngestOptions())
    with pytest.raises(DataError, match=r"there are 2 groups, too few to set a share of 0.2 aside"):
        cut(np.array([0, 0, 1, 1]), NAMES, ["a", "a", "b", "b"], IngestOptions())
