from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from ddcore.augment.dc import per_image
from ddcore.augment.dc_bench import eight_bit
from ddcore.augment.resized_crop import ResizedCrops
from ddcore.augment.siamese import Draw, apply, draw, draw_stacked
from ddcore.augment.training import augmenter_of, resized_crop, siamese, stacked, strategy_of
from ddcore.data.dataset import Dataset, ImageSet, describe
from ddcore.spec import AUGMENTATIONS, EvaluationConfig

IMAGES = torch.randn(5, 3, 8, 8, generator=Generator().manual_seed(0))


@pytest.fixture
def dataset() -> Dataset:
    split = ImageSet(torch.arange(2 * 3 * 64, dtype=torch.uint8).view(2, 3, 8, 8), torch.arange(2), ("a", "b"))
    return describe("two", split, split)


@pytest.mark.parametrize(("augmenter", "drawing"), [(siamese, draw), (stacked, draw_stacked)])
def test_parameters_are_drawn_for_every_image(augmenter: Callable[..., Tensor], drawing: Callable[..., Draw]) -> None:
    strategy = ("color", "crop", "flip", "scale")
    for seed in range(8):
        found = augmenter(IMAGES, strategy, Generator().manual_seed(seed))
        drawn = drawing(strategy, 5, (3, 8, 8), Generator().manual_seed(seed))
        assert torch.equal(found, apply(drawn, IMAGES))


def test_a_name_stands_for_its_function(dataset: Dataset) -> None:
    named = {
        name: augmenter_of(EvaluationConfig(augmenter=name, augmentation="crop"), dataset)
        for name in ("siamese", "stacked", "per_image", "resized_crop", "eight_bit")
    }
    eight = named.pop("eight_bit")
    assert named == {"siamese": siamese, "stacked": stacked, "per_image": per_image, "resized_crop": resized_crop}
    found, expected = eight(IMAGES, ("crop",), Generator()), eight_bit(dataset, IMAGES, ("crop",), Generator())
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("fields", "job", "flip", "expected"),
    [
        ({}, "crop_flip", True, ("crop", "flip")),
        ({}, "auto", True, AUGMENTATIONS),
        ({}, "none", True, ()),
        ({"augmentation": "auto"}, "none", False, ("color", "crop", "cutout", "scale", "rotate")),
        ({"augmentation": "none"}, "auto", True, ()),
        ({"cutmix": 0.5}, "auto", False, ("color", "crop", "scale", "rotate")),
        ({"cutmix": 0.5}, "crop_cutout", True, ("crop",)),
        ({"cutmix": 0.5, "augmentation": "crop_cutout"}, "auto", True, ("crop", "cutout")),
        ({"protocol": "linear_probe"}, "none", True, ("crop", "flip")),
        ({"protocol": "linear_probe"}, "none", False, ("crop",)),
        ({"protocol": "linear_probe", "augmentation": "flip"}, "auto", True, ("flip",)),
        ({"protocol": "linear_probe", "augmentation": "none"}, "auto", True, ()),
        ({"protocol": "dc_mnist"}, "auto", False, ("crop", "scale", "rotate")),
        ({"protocol": "dc_bench_crop_flip"}, "auto", False, ("crop", "flip", "cutout")),
        ({"protocol": "dc_mnist", "augmentation": "none"}, "auto", True, ()),
    ],
)
def test_operations_are_those_of_the_evaluation_or_else_of_the_job(
    fields: dict[str, Any], job: str, flip: bool, expected: tuple[str, ...]
) -> None:
    assert strategy_of(EvaluationConfig(**fields), job, flip) == expected


def test_resized_crops_and_mirrors_come_alone_or_together() -> None:
    def augmented(*operations: str) -> Tensor:
        return resized_crop(IMAGES, operations, Generator().manual_seed(0))

    crops = ResizedCrops.draw(5, (3, 8, 8), 0.08, Generator().manual_seed(0), flip=True)
    assert set(crops.mirrored.tolist()) == {False, True}
    assert torch.equal(augmented("crop", "flip"), crops(IMAGES))
    plain = ResizedCrops.draw(5, (3, 8, 8), 0.08, Generator().manual_seed(0), flip=False)
    assert torch.equal(augmented("crop"), plain(IMAGES))
    mirrored = [image.flip(2) if each else image for image, each in zip(IMAGES, crops.mirrored, strict=True)]
    assert torch.equal(augmented("flip"), torch.stack(mirrored))
    assert augmented() is IMAGES
