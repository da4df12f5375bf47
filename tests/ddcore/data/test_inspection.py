"""What is said of a dataset that makes scores doubtful."""

from __future__ import annotations

import pytest
import torch

from ddcore.data.dataset import ImageSet
from ddcore.data.inspection import inspected
from ddcore.errors import DataError

CLASSES = ("cat", "dog")


def split(values: list[int], labels: list[int]) -> ImageSet:
    images = torch.tensor(values, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).contiguous()
    return ImageSet(images, torch.tensor(labels), CLASSES)


def test_a_sound_set_is_not_remarked_on() -> None:
    train, test = inspected(split([1, 2, 3], [0, 1, 0]), split([4, 5], [0, 1]))
    assert train.remarks == test.remarks == ()


def test_leaks_contradictions_and_untested_classes_are_counted() -> None:
    train, _ = inspected(split([1, 2, 3, 3], [0, 1, 0, 1]), split([1, 2, 9], [0, 0, 0]))
    assert train.remarks == (
        "1 of 2 classes have no test image ('dog'), so no score speaks of them",
        "2 of 3 test images are training images too, which flatters every score",
        "2 images occur with more than one label",
    )


def test_a_set_of_equal_images_is_refused() -> None:
    with pytest.raises(DataError, match="all 3 training images are equal"):
        inspected(split([7, 7, 7], [0, 1, 0]), split([7, 8], [0, 1]))
