"""A random part of images, resized and mirrored: one draw for a batch, which is rolled too, or one for each image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

TRIES = 10
"""Draws of a part until one fits into the image; then the largest in the middle is taken."""
RATIO = (3 / 4, 4 / 3)
"""Least and largest width of a part, as a share of its height."""


@dataclass(frozen=True)
class ResizedCrop:
    """What is done to a batch.

    Source: ``RandomResizedCrop`` and ``RandomHorizontalFlip`` of torchvision on a batch, and the jitter of SRe2L's
    released code (github.com/VILA-Lab/SRe2L).

    Attributes:
        top: of the part, in pixels.
        left: of the part, in pixels.
        height: of the part, in pixels.
        width: of the part, in pixels.
        mirrored: whether left and right are swapped.
        down: pixels by which the result is rolled.
        right: pixels by which the result is rolled.
    """

    top: int
    left: int
    height: int
    width: int
    mirrored: bool
    down: int
    right: int

    @classmethod
    def draw(
        cls, shape: tuple[int, int, int], smallest: float, shift: int, generator: Generator, *, flip: bool
    ) -> ResizedCrop:
        """One at random: area and place uniform, the logarithm of the proportions uniform.

        Args:
            shape: (channels, height, width) of an image.
            smallest: least area, as a share of the image, above 0 to 1.
            shift: most pixels to roll by, 0 for none.
            generator: on the CPU.
            flip: whether half of them are mirrored.
        """
        top, left, height, width = _part(shape[1], shape[2], smallest, generator)
        mirrored = flip and float(torch.rand((), generator=generator)) < 0.5
        down, right = torch.randint(shift + 1, (2,), generator=generator).tolist()
        return cls(top, left, height, width, mirrored, down, right)

    def __call__(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) of the same size, differentiable (bilinear)."""
        part = images[:, :, self.top : self.top + self.height, self.left : self.left + self.width]
        resized = F.interpolate(part, images.shape[2:], mode="bilinear", align_corners=False)
        mirrored = resized.flip(3) if self.mirrored else resized
        return mirrored.roll((self.down, self.right), (2, 3))


def _part(height: int, width: int, smallest: float, generator: Generator) -> tuple[int, int, int, int]:
    """Top, left, height and width."""
    least, largest = (math.log(ratio) for ratio in RATIO)
    for _ in range(TRIES):
        area, proportion, down, right = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
        pixels = height * width * (smallest + area * (1 - smallest))
        ratio = math.exp(least + proportion * (largest - least))
        tall, wide = round(math.sqrt(pixels / ratio)), round(math.sqrt(pixels * ratio))
        if 0 < tall <= height and 0 < wide <= width:
            return int(down * (height - tall + 1)), int(right * (width - wide + 1)), tall, wide
    tall, wide = min(height, round(width / RATIO[0])), min(width, round(height * RATIO[1]))
    return (height - tall) // 2, (width - wide) // 2, tall, wide


@dataclass(frozen=True)
class ResizedCrops:
    """What is done to each image of a batch.

    Source: ``RandomResizedCrop`` and ``RandomHorizontalFlip`` of torchvision on one image.

    Attributes:
        top: (N,) int64 on the CPU, of each part, in pixels.
        left: likewise.
        height: likewise, at least 1.
        width: likewise, at least 1.
        mirrored: (N,) bool on the CPU, whether left and right are swapped.
    """

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor
    mirrored: Tensor

    @classmethod
    def draw(
        cls, count: int, shape: Sequence[int], smallest: float, generator: Generator, *, flip: bool
    ) -> ResizedCrops:
        """As many at random: area and place uniform, the logarithm of the proportions uniform.

        Args:
            count: images.
            shape: (..., height, width) of an image.
            smallest: least area, as a share of the image, above 0 to 1.
            generator: on the CPU; one draw of it serves all images.
            flip: whether half of them are mirrored.
        """
        height, width = shape[-2:]
        drawn = torch.rand(count, 4 * TRIES + 1, generator=generator, dtype=torch.float64)
        area, proportion, down, right = drawn[:, 1:].view(count, TRIES, 4).unbind(dim=2)
        pixels = height * width * (smallest + area * (1 - smallest))
        ratio = (math.log(RATIO[0]) + proportion * math.log(RATIO[1] / RATIO[0])).exp()
        tall, wide = (pixels / ratio).sqrt().round().long(), (pixels * ratio).sqrt().round().long()
        fits = (tall > 0) & (tall <= height) & (wide > 0) & (wide <= width)
        # The first that fits; where none does, the largest in the middle.
        place = fits.long().argmax(dim=1, keepdim=True)
        tall, wide, down, right = (each.gather(1, place).squeeze(1) for each in (tall, wide, down, right))
        none = ~fits.any(dim=1)
        tall[none], wide[none] = min(height, round(width / RATIO[0])), min(width, round(height * RATIO[1]))
        top, left = (down * (height - tall + 1)).long(), (right * (width - wide + 1)).long()
        top[none], left[none] = (height - tall[none]) // 2, (width - wide[none]) // 2
        return cls(top, left, tall, wide, (drawn[:, 0] < 0.5) & flip)

    def __len__(self) -> int:
        return len(self.top)

    def __getitem__(self, images: slice) -> ResizedCrops:
        """Those of some of the images."""
        return ResizedCrops(*(each[images] for each in (self.top, self.left, self.height, self.width, self.mirrored)))

    def __call__(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) of the same size, differentiable (bilinear).

        Every pixel is a sum of two in its column and two in its row. As a product of matrices, its slope is the same at
        every run on a GPU too, where that of an interpolation is not.
        """
        rows = _weights(self.top, self.height, images.shape[2])
        columns = _weights(self.left, self.width, images.shape[3])
        columns = torch.where(self.mirrored.view(-1, 1, 1), columns.flip(1), columns)
        rows, columns = (each.to(images).unsqueeze(1) for each in (rows, columns))
        return rows @ images @ columns.transpose(2, 3)


def _weights(first: Tensor, length: Tensor, side: int) -> Tensor:
    """What each of ``side`` pixels takes of each pixel of a side: float64 (N, side, side), rows of sum 1."""
    share = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    place = (share * length.unsqueeze(1) - 0.5).clamp(min=0).minimum(length.unsqueeze(1) - 1.0) + first.unsqueeze(1)
    return (1 - (place.unsqueeze(2) - torch.arange(side, dtype=torch.float64)).abs()).clamp(min=0)
