"""MLP, LeNet, AlexNet and VGG-11 as the distillation literature evaluates with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from ddcore.spec.base import NetworkConfig, network_config


@network_config
class MLPConfig(NetworkConfig):
    """Two hidden layers of ReLU units on the flattened image."""

    title: ClassVar[str] = "MLP"
    citation: ClassVar[str] = "as evaluated by Zhao et al., ICLR 2021 (arXiv 2006.05929)"
    cost: ClassVar[str] = "a hundredth of ConvNet-3"
    smoke: ClassVar[Mapping[str, Any]] = {"width": 4}

    name: Literal["mlp"] = "mlp"
    width: int = Field(128, ge=1, le=65_536, description="Units of each hidden layer.")


@network_config
class LeNetConfig(NetworkConfig):
    """LeNet-5 with ReLU and max pooling."""

    title: ClassVar[str] = "LeNet"
    citation: ClassVar[str] = "LeCun et al., Proc. IEEE 1998"
    cost: ClassVar[str] = "a hundredth of ConvNet-3"

    name: Literal["lenet"] = "lenet"


@network_config
class AlexNetConfig(NetworkConfig):
    """AlexNet for small images: five convolutions and one linear layer."""

    title: ClassVar[str] = "AlexNet"
    citation: ClassVar[str] = "Krizhevsky et al., NeurIPS 2012; as cut down by Zhao et al., ICLR 2021"
    cost: ClassVar[str] = "about 5 times ConvNet-3 at 32 pixels"

    name: Literal["alexnet"] = "alexnet"
    norm: Literal["none", "batch"] = Field("none", description="Normalisation after each convolution.")


@network_config
class VGG11Config(NetworkConfig):
    """VGG-11 for small images: eight convolutions and one linear layer."""

    title: ClassVar[str] = "VGG-11"
    citation: ClassVar[str] = "Simonyan & Zisserman, ICLR 2015 (arXiv 1409.1556)"
    cost: ClassVar[str] = "about 3 times ConvNet-3 at 32 pixels"

    name: Literal["vgg11"] = "vgg11"
    norm: Literal["instance", "batch"] = Field("instance", description="Normalisation after each convolution.")
