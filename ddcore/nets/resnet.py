"""ResNet-18 for small images: a 3x3 stem of stride 1 and no first pooling.

``ResNet18`` in networks.py of github.com/VICO-UoE/DatasetCondensation, after He et al., CVPR 2016 (arXiv 1512.03385).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ddcore.errors import ConfigurationError
from ddcore.nets.network import Network, Shape
from ddcore.nets.normalization import normalization
from ddcore.registry import implements
from ddcore.spec import ResNet18Config
from ddcore.spec.networks import Norm
from ddcore.spec.networks.resnet import POOL, STAGES


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where the shape changes.

    Args:
        norm: normalisation after each convolution, instance or batch.
        inputs: channels.
        outputs: channels.
        stride: by which the maps shrink.
        size: height and width of the output.
        pooled: whether average pooling shrinks the maps after the first convolution, which then has stride 1.
    """

    def __init__(
        self, norm: Norm, inputs: int, outputs: int, stride: int, size: tuple[int, int], *, pooled: bool
    ) -> None:
        super().__init__()
        step = 1 if pooled else stride
        self.shrink = nn.AvgPool2d(stride) if pooled and stride != 1 else nn.Identity()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=step, padding=1, bias=False)
        self.norm1 = normalization(norm, outputs, *size)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = normalization(norm, outputs, *size)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=step, bias=False), self.shrink, normalization(norm, outputs, *size)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        y = self.shrink(F.relu(self.norm1(self.conv1(x))))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


@implements(ResNet18Config)
class ResNet18(Network):
    """ResNet-18 with instance or batch normalisation; its blocks are the four stages.

    Raises:
        ConfigurationError: instance normalisation on images so small that the last maps would be single
            pixels and so always zero; pooling where nothing would be left of the image.
    """

    def __init__(self, config: ResNet18Config, shape: Shape, classes: int) -> None:
        super().__init__(shape, classes)
        channels, height, width = shape
        pooled = config.downsampling == "pooling"
        _check_size(config, height, width)
        self.stem = nn.Sequential(
            nn.Conv2d(channels, 64, 3, padding=1, bias=False),
            normalization(config.norm, 64, height, width),
            nn.ReLU(),
        )
        channels = 64
        stages = []
        for outputs, stride in STAGES:
            height, width = (side // stride if pooled else -(-side // stride) for side in (height, width))
            first = BasicBlock(config.norm, channels, outputs, stride, (height, width), pooled=pooled)
            second = BasicBlock(config.norm, outputs, outputs, 1, (height, width), pooled=pooled)
            stages.append(nn.Sequential(first, second))
            channels = outputs
        self.stages = nn.ModuleList(stages)
        self.window = (1, 1) if pooled else (min(POOL, height), min(POOL, width))
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
        """Average over windows of 4 x 4; nothing where the stages pool."""
        return F.avg_pool2d(last, self.window)


def _check_size(config: ResNet18Config, height: int, width: int) -> None:
    """Refuse images whose last maps would be empty, or single pixels that instance normalisation makes zero."""
    smallest = {("stride", "instance"): 9, ("pooling", "instance"): 16, ("pooling", "batch"): 8}
    least = smallest.get((config.downsampling, config.norm), 1)
    if min(height, width) < least:
        fate = "single pixels, which it would normalise to zero" if config.norm == "instance" else "nothing"
        remedy = ", `norm`: 'batch'" if config.norm == "instance" else ", `downsampling`: 'stride'"
        raise ConfigurationError(
            f"ResNet-18 with {config.norm} normalisation reduces {height} x {width} images to {fate}; use images of "
            f"at least {least} x {least}{remedy}, or the `convnet` network"
        )
