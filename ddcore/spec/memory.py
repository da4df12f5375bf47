"""How much memory images take on their way through a network, in bytes of tensors alive at once.

The figures are those of an uncompiled run in float32 on a CPU, where a pass takes a piece of a batch at a time. The
interpreter and its libraries, what an operation needs inside itself, and files of the cache are not counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ddcore.spec.layers import Layer, Shape

if TYPE_CHECKING:
    from ddcore.spec.base import NetworkConfig

NUMBER = 4
"""Bytes of a float32."""
PIECE = 32
"""Images of 32 x 32 that an uncompiled pass on a CPU takes at a time."""
GRAPH = 512
"""Images of 32 x 32 whose graphs may be in memory at once; a step with more goes group by group."""
_GRADIENTS = (0, 1, 4)
"""Networks' worth of gradients beside no, one and two derivatives; training keeps a momentum besides."""
_COPIES = 3
"""Of a batch of images: as they are read, augmented, and in the order of memory that convolutions want."""


class Batch(NamedTuple):
    """Images that go through a network in one go, as far as the caller is concerned.

    Attributes:
        network: the architecture.
        images: how many.
        derivatives: 0 for a forward pass alone, 1 where its graph is kept, 2 where the gradient has a graph in turn.
        whole: whether the graphs of all of them are there at once, as in training; otherwise a piece at a time.
    """

    network: NetworkConfig
    images: int
    derivatives: int = 0
    whole: bool = False

    def bytes(self, shape: Shape, classes: int) -> int:
        """What they take: maps of those that pass at once, images and features of all, and gradients of parameters."""
        layers = self.network.layers(shape, classes)
        at_once = self.images if self.whole else min(self.images, for_pixels(PIECE, self.network.sees(shape)))
        maps = at_once * _NUMBERS[self.derivatives](layers, math.prod(shape))
        beside = self.images * (_COPIES * math.prod(shape) + layers[-1].macs // layers[-1].outputs)
        gradients = _GRADIENTS[self.derivatives] + (self.whole and self.derivatives == 1)
        return NUMBER * (maps + beside + gradients * sum(layer.parameters for layer in layers))


def for_pixels(images: int, shape: Shape) -> int:
    """As many images of this shape as take the memory of so many of 32 x 32: a power of two, at least 8.

    >>> [for_pixels(PIECE, (3, side, side)) for side in (8, 32, 48, 256)]
    [512, 32, 8, 8]
    """
    scaled = images * 1024 // (shape[1] * shape[2])
    return max(8, 1 << max(scaled, 1).bit_length() - 1)


def parameter_bytes(network: NetworkConfig, shape: Shape, classes: int) -> int:
    """Of one network."""
    return NUMBER * sum(layer.parameters for layer in network.layers(shape, classes))


def _forward(layers: Sequence[Layer], image: int) -> int:
    """Numbers of one image in a pass without a graph: what goes into a layer and what comes out of it."""
    return max(before + after for before, after, _ in _steps(layers, image))


def _training(layers: Sequence[Layer], image: int) -> int:
    """With a graph: what has been kept so far, and the gradients of what comes out of a layer and goes into it."""
    return max(before + after + kept for before, after, kept in _steps(layers, image))


def _twice(layers: Sequence[Layer], image: int) -> int:
    """With a graph of the gradient: maps of both ways, and on the way back gradients of three of the largest."""
    *_, (_, _, kept) = _steps(layers, image)
    return 2 * kept + 3 * max(layer.outputs for layer in layers)


_NUMBERS = (_forward, _training, _twice)


def _steps(layers: Sequence[Layer], image: int) -> Iterator[tuple[int, int, int]]:
    """Numbers that go into each layer, that come out of it, and that a graph has kept up to there."""
    before, kept = image, image
    for layer in layers:
        kept += layer.outputs * layer.kept
        yield before, layer.outputs, kept
        before = layer.outputs
