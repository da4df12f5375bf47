"""MLP, LeNet, AlexNet and VGG-11 as the distillation literature evaluates with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar, Literal

from pydantic import Field

from ddcore.spec.base import NetworkConfig, network_config
from ddcore.spec.layers import Layer, Shape, activation, convolution, linear, padded, stacked

ALEXNET_LAYERS = ((128, 5, True), (192, 5, True), (256, 3, False), (192, 3, False), (192, 3, True))
"""Channels and kernel size of each convolution, and whether pooling follows."""
VGG11_STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))
"""Channels of the convolutions before each of the five poolings."""


@network_config
class MLPConfig(NetworkConfig):
    """Two hidden layers of ReLU units on the flattened image."""

    title: ClassVar[str] = "MLP"
    citation: ClassVar[str] = "as evaluated by Zhao et al., ICLR 2021 (arXiv 2006.05929)"
    cost: ClassVar[str] = "a hundredth of ConvNet-3"
    smoke: ClassVar[Mapping[str, Any]] = {"width": 4}

    name: Literal["mlp"] = "mlp"
    width: int = Field(128, ge=1, le=65_536, description="Units of each hidden layer.")

    def layers(self, shape: Shape, classes: int) -> list[Layer]:
        """Two hidden layers and the classifier."""
        sizes = (math.prod(shape), self.width, self.width)
        hidden = [part for a, b in pairwise(sizes) for part in (linear(a, b), Layer(0, 0, b))]
        return [*hidden, linear(self.width, classes)]


@network_config
class LeNetConfig(NetworkConfig):
    """LeNet-5 with ReLU and max pooling."""

    title: ClassVar[str] = "LeNet"
    citation: ClassVar[str] = "LeCun et al., Proc. IEEE 1998"
    cost: ClassVar[str] = "a hundredth of ConvNet-3"

    name: Literal["lenet"] = "lenet"

    def layers(self, shape: Shape, classes: int) -> list[Layer]:
        """Two convolutions of 5 x 5 without padding, each pooled by two, and three linear layers."""
        inputs, size, found = shape[0], padded(shape), list[Layer]()
        for outputs in (6, 16):
            height, width = size[0] - 4, size[1] - 4
            size = (height // 2, width // 2)
            found += convolution(inputs, outputs, 5, (height, width))
            found += [activation(outputs, (height, width)), activation(outputs, size)]
            inputs = outputs
        for units in (120, 84):
            found += [linear(inputs * size[0] * size[1], units), Layer(0, 0, units)]
            inputs, size = units, (1, 1)
        return [*found, linear(inputs, classes)]


@network_config
class AlexNetConfig(NetworkConfig):
    """AlexNet for small images: five convolutions and one linear layer."""

    title: ClassVar[str] = "AlexNet"
    citation: ClassVar[str] = "Krizhevsky et al., NeurIPS 2012; as cut down by Zhao et al., ICLR 2021"
    cost: ClassVar[str] = "about 5 times ConvNet-3 at 32 pixels"

    name: Literal["alexnet"] = "alexnet"
    norm: Literal["none", "batch"] = Field("none", description="Normalisation after each convolution.")

    def layers(self, shape: Shape, classes: int) -> list[Layer]:
        """The convolutions and the classifier."""
        return stacked(shape, classes, ALEXNET_LAYERS, self.norm)


@network_config
class VGG11Config(NetworkConfig):
    """VGG-11 for small images: eight convolutions and one linear layer."""

    title: ClassVar[str] = "VGG-11"
    citation: ClassVar[str] = "Simonyan & Zisserman, ICLR 2015 (arXiv 1409.1556)"
    cost: ClassVar[str] = "about 3 times ConvNet-3 at 32 pixels"

    name: Literal["vgg11"] = "vgg11"
    norm: Literal["instance", "batch"] = Field("instance", description="Normalisation after each convolution.")

    def layers(self, shape: Shape, classes: int) -> list[Layer]:
        """The convolutions and the classifier."""
        rows = [(outputs, 3, index == len(stage) - 1) for stage in VGG11_STAGES for index, outputs in enumerate(stage)]
        return stacked(shape, classes, rows, self.norm)
