"""What methods share that compare real and synthetic images under one network and one augmentation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ddcore.data import augment
from ddcore.nets.functional import Params
from ddcore.objective import Step
from ddcore.run import Run
from ddcore.synthetic import SyntheticSet

Drawing = Callable[[augment.Strategy, int | None, tuple[int, int, int], torch.Generator], augment.Draw]
"""How operations are combined: :func:`augment.draw` or :func:`augment.draw_stacked`."""


@dataclass(frozen=True)
class MatchingStep(Step):
    """A network, a real batch of each class, and one augmentation for each class.

    Regularisers that compare the two sides find here what the method compares.

    Attributes:
        run: whose real images, and whose network, these are.
        params: the network that both sides pass through.
        rows: training rows of each class, int64.
        draws: the transformation of each class, shared by its real and synthetic images.
        picks: (C, n) int64, which of each class's synthetic images take part; ``None`` for all.
    """

    run: Run
    params: Params
    rows: tuple[Tensor, ...]
    draws: tuple[augment.Draw, ...]
    picks: Tensor | None = None

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
        """Features (len(classes), n, F) of augmented synthetic images, differentiable to what is stored."""
        images = self.synthetic_images(classes)
        features: Tensor = self.run.functional.features(self.params, images).unflatten(0, (len(classes), -1))
        return features

    def synthetic_images(self, classes: range) -> Tensor:
        """Augmented synthetic images (len(classes) * n, channels, H, W), differentiable likewise."""
        images = self.picked_images(classes)
        sizes = [len(images) // len(classes)] * len(classes)
        return augment.apply_by_class(self.draws[classes.start : classes.stop], images, sizes)

    def picked_images(self, classes: range) -> Tensor:
        """The same before augmentation: the images of these classes that take part."""
        images = self.synthetic.images_of(classes)
        if self.picks is None:
            return images
        picks = self.picks[classes.start : classes.stop].to(images.device)
        first = torch.arange(len(classes), device=images.device).unsqueeze(1) * self.synthetic.per_class
        return images[(first + picks).flatten()]


def draw_step(
    run: Run,
    index: int,
    synthetic: SyntheticSet,
    params: Params,
    batch_real: int,
    *,
    batch_syn: int | None = None,
    draw: Drawing = augment.draw,
) -> MatchingStep:
    """Draw the real batches and the augmentations of a step, class by class.

    Args:
        run: its real batches, strategy and streams.
        index: of the step.
        synthetic: what is being learned.
        params: the network of the step.
        batch_real: real images of each class; capped at the class size.
        batch_syn: synthetic images of each class, drawn at random where there are more; all by default.
        draw: how the operations of the strategy are combined.
    """
    rows = run.real_batches.rows(index, params, batch_real)
    generator = run.random.host_stream("method/augment")
    draws = tuple(draw(run.strategy, None, run.dataset.shape, generator) for _ in range(synthetic.classes))
    picks = None
    if batch_syn is not None and synthetic.per_class > batch_syn:
        generator = run.random.host_stream("method/synthetic")
        orders = [torch.randperm(synthetic.per_class, generator=generator) for _ in range(synthetic.classes)]
        picks = torch.stack(orders)[:, :batch_syn]
    return MatchingStep(index, synthetic, run, params, tuple(rows), draws, picks)
