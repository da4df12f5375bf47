"""How stored rows become the images that networks train on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from ddcore.errors import ConfigurationError
from ddcore.learned import Learned
from ddcore.spec import AddressedConfig, DecoderConfig, IdentityConfig, MosaicConfig


class Decoder(ABC):
    """A differentiable map from stored rows to images, class by class.

    Attributes:
        views: images that come out of each stored row.
        learned: tensors of the decoder itself that are learned beside the rows, by name.
    """

    views: int = 1
    learned: Mapping[str, Learned] = {}

    @abstractmethod
    def decode(self, stored: Tensor, rows: int) -> Tensor:
        """Images of whole classes.

        Args:
            stored: (classes * rows, ...), class-major.
            rows: stored rows of each class.

        Returns:
            (classes * rows * views, C, H, W), class-major; within a class all first views, then all second ones.
        """

    @abstractmethod
    def encode(self, images: Tensor, rows: int) -> Tensor:
        """Stored rows to start from, given images in the order in which :meth:`decode` returns them.

        Args:
            images: (classes * rows * views, C, H, W), class-major.
            rows: stored rows of each class.
        """

    def shown(self, stored: Tensor, rows: int) -> Tensor:
        """What to show of stored rows: the rows themselves where they are images."""
        return self.decode(stored, rows)

    def row_shape(self, shape: tuple[int, int, int]) -> tuple[int, ...]:
        """Shape of a stored row, for images of a shape; rows are images by default."""
        return shape

    def parts(self, stored: Tensor) -> dict[str, Tensor]:  # noqa: ARG002 - for those that have some
        """What a bundle keeps that is no image, by name, in normalised units; nothing by default."""
        return {}


class Identity(Decoder):
    """Every stored row is an image."""

    @override
    def decode(self, stored: Tensor, rows: int) -> Tensor:
        return stored

    @override
    def encode(self, images: Tensor, rows: int) -> Tensor:
        return images


class Mosaic(Decoder):
    """Every stored image is a mosaic of factor x factor small ones, each enlarged to full size (IDM 2; IDC 6.2).

    Tiles are taken row by row. Enlarging and shrinking are bilinear without aligned corners, so that shrinking by
    two is the exact mean of 2 x 2 pixels.

    Args:
        factor: tiles along a side.
        shape: (channels, height, width) of an image; the factor must divide both sides.

    Raises:
        ConfigurationError: the factor does not fit the size.
    """

    def __init__(self, factor: int, shape: tuple[int, int, int]) -> None:
        _, height, width = shape
        if height % factor or width % factor or min(height, width) < 2 * factor:
            fitting = [f for f in range(2, min(height, width) // 2 + 1) if height % f == 0 and width % f == 0]
            raise ConfigurationError(
                f"`decoder.factor` is {factor}, which does not cut {height} x {width} images into equal tiles of at "
                f"least 2 pixels; choose one of {', '.join(map(str, fitting)) or 'none (use no decoder)'}"
            )
        self.factor = factor
        self.views = factor**2
        self._shape = shape

    @override
    def decode(self, stored: Tensor, rows: int) -> Tensor:
        channels, height, width = self._shape
        f = self.factor
        tiles = stored.reshape(-1, rows, channels, f, height // f, f, width // f)
        tiles = tiles.permute(0, 3, 5, 1, 2, 4, 6).reshape(-1, channels, height // f, width // f)
        return F.interpolate(tiles, size=(height, width), mode="bilinear", align_corners=False)

    @override
    def encode(self, images: Tensor, rows: int) -> Tensor:
        channels, height, width = self._shape
        f = self.factor
        tiles = F.interpolate(images, size=(height // f, width // f), mode="bilinear", align_corners=False)
        tiles = tiles.reshape(-1, f, f, rows, channels, height // f, width // f)
        return tiles.permute(0, 3, 4, 1, 5, 2, 6).reshape(-1, channels, height, width)

    @override
    def shown(self, stored: Tensor, rows: int) -> Tensor:
        return stored


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


def build(config: DecoderConfig, shape: tuple[int, int, int]) -> Decoder:
    """The decoder that a job asks for, where it learns nothing itself (:class:`Addressed` is made by its method).

    Args:
        config: which one, and its options.
        shape: (channels, height, width) of an image.

    Raises:
        ConfigurationError: it does not fit the images.
    """
    match config:
        case IdentityConfig():
            return Identity()
        case MosaicConfig():
            return Mosaic(config.factor, shape)
    raise LookupError(f"no decoder implements {type(config).__name__}")
