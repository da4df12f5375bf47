"""Frozen networks that others trained, by files of weights that lie in the folder of an operator."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import Field, model_validator
from typing_extensions import override

from ddcore.spec.base import AnyNetwork, NetworkConfig
from ddcore.spec.errors import Problem
from ddcore.spec.layers import Layer, Shape, linear

USUAL_SIDE = 224
"""Side of the images that a network of timm is taken to see where the job does not say."""
USUAL_PARAMETERS = 25_000_000
"""Parameters of one whose file nobody has looked at yet."""
_SQUARE = 16 * 16
_KEPT = 4000
_DEPTH = 32
_FEATURES = 1024


class BackboneConfig(NetworkConfig):
    """A network whose weights are in a safetensors file, and stay as they are.

    Its cost follows from that of ``network``. Of a network of timm the specification knows the parameters and the size
    of the images alone. By rule each parameter multiplies once for every square of 16 x 16 pixels, and a graph keeps
    4,000 numbers for each square root of the parameters of an image of 224 x 224. Counted in timm 1.0.31, that is 1.0
    to 1.2 times the operations of ResNet-18, ResNet-50, ViT-S/16 and ConvNeXt-T, and 0.9 to 2.4 times their memory;
    EfficientNet-B0 and MobileNetV3-L do a half and a quarter of these operations, and keep 3 and 1.4 times as much.
    """

    name: Literal["backbone"] = "backbone"
    weights: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="Name of a file in the folder of backbones (`DD_BACKBONES_DIR`), without `.safetensors`: tensors "
        "by their names in the network. Weights of its classifier are left aside.",
    )
    network: AnyNetwork | None = Field(None, description="Architecture, where it is one of ours. Give this or `timm`.")
    timm: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="Architecture by its name in timm, such as `resnet18.a1_in1k` (needs `ddservice[zoo]`). Nothing is "
        "fetched: all weights come from the file.",
    )
    size: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Side in pixels of the square images that it sees; others are resized to that (bilinear, "
        "antialiased). Default: as the network of timm was trained, and the size of the dataset for one of ours.",
    )
    mean: tuple[float, ...] | None = Field(
        None,
        min_length=1,
        max_length=3,
        description="Of each channel, what it was trained to see as 0, in pixel units (0 to 1). Default: as the "
        "network of timm was trained, and that of the dataset for one of ours. Three values for a network that takes "
        "colours: grey images are repeated.",
    )
    std: tuple[float, ...] | None = Field(
        None, min_length=1, max_length=3, description="Likewise, the distance from `mean` that it sees as 1."
    )
    sha256: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{64}$",
        description="Of the file, which is refused if it has another. Filled in when a job is submitted or begins.",
    )
    parameters: int | None = Field(
        None, ge=1, description="Weights in the file, for estimates. Filled in from the file likewise."
    )

    @model_validator(mode="after")
    def _one_network(self) -> Self:
        if (self.network is None) == (self.timm is None):
            given = "neither `network` nor `timm`" if self.network is None else "both `network` and `timm`"
            raise ValueError(
                f"a backbone has {given}; give the architecture of the weights once: `network` for one of ours, or "
                "`timm` for a name of timm"
            )
        return self

    @model_validator(mode="after")
    def _normalisation(self) -> Self:
        mean, std = self.mean, self.std
        if (mean is None) != (std is None):
            raise ValueError("`mean` and `std` belong together; give both of them, or neither")
        if mean is None or std is None:
            return self
        if len(mean) != len(std) or len(mean) == 2:
            raise ValueError(
                f"`mean` has {len(mean)} values and `std` has {len(std)}; give one of each for grey images, or three"
            )
        if min(std) <= 0:
            raise ValueError(f"`std` is {list(std)}, but each value must be greater than 0")
        return self

    @override
    def sees(self, shape: Shape) -> Shape:
        """Channels, height and width after images of a shape were made what it takes, as far as the job says."""
        usual = shape[0] if self.network is not None else 3
        channels = usual if self.mean is None else len(self.mean)
        if self.network is not None and self.size is None:
            return channels, *shape[1:]
        side = self.size or USUAL_SIDE
        return channels, side, side

    @override
    def resolved(self, shape: Shape) -> BackboneConfig:
        """With the architecture that images of this shape go through."""
        if self.network is None:
            return self
        return self.model_copy(update={"network": self.network.resolved(self.sees(shape))})

    @override
    def layers(self, shape: Shape, classes: int) -> list[Layer]:
        """The images as it sees them, then the layers of its network, or what the rule makes of one of timm."""
        seen = self.sees(shape)
        first = Layer(0, 0, math.prod(seen))
        if self.network is not None:
            return [first, *self.network.layers(seen, classes)]
        numbers, pixels = self.parameters or USUAL_PARAMETERS, seen[1] * seen[2]
        kept = round(_KEPT * math.sqrt(numbers) * pixels / USUAL_SIDE**2)
        layer = Layer(numbers * pixels // (_SQUARE * _DEPTH), numbers // _DEPTH, max(1, kept // _DEPTH))
        return [first, *[layer] * _DEPTH, linear(_FEATURES, classes)]


def two_networks(place: str) -> Problem:
    """Say that a part of a job describes a teacher although it has a backbone.

    Args:
        place: of the part, as a JSON pointer.
    """
    detail = (
        "`teacher` is described, but `backbone` takes its place, so that it would not be trained; leave one of them out"
    )
    return Problem(f"{place}/teacher", "backbone_beside_teacher", detail)
