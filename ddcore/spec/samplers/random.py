"""Real batches at random."""

from __future__ import annotations

from typing import ClassVar, Literal

from ddcore.spec.base import SamplerConfig, sampler_config


@sampler_config
class RandomSamplerConfig(SamplerConfig):
    """The real batch of a class is drawn uniformly and anew at every step."""

    classes_apart: ClassVar[bool] = True
    title: ClassVar[str] = "Random batches"
    citation: ClassVar[str] = "every matching method but DREAM"
    cost: ClassVar[str] = "free"

    name: Literal["random"] = "random"
