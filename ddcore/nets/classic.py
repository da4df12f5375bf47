"""MLP, LeNet, AlexNet and VGG-11 as in networks.py of github.com/VICO-UoE/DatasetCondensation.

Images of 1 x 28 x 28 are padded to 32 x 32 by the first convolution, as in the published code.
"""

from __future__ import annotations

from torch import Tensor, nn

from ddcore.errors import ConfigurationError
from ddcore.nets.network import Convolutional, Network, Shape
from ddcore.nets.normalization import normalization
from ddcore.registry import implements
from ddcore.spec import AlexNetConfig, LeNetConfig, MLPConfig, VGG11Config
from ddcore.spec.networks.classic import ALEXNET_LAYERS, VGG11_STAGES


@implements(MLPConfig)
class MLP(Network):
    """Two hidden layers on the flattened image; its blocks are the layers, as maps of one pixel."""

    def __init__(self, config: MLPConfig, shape: Shape, classes: int) -> None:
        super().__init__(shape, classes)
        channels, height, width = shape
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(inputs, config.width), nn.ReLU())
            for inputs in (channels * height * width, config.width)
        )
        self.classifier = nn.Linear(config.width, classes)

    def block_outputs(self, x: Tensor) -> tuple[Tensor, ...]:
        """Output of both hidden layers, (N, width, 1, 1)."""
        x = x.flatten(1)
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x[:, :, None, None])
        return tuple(outputs)


@implements(LeNetConfig)
class LeNet(Convolutional):
    """LeNet-5 with ReLU and max pooling; its features are the 84 units before the classifier.

    Raises:
        ConfigurationError: images of less than 16 pixels, of which nothing would be left.
    """

    def __init__(self, _: LeNetConfig, shape: Shape, classes: int) -> None:
        super().__init__(shape, classes)
        _check_size("LeNet", shape, 16)
        padding = _padding_to_32(shape)
        self.blocks = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(shape[0], 6, 5, padding=padding), nn.ReLU(), nn.MaxPool2d(2)),
                nn.Sequential(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
            ]
        )
        height, width = (((side + 2 * padding - 4) // 2 - 4) // 2 for side in shape[1:])
        self.hidden = nn.Sequential(nn.Linear(16 * height * width, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU())
        self.classifier = nn.Linear(84, classes)

    def pool(self, last: Tensor) -> Tensor:
        """The two hidden layers, (N, 84)."""
        hidden: Tensor = self.hidden(last.flatten(1))
        return hidden


@implements(AlexNetConfig)
class AlexNet(Convolutional):
    """AlexNet for small images: five convolutions, three of them followed by max pooling.

    Raises:
        ConfigurationError: images of less than 8 pixels.
    """

    def __init__(self, config: AlexNetConfig, shape: Shape, classes: int) -> None:
        super().__init__(shape, classes)
        _check_size("AlexNet", shape, 8)
        extra = _padding_to_32(shape)
        height, width = (side + 2 * extra for side in shape[1:])
        channels = shape[0]
        blocks: list[nn.Module] = []
        for outputs, kernel, pooled in ALEXNET_LAYERS:
            padding = kernel // 2 if blocks else kernel // 2 + extra
            layers = [
                nn.Conv2d(channels, outputs, kernel, padding=padding),
                normalization(config.norm, outputs, height, width),
                nn.ReLU(),
            ]
            if pooled:
                layers.append(nn.MaxPool2d(2))
                height, width = height // 2, width // 2
            blocks.append(nn.Sequential(*layers))
            channels = outputs
        self.blocks = nn.ModuleList(blocks)
        self.classifier = nn.Linear(channels * height * width, classes)


@implements(VGG11Config)
class VGG11(Convolutional):
    """VGG-11 with one linear layer; its blocks are the five stages, each of which ends in max pooling.

    Raises:
        ConfigurationError: images of less than 32 pixels, which cannot be halved five times.
    """

    def __init__(self, config: VGG11Config, shape: Shape, classes: int) -> None:
        super().__init__(shape, classes)
        extra = _padding_to_32(shape)
        if not extra:
            _check_size("VGG-11", shape, 32)
        height, width = (side + 2 * extra for side in shape[1:])
        channels = shape[0]
        stages: list[nn.Module] = []
        for stage in VGG11_STAGES:
            layers: list[nn.Module] = []
            for outputs in stage:
                padding = 1 if stages else 1 + extra
                layers += [
                    nn.Conv2d(channels, outputs, 3, padding=padding),
                    normalization(config.norm, outputs, height, width),
                    nn.ReLU(),
                ]
                channels = outputs
            stages.append(nn.Sequential(*layers, nn.MaxPool2d(2)))
            height, width = height // 2, width // 2
        self.blocks = nn.ModuleList(stages)
        self.classifier = nn.Linear(channels * height * width, classes)


def _padding_to_32(shape: Shape) -> int:
    """Pixels that the first convolution adds on each side of its usual padding."""
    return 2 if shape == (1, 28, 28) else 0


def _check_size(title: str, shape: Shape, smallest: int) -> None:
    _, height, width = shape
    if min(height, width) < smallest:
        raise ConfigurationError(
            f"{title} halves its images until nothing is left of {height} x {width} pixels; use images of at least "
            f"{smallest} x {smallest}, or the `convnet` or `mlp` network"
        )
