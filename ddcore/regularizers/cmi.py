"""CMI: make each class compact in the feature space of networks trained on the real images.

Zhong et al., "Going Beyond Feature Similarity: Effective Dataset Distillation based on Class-Aware
Conditional Mutual Information", ICLR 2025 (arXiv 2412.09945).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from typing_extensions import override

from ddcore.formulas.information import empirical_cmi
from ddcore.pretrained.teachers import DrawnTeacher
from ddcore.registry import implements
from ddcore.runtime.context import Run
from ddcore.runtime.objective import Readings, Regularizer, Step
from ddcore.spec import CMIConfig


@implements(CMIConfig)
class CMI(Regularizer[CMIConfig]):
    """Empirical I(S; Z | Y) of the un-augmented synthetic images under one teacher of a pool.

    The teacher stays as long as the network of the method does: one step of DM, an outer iteration of DC and DSA.
    """

    def __init__(self, config: CMIConfig, run: Run) -> None:
        super().__init__(config, run)
        self._teacher = DrawnTeacher(config.teacher, run, "cmi/teacher")

    @override
    def prepare(self) -> None:
        self._teacher.prepare()

    @override
    def backward(self, step: Step, weight: float) -> Readings:
        """Go group of classes by group: few graphs are in memory at once, and the sum is exact."""
        synthetic, functional = step.synthetic, self._teacher.functional
        params = self._teacher.params(step)
        total = torch.zeros((), device=synthetic.device)
        for classes in synthetic.class_groups(functional.graph_images):
            features = functional.features(params, synthetic.images_of(classes), training=False)
            part = empirical_cmi(features, synthetic.labels_of(classes)) * (len(classes) / synthetic.classes)
            (weight * part).backward()
            total += part.detach()
        return {"loss/cmi": total}

    @override
    def state(self) -> dict[str, Tensor]:
        return self._teacher.state()

    @override
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self._teacher.load_state(state)
