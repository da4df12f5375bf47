"""How stored rows become the images that networks train on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from ddcore.errors import ConfigurationError
from ddcore.learned import Learned
from ddcore.spec import DecoderConfig, IdentityConfig, MosaicConfig


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


def build(config: DecoderConfig, shape: tuple[int, int, int]) -> Decoder:
    """The decoder that a job asks for.

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
