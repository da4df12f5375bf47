"""Images stored as tiles of one (multi-formation)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from ddcore.spec.base import DecoderConfig, Shrink, decoder_config

if TYPE_CHECKING:
    from ddcore.spec.job import JobSpec


@decoder_config
class MosaicConfig(DecoderConfig):
    """Each stored image is cut into factor x factor tiles, and each tile is enlarged to an image of full size."""

    classes_apart: ClassVar[bool] = True
    title: ClassVar[str] = "Multi-formation"
    citation: ClassVar[str] = "Kim et al., IDC, ICML 2022 (arXiv 2205.14959); Zhao et al., IDM, CVPR 2023"
    cost: ClassVar[str] = "factor squared times as many synthetic images in every pass"

    name: Literal["mosaic"] = "mosaic"
    factor: int = Field(
        2, ge=2, le=8, description="Tiles along a side; where it does not divide a side, mid-grey fills the last tiles."
    )
    scales: Literal["single", "multi", "bound"] = Field(
        "single",
        description="How stored images are cut: all by `factor` (`single`); each by 1, 2 and so on to `factor` "
        "(`multi`); or `single` in the end, but while it is learned only as many of a class as `bound` allows, the "
        "others by less (`bound`; IDC at 20 or more images a class and factor 3).",
    )
    bound: int = Field(
        128, ge=1, description="With `scales` 'bound': images of a class at most; every stored one is seen in any case."
    )

    shrink: Shrink = Field(
        "bilinear",
        description="How the real images that a set starts from are made as small as tiles: by interpolation, at "
        "factor 2 the mean of 2 x 2 pixels (`bilinear`, IDM), or by taking one pixel of them (`nearest`, IDC). "
        "Default: as in the released code of the method, `nearest` for `idc`, `dream` and `cim`.",
    )

    def defaults_in(self, job: JobSpec) -> Mapping[str, Any]:
        """The shrinking of the method."""
        return {"shrink": job.method.matcher.shrink}

    @property
    def tiles(self) -> int:
        """Images that each stored one is made of at the start."""
        return self.factor**2

    def images_seen(self, ipc: int, shape: tuple[int, int, int], classes: int) -> int:
        """All, but where they are bounded.

        >>> MosaicConfig(factor=3, scales="bound").images_seen(50, (3, 32, 32), 10)
        123
        """
        if self.scales != "bound":
            return super().images_seen(ipc, shape, classes)
        return sum(factor**2 * rows for factor, rows in bounded_cuts(ipc, self.factor, self.bound))

    @property
    def views(self) -> int:
        """Images that come out of each stored one."""
        return sum(f**2 for f in range(1, self.factor + 1)) if self.scales == "multi" else self.factor**2


def bounded_cuts(rows: int, factor: int, bound: int) -> list[tuple[int, int]]:
    """How the stored images of a class are cut where the images made of them are bounded.

    As ``decode_zoom_bound`` in ``condense.py`` of Kim et al. (ICML 2022, arXiv 2205.14959) splits a class: from the
    full factor f down to 2, with so many images made and so many rows left, (bound - made - left) // f^2 more rows are
    cut by f. The last are seen whole, so that none is left out. Since a row that is cut no longer counts as one image,
    a few images stay below the bound.

    Args:
        rows: stored images of the class.
        factor: tiles along a side at most.
        bound: images to be made of them at most, where they are not more themselves.

    Returns:
        Factors, falling to 1, and how many of the next rows are cut by each.

    >>> bounded_cuts(50, 3, 128)
    [(3, 8), (2, 3), (1, 39)]
    """
    cuts, left, made = [], rows, 0
    for tiles in range(factor, 1, -1):
        cut = min(left, max(0, bound - made - left) // tiles**2)
        cuts.append((tiles, cut))
        left, made = left - cut, made + cut * tiles**2
    return [*cuts, (1, left)]
