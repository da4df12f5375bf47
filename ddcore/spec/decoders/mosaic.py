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
        "Default: as in the released code of the method, `nearest` for `idc` and `dream`.",
    )

    def defaults_in(self, job: JobSpec) -> Mapping[str, Any]:
        """The shrinking of the method."""
        return {"shrink": job.method.matcher.shrink}

    @property
    def tiles(self) -> int:
        """Images that each stored one is made of at the start."""
        return self.factor**2

    @property
    def views(self) -> int:
        """Images that come out of each stored one."""
        return sum(f**2 for f in range(1, self.factor + 1)) if self.scales == "multi" else self.factor**2
