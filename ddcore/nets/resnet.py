"""ResNet-18 for small images: a 3x3 stem of stride 1 and no first pooling (methods/matching, A1)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ddcore.errors import ConfigurationError
from ddcore.nets.network import Network, Shape, network
from ddcore.nets.normalization import normalization
from ddcore.spec import ResNet18Config
from ddcore.spec.networks import Norm

STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))
"""Channels and stride of each stage of two basic blocks."""
POOL = 4
"""Window of the last average pooling, or the whole map where that is smaller."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, norm: Norm, inputs: int, outputs: int, stride: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = normalization(norm, outputs, *size)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = normalization(norm, outputs, *size)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), normalization(norm, outputs, *size)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


@network(ResNet18Config)
class ResNet18(Network):
    """ResNet-18 with instance or batch normalisation; its blocks are the four stages.

    Raises:
        ConfigurationError: instance normalisation on images of 8 pixels or less, whose last maps
            would be single pixels and so always zero.
    """

    def __init__(self, config: ResNet18Config, shape: Shape, classes: int) -> None:
        super().__init__(shape, classes)
        channels, height, width = shape
        if config.norm == "instance" and min(height, width) <= 8:
            raise ConfigurationError(
                f"ResNet-18 with instance normalisation reduces {height} x {width} images to single pixels, "
                "which it would normalise to zero; use images of at least 9 x 9, `norm`: 'batch', or the "
                "`convnet` network"
            )
        self.stem = nn.Sequential(
            nn.Conv2d(channels, 64, 3, padding=1, bias=False),
            normalization(config.norm, 64, height, width),
            nn.ReLU(),
        )
        channels = 64
        stages = []
        for outputs, stride in STAGES:
            height, width = -(-height // stride), -(-width // stride)
            first = BasicBlock(config.norm, channels, outputs, stride, (height, width))
            second = BasicBlock(config.norm, outputs, outputs, 1, (height, width))
            stages.append(nn.Sequential(first, second))
            channels = outputs
        self.stages = nn.ModuleList(stages)
        self.window = (min(POOL, height), min(POOL, width))
        self.classifier = nn.Linear(channels * (height // self.window[0]) * (width // self.window[1]), classes)

    def block_outputs(self, x: Tensor) -> tuple[Tensor, ...]:
        """Output of the four stages, (N, 64 … 512, …)."""
        x = self.stem(x)
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return tuple(outputs)

    def pool(self, last: Tensor) -> Tensor:
        """Average over windows of 4 x 4."""
        return F.avg_pool2d(last, self.window)
