"""Several small images in the place of one (multi-formation)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from ddcore.errors import ConfigurationError
from ddcore.registry import implements
from ddcore.spec import MosaicConfig
from ddcore.spec.base import Shrink
from ddcore.spec.decoders.mosaic import bounded_cuts
from ddcore.synthetic.decoders.decoder import Decoder


class Mosaic(Decoder):
    """Every stored image is a mosaic of factor x factor small ones, each enlarged to full size.

    As in IDC (Kim et al., ICML 2022, arXiv 2205.14959; condense.py of its code, which is
    github.com/snu-mllab/Efficient-Dataset-Condensation) and IDM (Zhao et al., CVPR 2023, arXiv 2307.09742).

    Tiles are taken row by row. Enlarging is bilinear without aligned corners. So is shrinking, by two the exact mean of
    2 x 2 pixels, as in IDM; or it takes the nearest pixel, as the code of IDC does. Where the factor does not divide a
    side, the last tiles reach over the border and are filled up.

    Args:
        factor: tiles along a side.
        shape: (channels, height, width) of an image.
        filling: what lies beyond the right and the lower border: (channels, 1, 1), or one value.

    Raises:
        ConfigurationError: a tile would show less than 2 x 2 pixels of the stored image.

    Attributes:
        shrink: how :meth:`encode` makes images smaller.
    """

    shrink: Shrink = "bilinear"

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
                corners = False if self.shrink == "bilinear" else None
                small = F.interpolate(of_tile[:, i, j].flatten(0, 1), size, mode=self.shrink, align_corners=corners)
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
    """Every stored image is seen whole, in 2 x 2 tiles, and so on to factor x factor (``multi`` in IDC's code)."""

    def __init__(self, factor: int, shape: tuple[int, int, int], filling: Tensor | float = 0.0) -> None:
        super().__init__(factor, shape, filling)
        self.views = sum(f**2 for f in range(1, factor + 1))

    @override
    def plan(self, rows: int) -> list[tuple[int, slice]]:
        return [(f, slice(rows)) for f in range(1, self.factor + 1)]


class BoundedMosaic(Mosaic):
    """A mosaic of which fewer images are made while it is learned: see :func:`bounded_cuts`.

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
        planned, first = [], 0
        for factor, count in bounded_cuts(rows, self.factor, self._bound):
            if count:
                planned.append((factor, slice(first, first + count)))
            first += count
        return planned


@implements(MosaicConfig)
def mosaic(config: MosaicConfig, shape: tuple[int, int, int], filling: Tensor | float) -> Mosaic:
    """The mosaic with the scales that a job asks for."""
    made: dict[str, Callable[[], Mosaic]] = {
        "single": lambda: Mosaic(config.factor, shape, filling),
        "multi": lambda: MultiScaleMosaic(config.factor, shape, filling),
        "bound": lambda: BoundedMosaic(config.factor, shape, filling, bound=config.bound),
    }
    decoder = made[config.scales]()
    decoder.shrink = config.shrink
    return decoder


def _spans(side: int, factor: int) -> list[range]:
    """Pixels of a side that each tile along it shows; the last show fewer where the factor does not divide it."""
    size = -(-side // factor)
    return [range(size * k, min(size * (k + 1), side)) for k in range(factor)]


def _cuts(factor: int, height: int, width: int) -> bool:
    return all(len(span) >= 2 for side in (height, width) for span in _spans(side, factor))
