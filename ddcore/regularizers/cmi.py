"""CMI: make each class compact in the feature space of networks trained on the real images.

Zhong et al., "Going Beyond Feature Similarity: Effective Dataset Distillation based on Class-Aware
Conditional Mutual Information", ICLR 2025 (arXiv 2412.09945).
"""

from __future__ import annotations

import torch
from typing_extensions import override

from ddcore.errors import ConfigurationError
from ddcore.information import empirical_cmi
from ddcore.objective import Readings, Regularizer, Step
from ddcore.registry import implements
from ddcore.run import Run
from ddcore.spec import CMIConfig


@implements(CMIConfig)
class CMI(Regularizer[CMIConfig]):
    """Empirical I(S; Z | Y) of the un-augmented synthetic images under one teacher of a pool."""

    def __init__(self, config: CMIConfig, run: Run) -> None:
        super().__init__(config, run)
        for _, detail in config.impossible(run.spec):
            raise ConfigurationError(detail)
        self._pool = run.teachers(config.teacher)

    @override
    def prepare(self) -> None:
        self._pool.prepare()

    @override
    def backward(self, step: Step, weight: float) -> Readings:
        """Go group of classes by group: few graphs are in memory at once, and the sum is exact."""
        synthetic, functional = step.synthetic, self._pool.functional
        params = self._pool.draw(self.run.random.host_stream("cmi/teacher"))
        total = torch.zeros((), device=synthetic.device)
        for classes in synthetic.class_groups(functional.graph_images):
            features = functional.features(params, synthetic.images_of(classes), training=False)
            part = empirical_cmi(features, synthetic.labels_of(classes)) * (len(classes) / synthetic.classes)
            (weight * part).backward()
            total += part.detach()
        return {"loss/cmi": total}
