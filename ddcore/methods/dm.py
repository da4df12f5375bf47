"""DM: match class-mean embeddings under a fresh random network at every step.

Zhao & Bilen, "Dataset Condensation with Distribution Matching", WACV 2023 (arXiv 2110.04181).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from typing_extensions import override

from ddcore.data import augment
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
        real = self._real_means(step)
        loss = torch.zeros((), device=real.device)
        for classes in self._groups(step.synthetic):
            part = mean_embedding_distance(real[classes.start : classes.stop], self._synthetic_means(step, classes))
            part.backward()
            loss += part.detach()
        return {"loss/base": loss}

    @torch.no_grad()
    def _real_means(self, step: MatchingStep) -> Tensor:
        """(C, F) float32 means over each class's real batch, never entering autograd."""
        sizes = [len(rows) for rows in step.rows]
        images = augment.apply_by_class(step.draws, self.run.real_images(torch.cat(step.rows)), sizes)
        features = self.run.functional.features(step.params, images)
        return torch.stack([part.mean(dim=0) for part in features.split(sizes)])

    def _synthetic_means(self, step: MatchingStep, classes: range) -> Tensor:
        """(len(classes), F) means over each class's synthetic images, differentiable to the images."""
        ipc, images = step.synthetic.ipc, step.synthetic.images[step.synthetic.rows(classes)]
        draws = step.draws[classes.start : classes.stop]
        images = augment.apply_by_class(draws, images, [ipc] * len(classes))
        features = self.run.functional.features(step.params, images)
        by_class: Tensor = features.unflatten(0, (len(classes), ipc))
        return by_class.mean(dim=1)

    def _groups(self, synthetic: SyntheticSet) -> Iterator[range]:
        """Groups of classes whose graphs fit into memory together; the sum over them is exact.

        Batch statistics couple the classes (Zhao & Bilen, section 3.3), so such networks take all at once.
        """
        functional = self.run.functional
        return synthetic.class_groups(functional.graph_images if functional.per_sample else len(synthetic))
