"""Batches of images that represent their class.

DREAM: Liu et al., "Efficient Dataset Distillation by Representative Matching", ICCV 2023 (arXiv 2302.14416).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from typing_extensions import override

from ddcore.formulas.selection import nearest_rows, refined
from ddcore.nets.functional import Params
from ddcore.registry import implements
from ddcore.runtime.context import Run
from ddcore.runtime.real_batches import RealBatches
from ddcore.spec import RepresentativeSamplerConfig

LLOYD_STEPS = 5
"""Steps of k-means at each clustering: they start from the representatives of the last one."""


@implements(RepresentativeSamplerConfig)
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
