"""Real batches of the images that represent their class (DREAM)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from ddcore.spec.base import SamplerConfig, sampler_config
from ddcore.spec.work import Load


@sampler_config
class RepresentativeSamplerConfig(SamplerConfig):
    """The real batch of a class is made of the images nearest to the centroids of as many clusters of its features."""

    classes_apart: ClassVar[bool] = True
    title: ClassVar[str] = "Representative batches"
    citation: ClassVar[str] = "Liu et al., DREAM, ICCV 2023 (arXiv 2302.14416)"
    cost: ClassVar[str] = "every `interval` steps, one forward pass of `candidates` real images of each class"
    smoke: ClassVar[Mapping[str, Any]] = {"interval": 4, "candidates": 20}

    name: Literal["representative"] = "representative"
    interval: int = Field(10, ge=1, le=100_000, description="Steps between two clusterings (paper: 10).")
    candidates: int | None = Field(
        1000,
        ge=1,
        description="Real images of each class that are clustered, drawn anew each time; null: all, as published.",
    )
    normalize: bool = Field(
        True,
        description="Whether the network that makes the features sees normalised images, as it is trained on; the "
        "released code shows it pixels from 0 to 1.",
    )

    def passes(self, load: Load, batch_real: int) -> float:
        """At every clustering, the candidates of each class and its representatives so far."""
        data = load.data
        drawable = [count - data.probe_images for count in data.counts]
        wanted = max(batch_real, self.candidates or max(drawable))
        clustered = [min(wanted, count) for count in drawable if min(wanted, count) > batch_real]
        return -(-load.steps // self.interval) * float(sum(clustered) + batch_real * len(clustered))
