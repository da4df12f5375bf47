"""Parts of a batch of images: where they lie, and what becomes of them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Generator

from ddcore.augment.resized_crop import ResizedCrop, ResizedCrops

SHAPE = (1, 12, 16)


def drawn(count: int, smallest: float = 0.08, shift: int = 4, *, flip: bool = True) -> list[ResizedCrop]:
    generator = Generator().manual_seed(0)
    return [ResizedCrop.draw(SHAPE, smallest, shift, generator, flip=flip) for _ in range(count)]


def test_parts_lie_within_the_image_and_have_the_area_and_the_proportions_asked_for() -> None:
    for crop in drawn(500):
        assert 0 <= crop.top <= crop.top + crop.height <= 12
        assert 0 <= crop.left <= crop.left + crop.width <= 16
        # Sides are rounded to pixels.
        assert (crop.height + 0.5) * (crop.width + 0.5) >= 0.08 * 192
        assert (crop.width - 0.5) / (crop.height + 0.5) <= 4 / 3
        assert (crop.width + 0.5) / (crop.height - 0.5) >= 3 / 4


def test_mirrors_rolls_and_places_take_every_value() -> None:
    crops = drawn(500)
    assert {crop.mirrored for crop in crops} == {False, True}
    assert {crop.down for crop in crops} == {crop.right for crop in crops} == set(range(5))
    assert not any(crop.mirrored for crop in drawn(50, flip=False))
    assert {(crop.down, crop.right) for crop in drawn(50, shift=0)} == {(0, 0)}


def test_an_image_of_other_proportions_gives_its_middle() -> None:
    """No part of a stripe has as large an area at these proportions."""
    crop = ResizedCrop.draw((1, 4, 64), 1.0, 0, Generator().manual_seed(0), flip=False)
    assert (crop.top, crop.left, crop.height, crop.width) == (0, 29, 4, 5)


def test_the_part_is_enlarged_mirrored_and_rolled() -> None:
    images = torch.sin(torch.arange(2 * 192, dtype=torch.float64)).view(2, *SHAPE)
    seen = ResizedCrop(2, 3, 5, 8, mirrored=True, down=1, right=2)(images)
    part = F.interpolate(images[:, :, 2:7, 3:11], (12, 16), mode="bilinear", align_corners=False)
    for row in range(12):
        for column in range(16):
            # Rolled by two, mirrored before.
            torch.testing.assert_close(seen[:, :, row, column], part[:, :, (row - 1) % 12, 15 - (column - 2) % 16])


@pytest.mark.parametrize("mirrored", [False, True])
def test_it_is_differentiable(mirrored: bool) -> None:
    images = torch.rand(2, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ResizedCrop(0, 1, 3, 2, mirrored=mirrored, down=1, right=0), images)


def each(count: int, smallest: float = 0.08, *, flip: bool = True) -> ResizedCrops:
    return ResizedCrops.draw(count, SHAPE, smallest, Generator().manual_seed(0), flip=flip)


def test_every_image_has_a_part_of_its_own_that_is_as_those_of_batches_are() -> None:
    crops = each(500)
    assert len(crops) == 500
    assert bool(((crops.top >= 0) & (crops.top + crops.height <= 12)).all())
    assert bool(((crops.left >= 0) & (crops.left + crops.width <= 16)).all())
    assert bool(((crops.height + 0.5) * (crops.width + 0.5) >= 0.08 * 192).all())
    assert bool(((crops.width - 0.5) / (crops.height + 0.5) <= 4 / 3).all())
    assert bool(((crops.width + 0.5) / (crops.height - 0.5) >= 3 / 4).all())
    assert set(crops.mirrored.tolist()) == {False, True}
    assert len(set(zip(crops.top.tolist(), crops.left.tolist(), strict=True))) > 50
    assert not bool(each(50, flip=False).mirrored.any())


def test_areas_of_both_kinds_are_spread_alike() -> None:
    """Means of 500 areas of up to 192 pixels, whose deviation is about 50."""
    areas = torch.tensor([float(crop.height * crop.width) for crop in drawn(500)])
    own = each(500)
    assert abs(float((own.height * own.width).double().mean() - areas.mean())) < 4 * 50 * (2 / 500) ** 0.5


def test_a_stripe_gives_its_middle_to_every_image() -> None:
    crops = ResizedCrops.draw(3, (1, 4, 64), 1.0, Generator().manual_seed(0), flip=False)
    assert [crops.top.tolist(), crops.left.tolist()] == [[0, 0, 0], [29, 29, 29]]
    assert [crops.height.tolist(), crops.width.tolist()] == [[4, 4, 4], [5, 5, 5]]


def test_each_part_is_what_an_interpolation_makes_of_it() -> None:
    images = torch.sin(torch.arange(20 * 192, dtype=torch.float64)).view(20, *SHAPE)
    crops = each(20)
    seen = crops(images)
    for number, image in enumerate(images):
        top, left = int(crops.top[number]), int(crops.left[number])
        part = image[None, :, top : top + int(crops.height[number]), left : left + int(crops.width[number])]
        expected = F.interpolate(part, (12, 16), mode="bilinear", align_corners=False)[0]
        expected = expected.flip(2) if bool(crops.mirrored[number]) else expected
        torch.testing.assert_close(seen[number], expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(crops[5:9](images[5:9]), seen[5:9])


def test_parts_of_each_image_are_differentiable() -> None:
    images = torch.rand(2, 1, 12, 16, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(each(2), images)
