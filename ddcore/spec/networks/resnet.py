"""ResNet-18."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from ddcore.spec.base import NetworkConfig, network_config
from ddcore.spec.layers import Layer, Shape, activation, convolution, linear

STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))
"""Channels and stride of each stage of two basic blocks."""
POOL = 4
"""Window of the last average pooling, or the whole map where that is smaller."""


@network_config
class ResNet18Config(NetworkConfig):
    """ResNet-18 for small images: a 3x3 stem of stride 1 and no first pooling."""

    title: ClassVar[str] = "ResNet-18"
    citation: ClassVar[str] = "He et al., CVPR 2016 (arXiv 1512.03385)"
    cost: ClassVar[str] = "about 11 times ConvNet-3 at 32 pixels"

    name: Literal["resnet18"] = "resnet18"
    norm: Literal["instance", "batch"] = Field("instance", description="Normalisation after each convolution.")
    downsampling: Literal["stride", "pooling"] = Field(
        "stride",
        description="How a stage halves its maps: by convolutions of stride 2, or (`pooling`, the AP variant of the "
        "distillation literature) by average pooling, and then without a last pooling.",
    )

    def layers(self, shape: Shape, classes: int) -> list[Layer]:
        """The stem, four stages of two blocks of two convolutions beside a shortcut, and the classifier."""
        inputs, size = 64, shape[1:]
        found = [*self._convolved(shape[0], inputs, 3, size), activation(inputs, size)]
        for outputs, stride in STAGES:
            for step in (stride, 1):
                found += self._block(inputs, outputs, step, size)
                inputs, size = outputs, self._shrunk(size, step)
        window = (1, 1) if self.downsampling == "pooling" else (min(POOL, size[0]), min(POOL, size[1]))
        return [*found, linear(inputs * (size[0] // window[0]) * (size[1] // window[1]), classes)]

    def _shrunk(self, size: tuple[int, int], stride: int) -> tuple[int, int]:
        if self.downsampling == "pooling":
            return size[0] // stride, size[1] // stride
        return -(-size[0] // stride), -(-size[1] // stride)

    def _convolved(self, inputs: int, outputs: int, kernel: int, size: tuple[int, int]) -> list[Layer]:
        return convolution(inputs, outputs, kernel, size, self.norm, bias=False)

    def _block(self, inputs: int, outputs: int, stride: int, size: tuple[int, int]) -> list[Layer]:
        """Where stages pool, the first convolution and the shortcut still see the larger maps."""
        small = self._shrunk(size, stride)
        first = size if self.downsampling == "pooling" else small
        found = [*self._convolved(inputs, outputs, 3, first), activation(outputs, first)]
        if first != small:
            found.append(activation(outputs, small))
        found += [*self._convolved(outputs, outputs, 3, small), activation(outputs, small)]
        if stride != 1 or inputs != outputs:
            found += self._convolved(inputs, outputs, 1, first)
        return found
