"""DC's augmentation against the published loop, one image at a time."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Generator, Tensor

from ddcore.augment import dc as module
from ddcore.augment.dc import per_image

SHAPES = [(1, 28, 28), (3, 8, 10), (3, 11, 7)]


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def batch(shape: tuple[int, int, int], n: int = 12) -> Tensor:
    return torch.randn(n, *shape, generator=generator(3)) + torch.arange(shape[0]).view(-1, 1, 1)


def cropped(image: Tensor, mean: list[float], row: int, column: int) -> Tensor:
    channels, height, width = image.shape
    padded = torch.zeros(channels, height + 8, width + 8)
    for channel in range(channels):
        padded[channel] = mean[channel]
    padded[:, 4 : 4 + height, 4 : 4 + width] = image
    return padded[:, row : row + height, column : column + width]


def scaled(image: Tensor, h: int, w: int) -> Tensor:
    channels, height, width = image.shape
    stretched = F.interpolate(image.unsqueeze(0), [h, w])[0]
    side = max(h, w, height, width)
    canvas = torch.zeros(channels, side, side)
    top, left = int((side - h) / 2), int((side - w) / 2)
    canvas[:, top : top + h, left : left + w] = stretched
    top, left = int((side - height) / 2), int((side - width) / 2)
    return canvas[:, top : top + height, left : left + width]


def rotated(image: Tensor, angle: int, mean: list[float]) -> Tensor:
    height, width = image.shape[-2:]
    turned = ndimage.rotate(image.numpy(), angle=angle, axes=(-2, -1), cval=np.mean(mean))
    top, left = int((turned.shape[-2] - height) / 2), int((turned.shape[-1] - width) / 2)
    return torch.tensor(turned[:, top : top + height, left : left + width])


def means(images: Tensor) -> list[float]:
    return [float(images[:, channel].mean()) for channel in range(images.shape[1])]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_crop_equals_the_published_one(shape: tuple[int, int, int]) -> None:
    images, source = batch(shape), generator(5)
    rows, columns = (torch.randint(8, (len(images), 1), generator=source).flatten().tolist() for _ in range(2))
    expected = [cropped(image, means(images), r, c) for image, r, c in zip(images, rows, columns, strict=True)]
    found = module.crop(images, images.mean(dim=(0, 2, 3)), generator(5))
    torch.testing.assert_close(found, torch.stack(expected))
    assert 0 <= min(rows) < max(rows) <= 7


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_scale_equals_the_published_one(shape: tuple[int, int, int]) -> None:
    images, source = batch(shape, 40), generator(5)
    factors = 0.8 + 0.4 * torch.rand(2, 40, dtype=torch.float64, generator=source)
    sizes = [[int(factor * side) for factor in each.tolist()] for each, side in zip(factors, shape[1:], strict=True)]
    expected = [scaled(image, h, w) for image, h, w in zip(images, *sizes, strict=True)]
    found = module.scale(images, images.mean(dim=(0, 2, 3)), generator(5))
    assert torch.equal(found, torch.stack(expected))
    assert min(sizes[0]) < shape[1] < max(sizes[0])


@pytest.mark.parametrize("side", [8, 28, 32, 64])
def test_every_size_picks_the_pixels_of_the_framework(side: int) -> None:
    line = torch.arange(side, dtype=torch.float32).view(1, 1, 1, side)
    for size in range(math.floor(0.8 * side), math.floor(1.2 * side) + 1):
        expected = F.interpolate(line, [1, size]).flatten()
        canvas = torch.tensor([max(size, side)])
        source, inside = module._stretched(side, torch.tensor([size]), canvas)
        left = max(0, (int(canvas) - size) // 2 - (int(canvas) - side) // 2)
        skipped = max(0, (int(canvas) - side) // 2 - (int(canvas) - size) // 2)
        visible = inside[0].nonzero().flatten()
        assert visible.tolist() == list(range(left, left + min(side, size)))
        assert source[0][visible].tolist() == expected[skipped : skipped + len(visible)].long().tolist()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_rotate_equals_the_published_one(shape: tuple[int, int, int]) -> None:
    images = batch(shape)
    degrees = torch.randint(-45, 45, (len(images),), generator=generator(5)).tolist()
    expected = [rotated(image, angle, means(images)) for image, angle in zip(images, degrees, strict=True)]
    found = module.rotate(images, images.mean(dim=(0, 2, 3)), generator(5))
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-5, atol=1e-5)
    assert min(degrees) < 0 < max(degrees)


def test_noise_has_the_published_deviation() -> None:
    images = batch((3, 28, 28), 64)
    added = module.noise(images, images.mean(dim=(0, 2, 3)), generator(5)).double() - images.double()
    assert float(added.std()) == pytest.approx(1e-3, rel=0.02)
    assert abs(float(added.mean())) < 1e-4


def test_each_image_undergoes_one_operation_with_the_means_of_the_whole_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images, seen = batch((3, 8, 8), 400), {}

    def marking(name: str, value: float) -> Callable[[Tensor, Tensor, Generator], Tensor]:
        def mark(part: Tensor, mean: Tensor, source: Generator) -> Tensor:
            seen[name] = (len(part), mean)
            return part * 0 + value

        return mark

    for value, name in enumerate(("crop", "scale", "noise")):
        monkeypatch.setitem(module._OPERATIONS, name, marking(name, float(value)))
    augmented = per_image(images, ("crop", "scale", "noise"), generator())
    assert [len(augmented[i].unique()) for i in range(400)] == [1] * 400
    counts = augmented[:, 0, 0, 0].long().bincount(minlength=3).tolist()
    assert counts == [seen[name][0] for name in ("crop", "scale", "noise")]
    assert all(abs(count - 400 / 3) < 5 * (400 * 2 / 9) ** 0.5 for count in counts)
    for _, mean in seen.values():
        torch.testing.assert_close(mean, torch.tensor(means(images)))


def test_the_images_stay_and_the_seed_decides() -> None:
    images = batch((3, 8, 8))
    before, operations = images.clone(), ("crop", "scale", "rotate", "noise")
    first, again, other = (per_image(images, operations, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(images, before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == images.shape
    assert first.dtype == images.dtype


def test_without_operations_nothing_is_drawn() -> None:
    images, source = batch((3, 8, 8)), generator()
    assert per_image(images, (), source) is images
    assert torch.equal(source.get_state(), generator().get_state())
