"""How stored images become the images that networks train on."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from ddcore.spec.base import DecoderConfig, decoder_config


@decoder_config
class IdentityConfig(DecoderConfig):
    """Stored images are trained on as they are."""

    title: ClassVar[str] = "None"
    citation: ClassVar[str] = "as in most methods, from Wang et al., Dataset Distillation (arXiv 1811.10959), on"
    cost: ClassVar[str] = "none"

    name: Literal["identity"] = "identity"


@decoder_config
class MosaicConfig(DecoderConfig):
    """Each stored image is cut into factor x factor tiles, and each tile is enlarged to an image of full size."""

    title: ClassVar[str] = "Multi-formation"
    citation: ClassVar[str] = "Kim et al., IDC, ICML 2022 (arXiv 2205.14959); Zhao et al., IDM, CVPR 2023"
    cost: ClassVar[str] = "factor squared times as many synthetic images in every pass"

    name: Literal["mosaic"] = "mosaic"
    factor: int = Field(2, ge=2, le=8, description="Tiles along a side; must divide the height and the width.")

    @property
    def views(self) -> int:
        """Images that come out of each stored one."""
        return self.factor**2
