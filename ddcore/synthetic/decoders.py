"""How stored rows become the images that networks train on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from ddcore.errors import ConfigurationError
from ddcore.spec import AddressedConfig, DecoderConfig, IdentityConfig, MosaicConfig
from ddcore.synthetic.parameter import Learned


class Decoder(ABC):
    """A differentiable map from stored rows to images, class by class.

    Attributes:
        views: images that come out of each stored row; for a bounded decoder, of the one it is finished with.
        learned: tensors of the decoder itself that are learned beside the rows, by name.
    """

    views: int = 1
    learned: Mapping[str, Learned] = {}

    @property
    def tiles(self) -> int:
        """Images that :meth:`encode` makes each stored row of."""
        return self.views

    @property
    def finished(self) -> Decoder:
        """Decoder of the images that are scored and delivered: this one, but where it saves work while learning."""
        return self

    def count(self, rows: int) -> int:
        """Images that come out of ``rows`` stored rows of one class."""
        return rows * self.views

    def origins(self, rows: int) -> Tensor:
        """Which of a class's stored rows each of its images is made of: (count(rows),) int64, in their order."""
        return torch.arange(rows)

    @abstractmethod
    def decode(self, stored: Tensor, rows: int) -> Tensor:
        """Images of whole classes.

        Args:
            stored: (classes * rows, ...), class-major.
            rows: stored rows of each class.

        Returns:
            (classes * count(rows), C, H, W), class-major; within a class all first views, then all second ones.
        """

    @abstractmethod
    def encode(self, images: Tensor, rows: int) -> Tensor:
        """Stored rows to start from, given images in the order in which :meth:`decode` returns them.

        Args:
            images: (classes * rows * tiles, C, H, W), class-major.
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
    two is the exact mean of 2 x 2 pixels. Where the factor does not divide a side, the last tiles reach over the
    border and are filled up.

    Args:
        factor: tiles along a side.
        shape: (channels, height, width) of an image.
        filling: what lies beyond the right and the lower border: (channels, 1, 1), or one value.

    Raises:
        ConfigurationError: a tile would show less than 2 x 2 pixels of the stored image.
    """

    def __init__(self, factor: int, shape: tuple[int, int, int], filling: Tensor | float = 0.0) -> None:
        height, width = shape[1:]
        if not _cuts(factor, height, width):
            fitting = [f for f in range(2, min(height, width) // 2 + 1) if _cuts(f, height, width)]
            raise ConfigurationError(
                f"`decoder.factor` is {factor}, which does not cut {height} x {width} images into tiles that all show "
                f"2 x 2 pixels or more; choose one of {', '.join(map(str, fitting)) or 'none (use no decoder)'}"
            )
        self.factor = factor
        self.views = factor**2
        self._shape = shape
        self._filling = filling

    @property
    @override
    def tiles(self) -> int:
        return self.factor**2

    @override
    def count(self, rows: int) -> int:
        return sum(factor**2 * len(range(rows)[part]) for factor, part in self.plan(rows))

    @override
    def origins(self, rows: int) -> Tensor:
        return torch.cat([torch.arange(rows)[part].repeat(factor**2) for factor, part in self.plan(rows)])

    def plan(self, rows: int) -> list[tuple[int, slice]]:
        """Which of a class's stored rows are cut by which factor, in the order of the images."""
        return [(self.factor, slice(rows))]

    @override
    def decode(self, stored: Tensor, rows: int) -> Tensor:
        of_class = stored.unflatten(0, (-1, rows))
        return torch.cat([self._enlarged(of_class[:, part], f) for f, part in self.plan(rows)], dim=1).flatten(0, 1)

    @override
    def encode(self, images: Tensor, rows: int) -> Tensor:
        channels, height, width = self._shape
        of_tile = images.unflatten(0, (-1, self.factor, self.factor, rows))
        stored = images.new_empty((len(of_tile), rows, *self._shape))
        for i, vertical in enumerate(_spans(height, self.factor)):
            for j, horizontal in enumerate(_spans(width, self.factor)):
                size = (len(vertical), len(horizontal))
                small = F.interpolate(of_tile[:, i, j].flatten(0, 1), size=size, mode="bilinear", align_corners=False)
                place = stored[..., vertical.start : vertical.stop, horizontal.start : horizontal.stop]
                place.copy_(small.unflatten(0, (-1, rows)))
        return stored.view(-1, channels, height, width)

    @override
    def shown(self, stored: Tensor, rows: int) -> Tensor:
        return stored

    def _enlarged(self, stored: Tensor, f: int) -> Tensor:
        """Views (classes, f * f * rows, C, H, W) of stored images (classes, rows, C, H, W) at one scale."""
        channels, height, width = self._shape
        tall, wide = -(-height // f), -(-width // f)
        tiles = self._padded(stored, tall * f, wide * f).unflatten(4, (f, wide)).unflatten(3, (f, tall))
        tiles = tiles.permute(0, 3, 5, 1, 2, 4, 6).reshape(-1, channels, tall, wide)
        images: Tensor = F.interpolate(tiles, size=(height, width), mode="bilinear", align_corners=False)
        return images.reshape(len(stored), -1, channels, height, width)

    def _padded(self, stored: Tensor, height: int, width: int) -> Tensor:
        if (height, width) == stored.shape[3:]:
            return stored
        canvas = stored.new_empty((*stored.shape[:3], height, width))
        canvas[...] = self._filling
        canvas[..., : stored.shape[3], : stored.shape[4]] = stored
        return canvas


class MultiScaleMosaic(Mosaic):
    """Every stored image is seen whole, in 2 x 2 tiles, and so on to factor x factor (``multi`` of IDC, 6.2)."""

    def __init__(self, factor: int, shape: tuple[int, int, int], filling: Tensor | float = 0.0) -> None:
        super().__init__(factor, shape, filling)
        self.views = sum(f**2 for f in range(1, factor + 1))

    @override
    def plan(self, rows: int) -> list[tuple[int, slice]]:
        return [(f, slice(rows)) for f in range(1, self.factor + 1)]


class BoundedMosaic(Mosaic):
    """A mosaic of which fewer images are made while it is learned (``bound``; Kim et al., ICML 2022).

    As ``decode_zoom_bound`` of their ``condense.py`` splits a class: from the full factor f down to 2, with so many
    images made and so many rows left, (bound - made - left) // f^2 more rows are cut by f; the last are seen whole, so
    that none is left out. Since a row that is cut no longer counts as one image, a few images stay below the bound.

    Args:
        factor: tiles along a side.
        shape: (channels, height, width) of an image.
        filling: as of a :class:`Mosaic`.
        bound: images of a class at most; stored rows beyond it are still seen once each.
    """

    def __init__(
        self, factor: int, shape: tuple[int, int, int], filling: Tensor | float = 0.0, *, bound: int = 128
    ) -> None:
        super().__init__(factor, shape, filling)
        self._bound = bound
        self._whole = Mosaic(factor, shape, filling)

    @property
    @override
    def finished(self) -> Decoder:
        return self._whole

    @override
    def plan(self, rows: int) -> list[tuple[int, slice]]:
        planned, first, made = [], 0, 0
        for factor in range(self.factor, 0, -1):
            left = rows - first
            cut = min(left, max(0, self._bound - made - left) // factor**2) if factor > 1 else left
            planned.append((factor, slice(first, first + cut)))
            first, made = first + cut, made + cut * factor**2
        return [(factor, part) for factor, part in planned if part.start < part.stop]


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


def build(config: DecoderConfig, shape: tuple[int, int, int], filling: Tensor | float = 0.0) -> Decoder:
    """The decoder that a job asks for, where it learns nothing itself (:class:`Addressed` is made by its method).

    Args:
        config: which one, and its options.
        shape: (channels, height, width) of an image.
        filling: of tiles that reach over the border of an image, (channels, 1, 1) or one value.

    Raises:
        ConfigurationError: it does not fit the images.
    """
    match config:
        case IdentityConfig():
            return Identity()
        case MosaicConfig(scales="multi"):
            return MultiScaleMosaic(config.factor, shape, filling)
        case MosaicConfig(scales="bound"):
            return BoundedMosaic(config.factor, shape, filling, bound=config.bound)
        case MosaicConfig():
            return Mosaic(config.factor, shape, filling)
    raise LookupError(f"no decoder implements {type(config).__name__}")


def _spans(side: int, factor: int) -> list[range]:
    """Pixels of a side that each tile along it shows; the last show fewer where the factor does not divide it."""
    size = -(-side // factor)
    return [range(size * k, min(size * (k + 1), side)) for k in range(factor)]


def _cuts(factor: int, height: int, width: int) -> bool:
    return all(len(span) >= 2 for side in (height, width) for span in _spans(side, factor))
