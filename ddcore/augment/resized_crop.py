"""A random part of a batch of images, resized, mirrored and rolled: one draw for all of them."""

from __future__ import annotations

import math
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
