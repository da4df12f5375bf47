"""Images as sums of levels from coarse to fine, of which more and more are learned.

Cazenavette, Torralba & Sitzmann, "Dataset Distillation for Pre-Trained Self-Supervised Vision Models", NeurIPS 2025
(arXiv 2511.16674), and src/synsets of github.com/GeorgeCazenavette/linear-gradient-matching. The correlation of colours
is that of Olah, Mordvintsev & Schubert, "Feature Visualization", Distill 2017.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from ddcore.synthetic.adam import LearnedByAdam
from ddcore.synthetic.decoders import Decoder

COLOURS = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
"""A root of the covariance of red, green and blue in the images of ImageNet."""
STEEPNESS = 2.0
"""Factor of a sum before the sigmoid that makes a pixel value of it."""
EDGE = 1e-3
"""Least distance from 0 and 1 of a pixel value that is turned back into such a sum."""


class Pyramid(Decoder):
    """A pixel is sigmoid(2 M s), with s the sum of all levels enlarged to the image (bilinear, no aligned corners).

    Level l has sides of 2^l pixels, the last one those of the image. M correlates the colours of three channels, its
    longest column having length 1; other numbers of channels stay as they are. A row holds the levels one after the
    other, the coarsest first, each channel by channel.

    Args:
        shape: (channels, height, width) of an image.
        mean: pixel value of each channel that is 0 in normalised units.
        std: pixel values of each channel that are 1 in them.

    Attributes:
        sides: (height, width) of each level.
        levels: how many of them images are made of so far, at first one; the others of a row are not looked at.
    """

    def __init__(self, shape: tuple[int, int, int], mean: Tensor, std: Tensor) -> None:
        self._channels, height, width = shape
        count = 1 + math.ceil(math.log2(max(height, width)))
        self.sides = tuple((min(2**level, height), min(2**level, width)) for level in range(count))
        self.levels = 1
        self._mean, self._std = (each.view(-1, 1, 1) for each in (mean, std))
        roots = torch.tensor(COLOURS, device=mean.device)
        self._colours = roots / roots.norm(dim=0).max()

    @property
    def sizes(self) -> list[int]:
        """Numbers of a row that belong to each level."""
        return [self._channels * height * width for height, width in self.sides]

    @override
    def decode(self, stored: Tensor, rows: int) -> Tensor:
        whole = self.sides[-1]
        parts = stored[:, : sum(self.sizes[: self.levels])].split(self.sizes[: self.levels], dim=1)
        maps = [level.unflatten(1, (self._channels, *side)) for level, side in zip(parts, self.sides, strict=False)]
        enlarged = [F.interpolate(each, whole, mode="bilinear", align_corners=False) for each in maps]
        total = torch.stack(enlarged).sum(dim=0)
        if self._channels == len(COLOURS):
            total = torch.einsum("kc,nchw->nkhw", self._colours, total)
        return (torch.sigmoid(STEEPNESS * total) - self._mean) / self._std

    @override
    @torch.no_grad()
    def encode(self, images: Tensor, rows: int) -> Tensor:
        """Rows that hold the images in the last level that is looked at, shrunk to it, and nothing in the others."""
        pixels = (images * self._std + self._mean).clamp(EDGE, 1 - EDGE)
        total = torch.logit(pixels) / STEEPNESS
        if self._channels == len(COLOURS):
            total = torch.einsum("kc,nchw->nkhw", torch.linalg.inv(self._colours), total)
        first, last = sum(self.sizes[: self.levels - 1]), self.levels - 1
        stored = images.new_zeros((len(images), sum(self.sizes)))
        small = F.interpolate(total, self.sides[last], mode="bilinear", align_corners=False, antialias=True)
        stored[:, first : first + self.sizes[last]] = small.flatten(1)
        return stored

    @override
    def row_shape(self, shape: tuple[int, int, int]) -> tuple[int, ...]:
        return (sum(self.sizes),)


class LearnedPyramid(LearnedByAdam):
    """Rows of a pyramid that Adam moves, and that have one more level after every so many steps until all are there.

    With level L + 1 the L earlier ones shrink to L / (L + 1) of themselves, the new one begins with its start over
    L + 1, and Adam begins at rest. So the sum of levels that start as N(0, 1) is never wider than one of them.

    Args:
        start: (rows, numbers) of all levels, copied; N(0, 1) in the source.
        lr: learning rate, above 0.
        pyramid: makes the images; told of every new level.
        grow_every: steps from one new level to the next.
    """

    def __init__(self, start: Tensor, *, lr: float, pyramid: Pyramid, grow_every: int) -> None:
        super().__init__(start, lr=lr)
        self._pyramid, self._grow_every = pyramid, grow_every
        pyramid.levels = 1

    @override
    @torch.no_grad()
    def begin_step(self) -> None:
        """Add a level where its turn has come: before a step, so that none is delivered that has learned nothing."""
        pyramid = self._pyramid
        if int(self.taken) < self._grow_every or pyramid.levels == len(pyramid.sides):
            return
        known, sizes = pyramid.levels, pyramid.sizes
        edge = sum(sizes[:known])
        self.value[:, :edge].mul_(known / (known + 1))
        self.value[:, edge : edge + sizes[known]].div_(known + 1)
        pyramid.levels = known + 1
        self._come_to_rest()

    @override
    def restart(self, start: Tensor) -> None:
        super().restart(start)
        self._pyramid.levels = 1

    @override
    def state(self) -> dict[str, Tensor]:
        return {**super().state(), "levels": torch.tensor(self._pyramid.levels)}

    @override
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        super().load_state(state)
        self._pyramid.levels = int(state["levels"])
