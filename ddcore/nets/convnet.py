"""ConvNet: blocks of 3x3 convolution, normalisation, activation and 2x2 pooling, then one linear layer.

The network of the dataset-distillation literature: ``ConvNet`` in networks.py of
github.com/VICO-UoE/DatasetCondensation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from torch import Tensor, nn
from typing_extensions import override

from ddcore.errors import ConfigurationError
from ddcore.nets.network import Convolutional, Shape
from ddcore.nets.norm_relu_pool import LANES, can_fuse, norm_relu_pool
from ddcore.nets.normalization import normalization
from ddcore.registry import implements
from ddcore.spec import ConvNetConfig


class Block(nn.Sequential):
    """Convolution, normalisation, activation and pooling.

    Attributes:
        fused: whether the last three are one kernel, :mod:`ddcore.nets.norm_relu_pool`.
    """

    fused = False

    @property
    def fusible(self) -> bool:
        """Whether there is a kernel for what follows the convolution."""
        _, norm, activation, pooling = self
        fits = (
            isinstance(norm, nn.GroupNorm) and norm.num_groups == norm.num_channels and norm.num_channels % LANES == 0
        )
        return fits and isinstance(activation, nn.ReLU) and isinstance(pooling, nn.AvgPool2d)

    @override
    def forward(self, x: Tensor) -> Tensor:
        if not self.fused:
            return cast(Tensor, super().forward(x))  # type: ignore[no-untyped-call] # PyTorch's has no types
        norm = cast(nn.GroupNorm, self[1])
        pooled: Tensor = norm_relu_pool(self[0](x), norm.weight, norm.bias, norm.eps)[0]
        return pooled


@implements(ConvNetConfig)
class ConvNet(Convolutional):
    """ConvNet-D of width W on images of ``shape``.

    A one-channel image of 28 x 28 is padded to 32 x 32 by the first convolution (padding 3 instead
    of 1), as in the published code.

    Raises:
        ConfigurationError: the image cannot be halved ``depth`` times.
    """

    def __init__(self, config: ConvNetConfig, shape: Shape, classes: int) -> None:
        super().__init__(shape, classes)
        channels, height, width = shape
        first_padding = 3 if shape == (1, 28, 28) else 1
        height, width = height + 2 * first_padding - 2, width + 2 * first_padding - 2
        depth = _depth(config, height, width)
        blocks = []
        for index in range(depth):
            blocks.append(
                Block(
                    nn.Conv2d(channels, config.width, 3, padding=1 if index else first_padding),
                    normalization(config.norm, config.width, height, width),
                    _activation(config),
                    _pooling(config),
                )
            )
            channels = config.width
            if config.pooling != "none":
                height, width = height // 2, width // 2
        self.blocks = nn.ModuleList(blocks)
        self.classifier = nn.Linear(channels * height * width, classes)

    @override
    def fuse(self) -> bool:
        blocks = list(cast(Iterable[Block], self.blocks))
        fused = all(block.fusible for block in blocks) and can_fuse()
        for block in blocks:
            block.fused = fused
        return fused


def _depth(config: ConvNetConfig, height: int, width: int) -> int:
    side = min(height, width)
    depth = config.depth_for(side)
    largest = side.bit_length() - 1
    if config.pooling != "none" and depth > largest:
        remedy = f"choose a `depth` of 1 to {largest}" if largest else "use larger images or `pooling`: 'none'"
        raise ConfigurationError(
            f"a ConvNet of depth {depth} halves its images {depth} times, but {height} x {width} pixels allow "
            f"{largest}; {remedy}"
        )
    return depth


def _activation(config: ConvNetConfig) -> nn.Module:
    match config.activation:
        case "relu":
            return nn.ReLU()
        case "sigmoid":
            return nn.Sigmoid()
        case "leaky_relu":
            return nn.LeakyReLU(0.01)
        case "swish":
            return nn.SiLU()


def _pooling(config: ConvNetConfig) -> nn.Module:
    match config.pooling:
        case "avg":
            return nn.AvgPool2d(2)
        case "max":
            return nn.MaxPool2d(2)
        case "none":
            return nn.Identity()
