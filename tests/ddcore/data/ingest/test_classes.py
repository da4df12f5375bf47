from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from ddcore.data.ingest.classes import agree
from ddcore.data.source import Labels, Part
from ddcore.errors import DataError


def part(name: str, numbers: Sequence[int], names: Sequence[str] | None = None, *, declared: bool = True) -> Part:
    labels = Labels(np.array(numbers, dtype=np.int64), None if names is None else tuple(names), declared)
    return Part("train", name, labels, lambda: iter(()), lambda row: f"{name} row {row}")


def test_files_that_list_classes_in_other_orders_agree_by_name() -> None:
    found = agree([part("a", [0, 1, 2], "xyz"), part("b", [0, 1], "zx")], [part("t", [0, 1, 2], "zyx")])
    assert found.classes == ("x", "y", "z")
    assert [numbers.tolist() for numbers in found.numbers] == [[0, 1, 2], [2, 0], [2, 1, 0]]


def test_a_shard_may_list_only_its_own_classes() -> None:
    found = agree([part("a", [0, 1], "xy"), part("b", [0, 1], "yz")], [])
    assert found.classes == ("x", "y", "z")
    assert found.numbers[1].tolist() == [1, 2]


def test_names_that_merely_occur_are_sorted_over_all_files() -> None:
    found = agree([part("a", [0, 1], "ym", declared=False), part("b", [0], "b", declared=False)], [])
    assert found.classes == ("b", "m", "y")
    assert [numbers.tolist() for numbers in found.numbers] == [[2, 1], [0]]


def test_a_test_split_may_lack_a_class_and_may_list_one_that_it_does_not_use() -> None:
    found = agree([part("a", [0, 1], "xy")], [part("t", [1, 1], "wx"), part("u", [0], "y")])
    assert [numbers.tolist() for numbers in found.numbers[1:]] == [[0, 0], [1]]


def test_unlabelled_images_stay_unlabelled() -> None:
    found = agree([part("a", [0, -1, 1], "xy")], [part("t", [-1, -1])])
    assert [numbers.tolist() for numbers in found.numbers] == [[0, -1, 1], [-1, -1]]


def test_numbers_count_classes_or_name_them() -> None:
    assert agree([part("a", [0, 1, 2, 0])], []).classes == ("0", "1", "2")
    found = agree([part("a", [10, 2, 2, 7])], [part("t", [7, 10])], known=("x", "y", "z"))
    assert found.classes == ("2", "7", "10")
    assert [numbers.tolist() for numbers in found.numbers] == [[2, 0, 0, 1], [1, 2]]
    assert found.remarks == ("labels are 2, 7, 10; they are taken for the names of 3 classes",)
    assert agree([part("a", [0, 1, 2])], [], known=("x", "y", "z")).classes == ("x", "y", "z")


@pytest.mark.parametrize(
    ("train", "others", "message"),
    [
        ([part("a", [0, 1], "xy")], [part("t", [0, 1], "xw")], r"t has other classes \(x, w\) than a \(x, y\)"),
        ([part("a", [0, 1], "xy")], [part("t", [0, 1])], r"t numbers its classes without naming them, but a names"),
        ([part("a", [0, 1], "xy")], [part("t", [0, 2], "xy")], r"t row 1: label 2 is outside 0 to 1 \(2 classes\)"),
        ([part("a", [0, 1], "xx")], [], r"a gives two classes the name 'x'"),
        ([part("a", [0, 1])], [part("t", [0, 5, 5])], r"t row 1: label 5 is none of the 2 classes .*; 2 such rows"),
        ([part("a", [1, 1], "xy")], [], r"all 2 training images are of class 'y'; at least 2"),
        ([part("a", [0, 2], "xyz")], [], r"1 of 3 classes have .*: 1 \('y'\); .*--drop-empty-classes"),
        ([part("a", [-1, -1], "xy")], [], "no training image has a label"),
        ([part("a", list(range(30)))], [], r"each of 30 training images has a label of its own"),
    ],
)
def test_contradictions_are_refused(train: list[Part], others: list[Part], message: str) -> None:
    with pytest.raises(DataError, match=message):
        agree(train, others)


def test_listed_classes_that_no_image_has_are_left_out_by_choice() -> None:
    listed = part("a", [0, 2, -1, 2], "xyz"), part("t", [2, 0], "xyz")
    found = agree(listed[:1], listed[1:], drop_empty=True)
    assert found.classes == ("x", "z")
    assert [numbers.tolist() for numbers in found.numbers] == [[0, 1, -1, 1], [1, 0]]
    assert found.remarks == ("1 of 3 classes have no image and were left out (y)",)
    with pytest.raises(DataError, match=r"1 of 3 classes have no training image: 1 \('y'\)"):
        agree(listed[:1], [part("t", [1], "xyz")], drop_empty=True)
