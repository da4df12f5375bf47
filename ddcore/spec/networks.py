"""Networks that images can be matched, trained and scored with (methods/matching, A1)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from ddcore.spec.base import NetworkConfig, network_config

Norm = Literal["instance", "batch", "layer", "group", "none"]


@network_config
class ConvNetConfig(NetworkConfig):
    """Blocks of 3x3 convolution, normalisation, activation and 2x2 pooling, then one linear layer."""

    title: ClassVar[str] = "ConvNet"
    citation: ClassVar[str] = "Gidaris & Komodakis, CVPR 2018 (arXiv 1804.09458)"
    cost: ClassVar[str] = "light"

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


@network_config
class MLPConfig(NetworkConfig):
    """Two hidden layers of ReLU units on the flattened image."""

    title: ClassVar[str] = "MLP"
    citation: ClassVar[str] = "as evaluated by Zhao et al., ICLR 2021 (arXiv 2006.05929)"
    cost: ClassVar[str] = "a hundredth of ConvNet-3"

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
