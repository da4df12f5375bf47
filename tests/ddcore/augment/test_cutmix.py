"""CutMix against the released loop, written plainly."""

from __future__ import annotations

import pytest
import torch
from torch import Generator, Tensor

from ddcore.augment import cutmix as module
from ddcore.augment.cutmix import cutmix

CLASSES = 4
LABELS = torch.tensor([0, 1, 2, 3, 1])


def generator(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def numbered(n: int = 5, sides: tuple[int, int] = (6, 8)) -> Tensor:
    """Images that say in every pixel which one they are."""
    return torch.arange(n, dtype=torch.float32).view(-1, 1, 1, 1).expand(n, 2, *sides).contiguous()


@pytest.mark.parametrize("seed", range(12))
def test_labels_follow_the_pixels_that_each_image_keeps(seed: int) -> None:
    images = numbered()
    mixed, labels = cutmix(images, LABELS, CLASSES, generator(seed), probability=1)
    assert torch.equal(images, numbered())
    for n in range(5):
        expected = torch.zeros(CLASSES)
        for pixel in mixed[n, 0].flatten().tolist():
            expected[LABELS[int(pixel)]] += 1 / 48
        torch.testing.assert_close(labels[n], expected)
        assert torch.equal(mixed[n, 0], mixed[n, 1])


def published(images: Tensor, kept: float, centre: tuple[int, int], partner: Tensor) -> tuple[Tensor, float]:
    """The released function of the box, and its share of the image that stays."""
    height, width = images.shape[-2:]
    cut = (1.0 - kept) ** 0.5
    bounds = []
    for side, middle in ((height, centre[0]), (width, centre[1])):
        size = int(side * cut)
        bounds.append((min(max(middle - size // 2, 0), side), min(max(middle + size // 2, 0), side)))
    (top, bottom), (left, right) = bounds
    result = images.clone()
    for n in range(len(images)):
        for i in range(top, bottom):
            for j in range(left, right):
                result[n, :, i, j] = images[partner[n], :, i, j]
    return result, 1 - (bottom - top) * (right - left) / (height * width)


@pytest.mark.parametrize("seed", range(6))
def test_equals_the_published_loop(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = 0.1 + 0.15 * seed
    monkeypatch.setattr(module, "_beta", lambda beta, generator: kept)
    images = torch.randn(5, 2, 7, 10, generator=generator(99))
    draws = generator(seed)
    torch.rand((), generator=draws)
    centre = int(torch.randint(7, (), generator=draws)), int(torch.randint(10, (), generator=draws))
    partner = torch.randperm(5, generator=draws)
    expected, ratio = published(images, kept, centre, partner)
    mixed, labels = cutmix(images, LABELS, CLASSES, generator(seed), probability=1)
    torch.testing.assert_close(mixed, expected, rtol=0, atol=0)
    one_hot = torch.nn.functional.one_hot(LABELS, CLASSES).float()
    torch.testing.assert_close(labels, ratio * one_hot + (1 - ratio) * one_hot[partner])
    assert torch.allclose(labels.sum(dim=1), torch.ones(5))


def test_a_batch_is_mixed_with_the_probability_asked_for() -> None:
    images, shared = numbered(), generator(0)
    alone = sum(cutmix(images, LABELS, CLASSES, shared, probability=0.3)[0] is images for _ in range(1000))
    assert abs(alone - 700) < 70  # standard deviation 14.5


@pytest.mark.parametrize(("beta", "variance"), [(1.0, 1 / 12), (0.2, 0.25 / 1.4), (5.0, 0.25 / 11)])
def test_the_share_that_stays_is_beta_distributed(beta: float, variance: float) -> None:
    shared = generator(1)
    shares = torch.tensor([module._beta(beta, shared) for _ in range(4000)])
    assert shares.mean().item() == pytest.approx(0.5, abs=0.03)
    assert shares.var().item() == pytest.approx(variance, rel=0.1)


def test_the_same_generator_mixes_alike_and_another_otherwise() -> None:
    images = numbered(5, (16, 16))
    first, again, other = (cutmix(images, LABELS, CLASSES, generator(s), probability=1)[0] for s in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
