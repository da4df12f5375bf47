"""ConvNet, the network of the dataset-distillation literature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from ddcore.spec.base import NetworkConfig, network_config
from ddcore.spec.layers import Layer, Shape, padded, stacked

Norm = Literal["instance", "batch", "layer", "group", "none"]


@network_config
class ConvNetConfig(NetworkConfig):
    """Blocks of 3x3 convolution, normalisation, activation and 2x2 pooling, then one linear layer."""

    title: ClassVar[str] = "ConvNet"
    citation: ClassVar[str] = "Gidaris & Komodakis, CVPR 2018 (arXiv 1804.09458)"
    cost: ClassVar[str] = "light"
    smoke: ClassVar[Mapping[str, Any]] = {"width": 4, "depth": 2}

    name: Literal["convnet"] = "convnet"
    depth: int | None = Field(
        None,
        ge=1,
        le=8,
        description="Number of blocks. Default: 3 up to 32 pixels, one more for every doubling above, "
        "fewer where the image is too small to be halved that often.",
    )
    width: int = Field(128, ge=1, le=4096, description="Channels of every block.")
    norm: Norm = Field("instance", description="Normalisation after each convolution.")
    activation: Literal["relu", "sigmoid", "leaky_relu", "swish"] = Field("relu", description="Activation.")
    pooling: Literal["avg", "max", "none"] = Field("avg", description="Pooling after each activation.")

    def depth_for(self, size: int) -> int:
        """Blocks used on square images of ``size`` pixels.

        >>> [ConvNetConfig().depth_for(s) for s in (8, 28, 32, 64, 128)]
        [2, 3, 3, 4, 5]
        """
        if self.depth is not None:
            return self.depth
        halvings = max(1, size.bit_length() - 2)
        return min(halvings, max(3, size.bit_length() - 3))

    @override
    def resolved(self, shape: tuple[int, int, int]) -> ConvNetConfig:
        """With the number of blocks that images of this shape go through.

        >>> ConvNetConfig().resolved((1, 8, 8)).depth
        2
        """
        return self.model_copy(update={"depth": self.depth_for(min(shape[1:]))})

    def layers(self, shape: Shape, classes: int) -> list[Layer]:
        """Blocks of one width and the classifier."""
        depth = self.depth_for(min(padded(shape)))
        return stacked(shape, classes, [(self.width, 3, self.pooling != "none")] * depth, self.norm)
