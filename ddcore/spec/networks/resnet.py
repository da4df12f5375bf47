"""ResNet-18."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from ddcore.spec.base import NetworkConfig, network_config


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
