"""Class means of what a network makes of images, level by level.

The maps before the first pooling are many times larger than an image. So they are averaged inside the pass that
makes them, piece by piece, and only class means leave it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ddcore.machine.compiler import compile_for_each_shape
from ddcore.machine.compute import laid_out
from ddcore.nets.functional import Functional, Params, piece_size


class LevelMeans(NamedTuple):
    """What images of G classes, N in all, look like to a network.

    Attributes:
        levels: class means (G, F_l) at each level of :meth:`ddcore.nets.Network.levels`, first to last.
        features: (N, F) of every image: what the last level is the mean of.
    """

    levels: tuple[Tensor, ...]
    features: Tensor


class ClassMeans:
    """Class means at every level, differentiable to the images and the parameters like a pass of a ``Functional``.

    They are float32 whatever the precision inside a pass.

    Args:
        functional: the architecture, with its precision and compilation.

    Raises:
        ValueError: batch normalisation lets images influence each other, so that they cannot go piece by piece.
    """

    def __init__(self, functional: Functional) -> None:
        if not functional.per_sample:
            raise ValueError("class means are taken piece by piece, which batch normalisation does not allow")
        self.functional = functional
        compiled = functional.compute.compiled
        self._sums = compile_for_each_shape(self._weighted_sums) if compiled else self._weighted_sums

    def __call__(self, params: Params, images: Tensor, sizes: Sequence[int]) -> LevelMeans:
        """Means of classes that follow one another.

        Args:
            params: parameters and buffers.
            images: (sum of sizes, C, H, W), normalised, class after class.
            sizes: images of each class, each at least 1.

        Raises:
            ValueError: the sizes are not of these images.
        """
        if sum(sizes) != len(images) or min(sizes, default=0) < 1:
            raise ValueError(f"sizes {list(sizes)} do not divide {len(images)} images into classes")
        images = laid_out(images, self.functional.compute.layout)
        differentiates = torch.is_grad_enabled() and (
            images.requires_grad or any(p.requires_grad for p in params.values())
        )
        most = self.functional.grad_piece if differentiates else self.functional.piece
        if len(set(sizes)) == 1 and sizes[0] <= most:
            outputs = self._of_equal_classes(params, images, len(sizes), most)
        else:
            outputs = _joined(self._of_one_class(params, part, most) for part in images.split(list(sizes)))
        return LevelMeans(outputs[:-1], outputs[-1])

    def _of_equal_classes(self, params: Params, images: Tensor, classes: int, most: int) -> tuple[Tensor, ...]:
        """Whole classes in each pass, in as few groups of even size as ``most`` images allow."""
        size = len(images) // classes
        passes = -(-classes // (most // size))
        together = -(-classes // passes)
        filled = self._filled(images, together * size)
        weights = images.new_full((len(filled) // size, size), 1 / size)
        pieces = zip(filled.split(together * size), weights.split(together), strict=True)
        *levels, features = _joined(self._sums(params, *piece) for piece in pieces)
        return (*(means[:classes] for means in levels), features[: len(images)])

    def _of_one_class(self, params: Params, images: Tensor, most: int) -> tuple[Tensor, ...]:
        """A class that takes a pass or more by itself: the parts of its mean add up."""
        count = len(images)
        length = piece_size(count, most) if self.functional.compute.compiled else most
        filled = self._filled(images, length)
        weights = F.pad(images.new_full((count,), 1 / count), (0, len(filled) - count))
        pieces = zip(filled.split(length), weights.split(length), strict=True)
        *levels, features = zip(*(self._sums(params, part, shares[None]) for part, shares in pieces), strict=True)
        return (*(torch.stack(sums).sum(dim=0) for sums in levels), torch.cat(features)[:count])

    def _filled(self, images: Tensor, length: int) -> Tensor:
        """Images for passes of one length, which compiled ones must have: blank ones follow."""
        missing = -len(images) % length if self.functional.compute.compiled else 0
        if not missing:
            return images
        return laid_out(F.pad(images, (0, 0, 0, 0, 0, 0, 0, missing)), self.functional.compute.layout)

    def _weighted_sums(self, params: Params, images: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
        """For (G * n) images and (G, n) weights: (G, F_l) sums at each level, then the features (G * n, F)."""
        levels = self.functional.plain("levels", params, images)
        sums = []
        for level in levels:
            grouped = level.unflatten(0, weights.shape)
            shares = weights.view(*weights.shape, *[1] * (level.ndim - 1))
            sums.append((shares * grouped).sum(dim=1).flatten(1))
        return (*sums, levels[-1])


def _joined(parts: Iterable[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Tensor by tensor, one part after another."""
    return tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))
