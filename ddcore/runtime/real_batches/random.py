"""Batches drawn at random, as every matching method but DREAM draws them."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from ddcore.nets.functional import Params
from ddcore.registry import implements
from ddcore.runtime.context import Run
from ddcore.runtime.real_batches import RealBatches
from ddcore.spec import RandomSamplerConfig


@implements(RandomSamplerConfig)
class RandomBatches(RealBatches):
    """Uniform and without replacement, anew at every step."""

    def __init__(self, config: RandomSamplerConfig, run: Run) -> None:
        self.config = config
        self._run = run

    @override
    def rows(self, index: int, params: Params, batch: int) -> list[Tensor]:
        return self._run.sampler.draw_each(batch, self._run.random.host_stream("method/real"))
