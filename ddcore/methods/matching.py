"""What methods share that compare real and synthetic images under one network and one augmentation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ddcore.data import augment
from ddcore.nets.functional import Params
from ddcore.objective import Step
from ddcore.run import Run
from ddcore.synthetic import SyntheticSet


@dataclass(frozen=True)
class MatchingStep(Step):
    """A network, a real batch of each class, and one augmentation for each class.

    Regularisers that compare the two sides find here what the method compares.

    Attributes:
        run: whose real images, and whose network, these are.
        params: the network that both sides pass through.
        rows: training rows of each class, int64.
        draws: the transformation of each class, shared by its real and synthetic images.
    """

    run: Run
    params: Params
    rows: tuple[Tensor, ...]
    draws: tuple[augment.Draw, ...]

    @cached_property
    def real_features(self) -> tuple[Tensor, ...]:
        """Features (batch, F) float32 of each class's augmented real batch: computed once, never in a graph."""
        sizes = [len(rows) for rows in self.rows]
        with torch.no_grad():
            images = augment.apply_by_class(self.draws, self.run.real_images(torch.cat(self.rows)), sizes)
            features: tuple[Tensor, ...] = self.run.functional.features(self.params, images).split(sizes)
        return features

    @cached_property
    def real_means(self) -> Tensor:
        """(C, F) class means of the real features."""
        return torch.stack([features.mean(dim=0) for features in self.real_features])

    def synthetic_features(self, classes: range) -> Tensor:
        """Features (len(classes), per_class, F) of augmented synthetic images, differentiable to what is stored."""
        images = self.synthetic_images(classes)
        features: Tensor = self.run.functional.features(self.params, images).unflatten(0, (len(classes), -1))
        return features

    def synthetic_images(self, classes: range) -> Tensor:
        """Augmented synthetic images (len(classes) * per_class, channels, H, W), differentiable likewise."""
        sizes = [self.synthetic.per_class] * len(classes)
        draws = self.draws[classes.start : classes.stop]
        return augment.apply_by_class(draws, self.synthetic.images_of(classes), sizes)


def draw_step(
    run: Run, index: int, synthetic: SyntheticSet, params: Params, batch_real: int, *, fresh_network: bool = True
) -> MatchingStep:
    """Draw the real batches and the augmentations of a step, class by class.

    Args:
        run: its sampler, strategy and streams.
        index: of the step.
        synthetic: what is being learned.
        params: the network of the step.
        batch_real: real images of each class; capped at the class size.
        fresh_network: whether that network is another one than in the step before.
    """
    rows = run.sampler.draw_each(batch_real, run.random.host_stream("method/real"))
    generator = run.random.host_stream("method/augment")
    draws = tuple(augment.draw(run.strategy, None, run.dataset.shape, generator) for _ in range(synthetic.classes))
    return MatchingStep(index, synthetic, run, params, tuple(rows), draws, fresh_network=fresh_network)
