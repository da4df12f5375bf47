"""DC-bench's augmentations: what is done to 8-bit pixels, by torchvision itself and by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Generator, Tensor
from torchvision.transforms import v2

from ddcore.augment import dc_bench as module
from ddcore.augment.dc_bench import eight_bit
from ddcore.data.dataset import Dataset, ImageSet, describe
from ddcore.data.whitening import whitened

OPERATIONS = ("autoaugment", "randaugment", "crop", "flip", "jitter", "cutout")


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def dataset(channels: int = 3, side: int = 12) -> Dataset:
    pixels = torch.randint(256, (20, channels, side, side), generator=generator(1), dtype=torch.uint8)
    split = ImageSet(pixels, torch.arange(20) % 2, ("a", "b"))
    return describe("random", split, split)


def batch(of: Dataset) -> Tensor:
    return of.normalize(of.train.images[:6])


def quantised(of: Dataset, images: Tensor) -> Tensor:
    """Pixels of 8 bits, one by one, truncated as a conversion to uint8 does."""
    pixels = of.denormalize(images).flatten()
    levels = [int(min(max(float(p), 0.0), 1.0) * 255) for p in pixels]
    return torch.tensor(levels, dtype=torch.uint8).view(images.shape)


@pytest.mark.parametrize("whitening", [False, True])
@pytest.mark.parametrize(
    ("operation", "transform"),
    [
        ("autoaugment", v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10)),
        ("randaugment", v2.RandAugment(num_ops=1)),
        ("crop", v2.RandomCrop(12, padding=4)),
        ("flip", v2.RandomHorizontalFlip()),
        ("jitter", v2.ColorJitter(0.4, 0.4, 0.4, 0.2)),
    ],
)
def test_an_operation_is_torchvisions_on_quantised_pixels(
    operation: str, transform: v2.Transform, whitening: bool
) -> None:
    of = whitened(dataset()) if whitening else dataset()
    images = batch(of) + 0.3
    changed = 0
    for seed in range(8):
        found = eight_bit(of, images, (operation,), generator(seed))
        drawn = int(torch.randint(2**62, (), generator=generator(seed)))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(drawn)
            expected = transform(quantised(of, images))
        assert torch.equal(found, of.normalize(expected))
        changed += not torch.equal(expected, quantised(of, images))
    assert changed > 0


@pytest.mark.parametrize(("side", "policy"), [(32, "CIFAR10"), (64, "IMAGENET")])
def test_large_images_follow_the_policy_of_imagenet(side: int, policy: str) -> None:
    assert module._transform("autoaugment", (3, side, side)).policy.name == policy


def test_crop_and_flip_are_one_draw_for_the_batch() -> None:
    """Equal images stay equal, and each is some crop of the padded image, mirrored or not."""
    of = dataset(side=8)
    image = of.normalize(of.train.images[:1])
    padded = torch.nn.functional.pad(quantised(of, image), (4, 4, 4, 4))

    def cut(row: int, column: int, mirrored: bool) -> Tensor:
        part = padded[:, :, row : row + 8, column : column + 8]
        return part.flip(3) if mirrored else part

    seen = set()
    for seed in range(40):
        found = eight_bit(of, image.expand(5, -1, -1, -1), ("crop", "flip"), generator(seed))
        assert all(torch.equal(found[0], other) for other in found[1:])
        places = [
            (row, column, mirrored)
            for row in range(9)
            for column in range(9)
            for mirrored in (False, True)
            if torch.equal(
                of.normalize(cut(row, column, mirrored)),
                found[:1],
            )
        ]
        assert places
        seen.add(places[0])
    assert len(seen) > 20
    assert {mirrored for *_, mirrored in seen} == {False, True}


def test_cutout_comes_last_and_erases_half_the_side_in_normalised_units() -> None:
    of = dataset(side=8)
    images = batch(of)
    for seed in range(20):
        found = eight_bit(of, images, ("cutout",), generator(seed))
        source = generator(seed)
        torch.randint(2**62, (), generator=source)
        row, column = (int(torch.randint(8, (1,), generator=source)) for _ in range(2))
        expected = of.normalize(quantised(of, images))
        for i in range(max(0, row - 2), min(8, row + 2)):
            for j in range(max(0, column - 2), min(8, column + 2)):
                expected[:, :, i, j] = 0
        assert torch.equal(found, expected)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_keeps_shape_and_global_randomness(operation: str, channels: int) -> None:
    of = dataset(channels)
    images, before = batch(of), torch.get_rng_state()
    first, again = (eight_bit(of, images, (operation,), generator(4)) for _ in range(2))
    assert (first.shape, first.dtype) == (images.shape, torch.float32)
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), before)


def test_without_operations_nothing_is_drawn_and_nothing_rounded() -> None:
    of, source = dataset(), generator()
    images = batch(of) + 0.001
    assert eight_bit(of, images, (), source) is images
    assert torch.equal(source.get_state(), generator().get_state())
