"""Layers of a network as far as their cost goes: multiplications, parameters, and the numbers that leave them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

Shape = tuple[int, int, int]
"""Channels, height and width of an image or a map."""


class Layer(NamedTuple):
    """A layer, seen from one image.

    Attributes:
        macs: multiply-accumulates of convolutions and linear maps.
        parameters: trainable numbers.
        outputs: numbers that leave it.
        kept: whether a graph keeps these until it has been walked backward.
    """

    macs: int
    parameters: int
    outputs: int
    kept: bool = True


def convolution(
    inputs: int, outputs: int, kernel: int, size: tuple[int, int], norm: str = "none", *, bias: bool = True
) -> list[Layer]:
    """A convolution with ``outputs`` channels of (height, width) ``size``, and the normalisation that follows.

    A graph keeps what goes into a normalisation. An activation keeps its own output instead.
    """
    weights, pixels = kernel * kernel * inputs * outputs, size[0] * size[1]
    scales = {"none": 0, "layer": 2 * outputs * pixels}.get(norm, 2 * outputs)
    found = [Layer(weights * pixels, weights + bias * outputs, outputs * pixels, kept=norm != "none")]
    return [*found, Layer(0, scales, outputs * pixels, kept=False)] if scales else found


def linear(inputs: int, outputs: int) -> Layer:
    """A linear map with a bias."""
    return Layer(inputs * outputs, inputs * outputs + outputs, outputs, kept=False)


def activation(channels: int, size: tuple[int, int]) -> Layer:
    """An activation, or anything else that gives a map without parameters."""
    return Layer(0, 0, channels * size[0] * size[1])


def block(
    inputs: int, outputs: int, kernel: int, size: tuple[int, int], norm: str, *, pooled: bool = False
) -> list[Layer]:
    """Convolution, normalisation, activation, and pooling by two where asked for."""
    layers = [*convolution(inputs, outputs, kernel, size, norm), activation(outputs, size)]
    if pooled:
        layers.append(activation(outputs, (size[0] // 2, size[1] // 2)))
    return layers


def padded(shape: Shape) -> tuple[int, int]:
    """Height and width in the first layer: images of 1 x 28 x 28 are padded to 32 x 32, as in the published code."""
    return (32, 32) if shape == (1, 28, 28) else shape[1:]


def stacked(shape: Shape, classes: int, rows: Sequence[tuple[int, int, bool]], norm: str) -> list[Layer]:
    """Blocks one after another and one linear layer.

    Args:
        shape: of an image.
        classes: logits.
        rows: channels and kernel size of each block, and whether it pools.
        norm: normalisation of every block.
    """
    return list(_stacked(shape, classes, tuple(rows), norm))


@lru_cache(maxsize=256)
def _stacked(shape: Shape, classes: int, rows: tuple[tuple[int, int, bool], ...], norm: str) -> tuple[Layer, ...]:
    """The same, kept: the cost of a job asks for the layers of few networks many times."""
    inputs, size, layers = shape[0], padded(shape), list[Layer]()
    for outputs, kernel, pooled in rows:
        layers += block(inputs, outputs, kernel, size, norm, pooled=pooled)
        inputs, size = outputs, (size[0] // 2, size[1] // 2) if pooled else size
    return (*layers, linear(inputs * size[0] * size[1], classes))
