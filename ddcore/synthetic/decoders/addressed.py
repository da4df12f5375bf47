"""Images as mixtures of shared bases (addressable memory)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from ddcore.errors import ConfigurationError
from ddcore.spec import AddressedConfig
from ddcore.synthetic.decoders.decoder import Decoder
from ddcore.synthetic.parameter import Learned


class Addressed(Decoder):
    """Every image is a linear mixture of small bases, enlarged to full size (Deng & Russakovsky 2022, section 3).

    Rows are coefficients, ordered by class; bases belong to all classes. Enlarging and shrinking are bilinear
    without aligned corners.

    Args:
        bases: (n, C, h, w), learned beside the rows.
        shape: (channels, height, width) of an image.
    """

    def __init__(self, bases: Learned, shape: tuple[int, int, int]) -> None:
        self.learned = {"bases": bases}
        self._shape = shape

    @staticmethod
    def base_shape(config: AddressedConfig, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """(channels, h, w) of a base.

        Raises:
            ConfigurationError: the factor does not divide the size of the images.
        """
        channels, height, width = shape
        if height % config.factor or width % config.factor:
            fitting = [f for f in range(1, 9) if height % f == 0 and width % f == 0]
            raise ConfigurationError(
                f"`decoder.factor` is {config.factor}, which does not divide {height} x {width} images; "
                f"choose one of {', '.join(map(str, fitting))}"
            )
        return channels, height // config.factor, width // config.factor

    @staticmethod
    def shrink(images: Tensor, shape: tuple[int, int, int]) -> Tensor:
        """Images at the size of bases of a shape."""
        return F.interpolate(images, size=shape[1:], mode="bilinear", align_corners=False)

    @property
    def _bases(self) -> Tensor:
        return self.learned["bases"].value

    @override
    def decode(self, stored: Tensor, rows: int) -> Tensor:
        small = (stored @ self._bases.flatten(1)).view(-1, *self._bases.shape[1:])
        return F.interpolate(small, size=self._shape[1:], mode="bilinear", align_corners=False)

    @override
    @torch.no_grad()
    def encode(self, images: Tensor, rows: int) -> Tensor:
        """The mixtures nearest to the shrunk images, by least squares."""
        channels, height, width = self._bases.shape[1:]
        small = self.shrink(images, (channels, height, width)).flatten(1)
        inverse: Tensor = torch.linalg.pinv(self._bases.flatten(1).double())
        return (small.double() @ inverse).float()

    @override
    def row_shape(self, shape: tuple[int, int, int]) -> tuple[int, ...]:
        return (len(self._bases),)

    @override
    def parts(self, stored: Tensor) -> dict[str, Tensor]:
        return {"coefficients": stored.detach(), "bases": self._bases.detach()}
