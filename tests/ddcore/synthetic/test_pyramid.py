"""Levels and how more of them come to be learned, against a plain loop after the released code."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ddcore.synthetic.pyramid import LearnedPyramid, Pyramid

MEAN, STD = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.25, 0.3])
SQRT = torch.tensor([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])


def colour_pyramid(side: int = 8) -> Pyramid:
    return Pyramid((3, side, side), MEAN, STD)


def plain_images(levels: list[Tensor], side: int) -> Tensor:
    """Pixel values, finest level first or not: the sum does not mind."""
    total = sum(F.interpolate(level, (side, side), mode="bilinear", antialias=False) for level in levels)
    assert isinstance(total, Tensor)
    flat = total.permute(0, 2, 3, 1).reshape(-1, 3) @ (SQRT / torch.linalg.norm(SQRT, dim=0).max()).T
    return torch.sigmoid(2 * flat.view(len(total), side, side, 3).permute(0, 3, 1, 2))


def rows(levels: list[Tensor]) -> Tensor:
    return torch.cat([level.flatten(1) for level in levels], dim=1)


def noise(sides: list[int], seed: int = 0) -> list[Tensor]:
    generator = Generator().manual_seed(seed)
    return [torch.randn(2, 3, side, side, generator=generator) for side in sides]


@pytest.mark.parametrize(
    ("shape", "sides"),
    [
        ((3, 8, 8), ((1, 1), (2, 2), (4, 4), (8, 8))),
        ((1, 28, 28), ((1, 1), (2, 2), (4, 4), (8, 8), (16, 16), (28, 28))),
        ((3, 4, 9), ((1, 1), (2, 2), (4, 4), (4, 8), (4, 9))),
        ((1, 1, 1), ((1, 1),)),
    ],
)
def test_levels_double_until_they_are_the_image(
    shape: tuple[int, int, int], sides: tuple[tuple[int, int], ...]
) -> None:
    pyramid = Pyramid(shape, torch.full(shape[:1], 0.5), torch.ones(shape[0]))
    assert pyramid.sides == sides
    assert sum(pyramid.sizes) == shape[0] * sum(height * width for height, width in sides)


@pytest.mark.parametrize("levels", [1, 2, 4])
def test_images_are_those_of_the_released_formula(levels: int) -> None:
    pyramid, parts = colour_pyramid(), noise([1, 2, 4, 8])
    pyramid.levels = levels
    expected = (plain_images(parts[:levels], 8) - MEAN.view(-1, 1, 1)) / STD.view(-1, 1, 1)
    torch.testing.assert_close(pyramid.decode(rows(parts), 1), expected, rtol=1e-5, atol=1e-5)


def test_grey_images_have_no_correlation_of_colours() -> None:
    pyramid = Pyramid((1, 2, 2), torch.zeros(1), torch.ones(1))
    pyramid.levels = 2
    row = torch.tensor([[0.5, 1.0, 2.0, 3.0, 4.0]])
    expected = torch.sigmoid(2 * (0.5 + torch.tensor([[1.0, 2.0], [3.0, 4.0]])))
    torch.testing.assert_close(pyramid.decode(row, 1), expected.view(1, 1, 2, 2))


def test_levels_that_have_not_come_yet_have_no_part_in_an_image() -> None:
    pyramid, row = colour_pyramid(), rows(noise([1, 2, 4, 8])).requires_grad_()
    pyramid.levels = 2
    pyramid.decode(row, 1).square().sum().backward()
    assert row.grad is not None
    assert bool((row.grad[:, :15] != 0).all())
    assert not bool(row.grad[:, 15:].any())


def test_images_come_back_from_the_rows_that_encode_them() -> None:
    pyramid = colour_pyramid()
    pyramid.levels = 4
    pixels = torch.rand(2, 3, 8, 8, generator=Generator().manual_seed(1)) * 0.9 + 0.05
    images = (pixels - MEAN.view(-1, 1, 1)) / STD.view(-1, 1, 1)
    stored = pyramid.encode(images, 1)
    assert stored.shape == (2, *pyramid.row_shape((3, 8, 8)))
    torch.testing.assert_close(pyramid.decode(stored, 1), images, rtol=1e-3, atol=1e-3)


def slope(step: int, images: Tensor) -> Tensor:
    return torch.cos(3 * images + step).sum()


def follow(learned: LearnedPyramid, pyramid: Pyramid, steps: range) -> None:
    for step in steps:
        learned.begin_step()
        learned.clear_gradient()
        slope(step, pyramid.decode(learned.value, 1)).backward()
        learned.step()


def test_steps_are_those_of_an_adam_that_begins_anew_with_every_level() -> None:
    """Eight steps with a new level after every second: the fourth level, the last, comes after the sixth."""
    parts, pyramid = noise([1, 2, 4, 8]), colour_pyramid()
    learned = LearnedPyramid(rows(parts), lr=0.05, pyramid=pyramid, grow_every=2)
    follow(learned, pyramid, range(9))

    levels: list[Tensor] = [parts[0].clone()]
    optimizer = None
    for step in range(9):
        if step and step % 2 == 0 and len(levels) < 4:
            count = len(levels)
            levels = [level.detach() * count / (count + 1) for level in levels] + [parts[count] / (count + 1)]
            optimizer = None
        levels = [level.requires_grad_() for level in levels]
        optimizer = optimizer or torch.optim.Adam(levels, lr=0.05)
        optimizer.zero_grad()
        images = (plain_images(levels, 8) - MEAN.view(-1, 1, 1)) / STD.view(-1, 1, 1)
        slope(step, images).backward()
        optimizer.step()
    assert pyramid.levels == 4
    torch.testing.assert_close(learned.value.detach(), rows([level.detach() for level in levels]), rtol=1e-4, atol=1e-4)


def test_no_level_comes_after_the_last_step() -> None:
    pyramid = colour_pyramid()
    learned = LearnedPyramid(rows(noise([1, 2, 4, 8])), lr=0.05, pyramid=pyramid, grow_every=2)
    follow(learned, pyramid, range(2))
    assert pyramid.levels == 1
    learned.begin_step()
    assert pyramid.levels == 2


def test_a_state_goes_on_as_if_nothing_had_happened() -> None:
    pyramid, other = colour_pyramid(), colour_pyramid()
    learned = LearnedPyramid(rows(noise([1, 2, 4, 8])), lr=0.05, pyramid=pyramid, grow_every=2)
    follow(learned, pyramid, range(3))
    kept = {name: tensor.clone() for name, tensor in learned.state().items()}
    follow(learned, pyramid, range(3, 6))
    again = LearnedPyramid(torch.zeros_like(learned.value), lr=0.05, pyramid=other, grow_every=2)
    again.load_state(kept)
    assert other.levels == 2
    follow(again, other, range(3, 6))
    assert torch.equal(again.value, learned.value)
    learned.restart(torch.ones_like(learned.value))
    assert pyramid.levels == 1
    assert not bool(learned.velocity.any())
