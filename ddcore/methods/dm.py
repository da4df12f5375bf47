"""DM: match class-mean embeddings under a fresh random network at every step.

Zhao & Bilen, "Dataset Condensation with Distribution Matching", WACV 2023 (arXiv 2110.04181).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from typing_extensions import override

from ddcore.methods.matching import MatchingStep, draw_step
from ddcore.objective import Method, Readings
from ddcore.registry import implements
from ddcore.spec import DMConfig
from ddcore.synthetic import SyntheticSet


def mean_embedding_distance(real: Tensor, synthetic: Tensor) -> Tensor:
    """Squared distance of mean embeddings, summed over dimensions (and classes, where batched).

    Args:
        real: (..., F) class means of real embeddings.
        synthetic: (..., F) class means of synthetic embeddings.

    Returns:
        Scalar ``sum (real - synthetic)^2``; the published learning rate presumes the sum, not a mean.
    """
    return (real - synthetic).square().sum()


@implements(DMConfig)
class DM(Method[DMConfig, MatchingStep]):
    """Distribution matching."""

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
        for classes in self._groups(step.synthetic):
            real = step.real_means[classes.start : classes.stop]
            part = mean_embedding_distance(real, step.synthetic_features(classes).mean(dim=1))
            part.backward()
            loss += part.detach()
        return {"loss/base": loss}

    def _groups(self, synthetic: SyntheticSet) -> Iterator[range]:
        """Groups of classes whose graphs fit into memory together; the sum over them is exact.

        Batch statistics couple the classes (Zhao & Bilen, section 3.3), so such networks take all at once.
        """
        functional = self.run.functional
        return synthetic.class_groups(functional.graph_images if functional.per_sample else len(synthetic))
