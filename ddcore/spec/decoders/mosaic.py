"""Images stored as tiles of one (multi-formation)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from ddcore.spec.base import DecoderConfig, decoder_config


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

    @property
    def tiles(self) -> int:
        """Images that each stored one is made of at the start."""
        return self.factor**2

    def images_seen(self, ipc: int, shape: tuple[int, int, int], classes: int) -> int:
        """All, but where they are bounded: then each stored one is cut as finely as leaves room for one of the others.

        >>> MosaicConfig(factor=3, scales="bound").images_seen(50, (3, 32, 32), 10)
        128
        """
        if self.scales != "bound":
            return super().images_seen(ipc, shape, classes)
        left, spare = ipc, max(0, self.bound - ipc)
        for factor in range(self.factor, 1, -1):
            cut = min(left, spare // (factor**2 - 1))
            left, spare = left - cut, spare - cut * (factor**2 - 1)
        return max(ipc, self.bound) - spare

    @property
    def views(self) -> int:
        """Images that come out of each stored one."""
        return sum(f**2 for f in range(1, self.factor + 1)) if self.scales == "multi" else self.factor**2
