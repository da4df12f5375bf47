"""What every network offers: logits, the features before the classifier, and the maps in between."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from typing_extensions import override

from ddcore.errors import ConfigurationError
from ddcore.registry import implementation
from ddcore.spec import NetworkConfig

Shape = tuple[int, int, int]
"""Channels, height and width of one image."""

Tap = Literal["logits", "features", "taps", "levels"]
"""What a forward pass returns."""


@dataclass(frozen=True)
class Taps:
    """Everything one pass shows.

    Attributes:
        blocks: output of every block (after pooling), each (N, channels, height, width), first to last.
        features: input of the classifier, (N, F).
        logits: (N, classes).
    """

    blocks: tuple[Tensor, ...]
    features: Tensor
    logits: Tensor


class Network(nn.Module, ABC):
    """An image classifier made of blocks and one linear layer.

    Attributes:
        shape: channels, height and width of the images it takes.
        seen: shape in which its first layer sees them: the same, unless it resizes them.
        classes: number of logits.
        classifier: the linear layer from the F features to the logits.
    """

    classifier: nn.Linear

    def __init__(self, shape: Shape, classes: int) -> None:
        super().__init__()
        self.shape = self.seen = shape
        self.classes = classes

    @abstractmethod
    def block_outputs(self, x: Tensor) -> tuple[Tensor, ...]:
        """Output of every block for images (N, C, H, W)."""

    def pool(self, last: Tensor) -> Tensor:
        """What happens to the last block's output before it is flattened to features; nothing by default."""
        return last

    def fuse(self) -> bool:
        """Have our own kernels compute what they can, the same up to rounding.

        For maps on a CPU that lie channels last, and for passes that are differentiated once at most.

        Returns:
            Whether there are any; no by default.
        """
        return False

    def taps(self, x: Tensor) -> Taps:
        """Block outputs, features and logits of images (N, C, H, W), from one pass."""
        blocks = self.block_outputs(x)
        features = self.pool(blocks[-1]).flatten(1)
        return Taps(blocks, features, self.classifier(features))

    def levels(self, x: Tensor) -> tuple[Tensor, ...]:
        """What CAFE aligns of images (N, C, H, W): each block's maps before its pooling, the last pooled, the features.

        Maps are (N, channels, height, width), features (N, F). Where a block does not pool, its maps are its output;
        where nothing pools after the last block, what is pooled and the features repeat its numbers.
        """
        blocks = self.block_outputs(x)
        pooled = self.pool(blocks[-1])
        return (*blocks, pooled, pooled.flatten(1))

    def features(self, x: Tensor) -> Tensor:
        """Features (N, F) of images (N, C, H, W): the input of the classifier."""
        return self.pool(self.block_outputs(x)[-1]).flatten(1)

    def forward(self, x: Tensor, tap: Tap = "logits") -> Any:
        """Logits (N, classes) of images (N, C, H, W), or what ``tap`` asks for."""
        if tap == "taps":
            return self.taps(x)
        if tap == "levels":
            return self.levels(x)
        features = self.features(x)
        return features if tap == "features" else self.classifier(features)


class Convolutional(Network):
    """Blocks of convolutions, one after another; where a block pools, it does so last."""

    blocks: nn.ModuleList

    def block_outputs(self, x: Tensor) -> tuple[Tensor, ...]:
        """Output of every block, (N, channels, height, width)."""
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        return tuple(outputs)

    @override
    def levels(self, x: Tensor) -> tuple[Tensor, ...]:
        levels = []
        for block in cast(Iterable[nn.Sequential], self.blocks):
            pools = isinstance(block[-1], nn.AvgPool2d | nn.MaxPool2d)
            levels.append(block[:-1](x) if pools else block(x))
            x = block[-1](levels[-1]) if pools else levels[-1]
        return (*levels, x, self.pool(x).flatten(1))


def build(config: NetworkConfig, shape: Shape, classes: int) -> Network:
    """Make the network that a configuration describes, by what implements it: called with these three arguments.

    Its weights come from the framework's default initialisation and the *global* generator; runs
    that must be reproducible draw theirs through :class:`ddcore.nets.functional.Functional`.

    Args:
        config: which network.
        shape: channels, height and width of the images, each at least 1.
        classes: number of logits, at least 2.

    Raises:
        ConfigurationError: the images are too small for the network, or nothing builds ``config``.
    """
    if len(shape) != 3 or min(shape) < 1 or classes < 2:
        raise ConfigurationError(
            f"a network needs images of channels x height x width, each at least 1, and 2 or more classes; "
            f"got shape {shape} and {classes} classes"
        )
    built: Network = implementation(config, "ddcore.nets")(config, shape, classes)
    return built


def macs(template: Network) -> int:
    """Multiply-accumulates of one image through a network's convolutions and linear layers."""
    # A real image, since group normalisation of one without data imports the compiler, which takes two seconds.
    copied = copy.deepcopy(template).eval()
    total = 0

    def count(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        total += output[0].numel() * math.prod(cast(Tensor, module.weight).shape[1:])

    for module in copied.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        copied(torch.zeros((1, *template.shape), device=next(copied.parameters()).device))
    return total
