"""Who draws the real batch of each class that a matching method compares with.

DREAM: Liu et al., "Efficient Dataset Distillation by Representative Matching", ICCV 2023 (arXiv 2302.14416).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from typing_extensions import override

from ddcore.formulas.selection import nearest_rows, refined
from ddcore.nets.functional import Params
from ddcore.run.objective import Stateful
from ddcore.spec import RandomSamplerConfig, RepresentativeSamplerConfig, SamplerConfig

if TYPE_CHECKING:
    from ddcore.run.context import Run

LLOYD_STEPS = 5
"""Steps of k-means at each clustering: they start from the representatives of the last one."""


class RealBatches(Stateful):
    """Draws the real batch of each class, step by step."""

    @abstractmethod
    def rows(self, index: int, params: Params, batch: int) -> list[Tensor]:
        """Training rows of each class, int64, distinct within a class.

        Args:
            index: of the step.
            params: the network of the step.
            batch: rows wanted of each class; capped at the class size.
        """


class RandomBatches(RealBatches):
    """Uniform and without replacement, anew at every step."""

    def __init__(self, run: Run) -> None:
        self._run = run

    @override
    def rows(self, index: int, params: Params, batch: int) -> list[Tensor]:
        return self._run.sampler.draw_each(batch, self._run.random.host_stream("method/real"))


class RepresentativeBatches(RealBatches):
    """The images nearest to the centroids of as many clusters of a class, for ``interval`` steps in a row.

    Clusters are those of the features that the network of the step gives un-augmented images. Each clustering
    starts at the features of the representatives so far, so that few steps of k-means suffice: they follow a network
    that learns or is drawn anew, which centroids of an earlier network's features could not.
    """

    def __init__(self, config: RepresentativeSamplerConfig, run: Run) -> None:
        self.config = config
        self._run = run
        self._rows: list[Tensor] = []

    @override
    def rows(self, index: int, params: Params, batch: int) -> list[Tensor]:
        if index % self.config.interval == 0 or not self._rows:
            self._rows = self._representatives(params, batch)
        return self._rows

    def _representatives(self, params: Params, batch: int) -> list[Tensor]:
        sampler, generator = self._run.sampler, self._run.random.host_stream("method/candidates")
        candidates = sampler.draw_each(max(batch, self.config.candidates or max(sampler.counts)), generator)
        before = self._rows or [rows[:batch] for rows in candidates]
        return [
            rows[self._select(params, rows, start)] if len(rows) > batch else rows
            for rows, start in zip(candidates, before, strict=True)
        ]

    def _select(self, params: Params, rows: Tensor, start: Tensor) -> Tensor:
        """Places in ``rows`` of one image for each row of ``start``."""
        features = self._run.real_features(params, torch.cat([rows, start]), normalize=self.config.normalize)
        features, centroids = features.split([len(rows), len(start)])
        return nearest_rows(features, refined(features, centroids, LLOYD_STEPS))

    @override
    def state(self) -> dict[str, Tensor]:
        return {str(label): rows for label, rows in enumerate(self._rows)}

    @override
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self._rows = [state[str(label)] for label in range(len(state))]


def build(config: SamplerConfig, run: Run) -> RealBatches:
    """The batches that a job asks for."""
    match config:
        case RandomSamplerConfig():
            return RandomBatches(run)
        case RepresentativeSamplerConfig():
            return RepresentativeBatches(config, run)
    raise LookupError(f"no class draws batches for {type(config).__name__}")
