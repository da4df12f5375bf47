from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ddcore.data.source import Labels, Part, split_named
from ddcore.errors import DataError


@pytest.mark.parametrize(
    ("values", "numbers", "names"),
    [
        (["b", "a", "b"], [1, 0, 1], ("a", "b")),
        (["b", None, ""], [0, -1, -1], ("b",)),
        (["b", float("nan")], [0, -1], ("b",)),
        ([True, False], [1, 0], ("false", "true")),
        ([3, None, 7], [3, -1, 7], None),
        ([3.0, float("nan")], [3, -1], None),
        (np.array([[3], [4]], dtype=np.uint8), [3, 4], None),
        (np.array(["b", "a"]), [1, 0], ("a", "b")),
        (np.array([2**40, 0], dtype=np.uint64), [2**40, 0], None),
        ([True, None], [1, -1], None),
    ],
)
def test_labels_as_people_store_them(values: Any, numbers: list[int], names: tuple[str, ...] | None) -> None:
    labels = Labels.of(values, "label")
    assert (labels.numbers.tolist(), labels.names, labels.declared) == (numbers, names, False)
    assert labels.numbers.dtype == np.int64


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((3, 14)), r"holds 14 values for each image .* several classes at once"),
        ([[1, 0], [1]], "lists of different lengths"),
        ([0.5, 1.0], r"holds 0\.5 \(row 0\), a measured quantity"),
        ([1.0, float("inf")], r"holds inf \(row 1\)"),
        ([1e300], r"holds 1e\+300 \(row 0\)"),
        (["a", 1], "holds numbers and 'a'"),
        ([b"a", b"b"], "holds numbers and b'a'"),
        ([{"a": 1}], "holds numbers and"),
        (np.array([2**63], dtype=np.uint64), "holds 9223372036854775808, which is too large for a label"),
        (np.array([1j]), "values of type complex128"),
    ],
)
def test_values_that_name_no_class_are_refused(values: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Labels.of(values, "label")


def test_a_part_of_an_array_gives_its_images_in_batches_each_time() -> None:
    images = np.arange(1100 * 4, dtype=np.uint16).reshape(1100, 2, 2)
    part = Part.of_array("train", "pixels", images, Labels(np.zeros(1100, dtype=np.int64)))
    for _ in range(2):
        batches = list(part.images())
        assert [len(batch) for batch in batches] == [1024, 76]
        assert np.array_equal(np.concatenate([np.stack(batch) for batch in batches]), images)  # type: ignore[arg-type]
    assert (len(part), part.place(7)) == (1100, "pixels[7]")


def test_splits_are_known_by_the_names_that_people_give_them() -> None:
    names = {name: split_named(name) for name in ("TRAIN", "training", "Valid", "val", "dev", "testing", "cats", "")}
    assert list(names.values()) == ["train", "train", "validation", "validation", "validation", "test", None, None]
