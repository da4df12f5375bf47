from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ddcore.data.dataset import ImageSet
from ddcore.data.ingest.examination import check_differ, duplicates, keys_of, leaks, remarks
from ddcore.errors import DataError
from ddcore.spec.ingest import Duplicates

CLASSES = ("cat", "dog")


def photograph(seed: int) -> Any:
    """A smooth picture (32, 32, 3), as photographs are."""
    rough = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(rough).resize((32, 32), Image.Resampling.BICUBIC))


def compressed(pixels: Any, quality: int) -> Any:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def split(pictures: Sequence[Any], labels: Sequence[int]) -> ImageSet:
    images = torch.from_numpy(np.stack(pictures).transpose(0, 3, 1, 2).copy())
    return ImageSet(images, torch.tensor(labels), CLASSES)


def found(train: ImageSet, test: ImageSet) -> Duplicates:
    keys = keys_of(train.images), keys_of(test.images)
    return duplicates(train, test, keys, lambda number: f"image {number}")


def test_each_kind_of_repetition_is_counted() -> None:
    a, b, c, d, e = map(photograph, range(5))
    train = split([a, a, b, c, c, d], [0, 0, 1, 0, 1, 1])
    test = split([a, e, d], [0, 0, 0])
    counted = found(train, test)
    assert counted.within_classes == 1, "a twice"
    assert counted.contradictory == 2, "c in both classes, d in one and tested as the other"
    assert counted.leaked == 2, "a and d"
    assert leaks(keys_of(train.images), keys_of(test.images)).tolist() == [True, False, True]
    said = remarks(train, test, counted)
    assert said[0].startswith("1 of 2 classes have no test image ('dog')")
    assert said[1:] == [
        "2 of 3 test images are training images too, which flatters every score",
        "2 images occur with more than one label",
    ]


def test_a_second_compression_is_a_near_copy_and_another_picture_is_not() -> None:
    pictures = [photograph(seed) for seed in range(40)]
    train = split(pictures, [0, 1] * 20)
    test = split([compressed(pictures[3], 85), compressed(pictures[4], 85), photograph(99)], [1, 0, 0])
    counted = found(train, test)
    assert (counted.near_leaked, counted.leaked) == (2, 0)
    assert sorted(counted.examples) == [("image 3", "image 40"), ("image 4", "image 41")]
    doubled = split([*pictures[:4], compressed(pictures[0], 85), compressed(pictures[1], 85)], [0, 1, 0, 1, 0, 0])
    counted = found(doubled, test)
    assert (counted.near_within_classes, counted.near_contradictory) == (1, 1)


def test_plain_images_that_agree_in_their_rough_hash_are_no_near_copies() -> None:
    blank = torch.zeros(60, 1, 8, 8, dtype=torch.uint8)
    blank[torch.arange(60), 0, torch.arange(60) // 8, torch.arange(60) % 8] = 255
    train = ImageSet(blank, torch.arange(60) % 2, CLASSES)
    counted = found(train, ImageSet(blank[:1], torch.tensor([0]), CLASSES))
    assert (counted.near_within_classes, counted.near_contradictory, counted.leaked) == (0, 0, 1)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 4, 4), (1, 64, 8)])
def test_images_of_any_size_are_hashed(shape: tuple[int, int, int]) -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, *shape), dtype=np.uint8))
    keys = keys_of(torch.cat([images, images]))
    assert np.array_equal(keys.exact[:5], keys.exact[5:])
    assert np.array_equal(keys.rough[:5], keys.rough[5:])


def test_images_that_are_all_equal_are_refused() -> None:
    train = split([photograph(1)] * 4, [0, 1, 0, 1])
    with pytest.raises(DataError, match="all 4 training images are equal, pixel by pixel"):
        check_differ(train, keys_of(train.images))
