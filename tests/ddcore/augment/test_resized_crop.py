"""Parts of a batch of images: where they lie, and what becomes of them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Generator

from ddcore.augment.resized_crop import ResizedCrop

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
