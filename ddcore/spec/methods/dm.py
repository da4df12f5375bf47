"""Distribution matching. Source: methods/matching, section 4."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from ddcore.spec.base import MethodConfig, method_config


@method_config
class DMConfig(MethodConfig):
    """Match the class means of the embeddings of real and synthetic images under random networks."""

    title: ClassVar[str] = "Distribution matching"
    citation: ClassVar[str] = "Zhao & Bilen, WACV 2023 (arXiv 2110.04181)"
    cost: ClassVar[str] = "light: one forward pass of the real batch a step, no second derivatives"
    samplers: ClassVar[tuple[str, ...]] = ("random", "representative")

    name: Literal["dm"] = "dm"
    iterations: int = Field(20_000, ge=1, le=10_000_000, description="Image steps (paper: 20,000).")
    lr_img: float = Field(
        1.0, gt=0, description="Learning rate of the images; 1 presumes losses summed over features and classes."
    )
    momentum: float = Field(0.5, ge=0, lt=1, description="Momentum of the image optimiser (SGD).")
    batch_real: int = Field(256, ge=1, description="Real images of each class a step; capped at the class size.")
