"""DM: match class-mean embeddings under a fresh random network at every step.

Zhao & Bilen, "Dataset Condensation with Distribution Matching", WACV 2023 (arXiv 2110.04181).
"""

from __future__ import annotations

import torch
from typing_extensions import override

from ddcore.methods.shared.feature_matching import MatchingStep, draw_step, feature_distance, require_spread
from ddcore.registry import implements
from ddcore.runtime.context import Run
from ddcore.runtime.objective import Method, Readings
from ddcore.spec import DMConfig
from ddcore.synthetic.set import SyntheticSet


@implements(DMConfig)
class DM(Method[DMConfig, MatchingStep]):
    """Distribution matching."""

    def __init__(self, config: DMConfig, run: Run) -> None:
        super().__init__(config, run)
        self._distance = feature_distance(config.distance)
        if config.distance != "mean":
            require_spread(config.name, run, config.batch_real)

    @override
    def start(self) -> SyntheticSet:
        self._params = self.run.functional.new(self.run.random.stream("method/network"))
        return self.run.synthetic_set(lr=self.config.lr_img, momentum=self.config.momentum)

    @override
    def draw(self, index: int, synthetic: SyntheticSet) -> MatchingStep:
        self.run.functional.init_(self._params, self.run.random.stream("method/network"))
        return draw_step(self.run, index, synthetic, self._params, self.config.batch_real)

    @override
    def backward(self, step: MatchingStep) -> Readings:
        loss = torch.zeros((), device=step.synthetic.device)
        for classes in step.class_groups():
            part = self._distance(step, classes, step.synthetic_features(classes))
            part.backward()
            loss += part.detach()
        return {"loss/base": loss}
