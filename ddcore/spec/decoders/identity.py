"""No decoder."""

from __future__ import annotations

from typing import ClassVar, Literal

from ddcore.spec.base import DecoderConfig, decoder_config


@decoder_config
class IdentityConfig(DecoderConfig):
    """Stored images are trained on as they are."""

    classes_apart: ClassVar[bool] = True
    title: ClassVar[str] = "None"
    citation: ClassVar[str] = "as in most methods, from Wang et al., Dataset Distillation (arXiv 1811.10959), on"
    cost: ClassVar[str] = "none"

    name: Literal["identity"] = "identity"
