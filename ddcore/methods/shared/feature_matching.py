"""What methods share that compare real and synthetic images under one network and one augmentation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ddcore.augment import siamese
from ddcore.errors import ConfigurationError
from ddcore.formulas.feature_distances import TRADE_OFF, Moments, mean_embedding_distance, printed_risk, released_risk
from ddcore.nets.functional import Params
from ddcore.runtime.context import Run
from ddcore.runtime.objective import Step
from ddcore.spec.methods.dm import FeatureComparison
from ddcore.spec.regularizers.bacon import spread_of_one
from ddcore.synthetic.set import SyntheticSet

Drawing = Callable[[siamese.Strategy, int | None, tuple[int, int, int], torch.Generator], siamese.Draw]
"""How operations are combined: :func:`siamese.draw` or :func:`siamese.draw_stacked`."""


@dataclass(frozen=True)
class MatchingStep(Step):
    """A network, a real batch of each class, and one augmentation for each class.

    Regularisers that compare the two sides find here what the method compares. Of the real images, which may be
    whole classes, only a group of classes is in memory at a time.

    Attributes:
        run: whose real images, and whose network, these are.
        params: the network that both sides pass through.
        rows: training rows of each class, int64.
        draws: the transformation of each class, shared by its real and synthetic images.
        training: whether batch normalisation takes the statistics of its batch, which is then that of all classes,
            and not the running ones. Other networks ignore it.
        picks: (C, n) int64, which of each class's synthetic images take part; ``None`` for all.
    """

    run: Run
    params: Params
    rows: tuple[Tensor, ...]
    draws: tuple[siamese.Draw, ...]
    training: bool = True
    picks: Tensor | None = None

    @cached_property
    def real_features(self) -> tuple[Tensor, ...]:
        """Features (batch, F) float32 of each class's augmented real batch: computed once, never in a graph."""
        return tuple(features for classes in self._real_groups() for features in self._pass_real(classes))

    @cached_property
    def real_moments(self) -> Moments:
        """Mean and deviation (C, F) of each class's real features, which are not kept unless a regulariser reads them.

        At 5,000 images a class and 2,048 features, 10 classes would be 410 MB.
        """
        moments = [
            Moments.of(features) for classes in self._real_groups() for features in self.real_features_of(classes)
        ]
        return Moments(*map(torch.stack, zip(*moments, strict=True)))

    @property
    def real_means(self) -> Tensor:
        """(C, F) class means of the real features."""
        return self.real_moments.mean

    def real_features_of(self, classes: range) -> tuple[Tensor, ...]:
        """Some of ``real_features``: from there if a regulariser reads them too, else computed for the caller alone."""
        if self._coupled or any(config.compares_features for config in self.run.spec.regularizers):
            return self.real_features[classes.start : classes.stop]
        return self._pass_real(classes)

    def synthetic_features(self, classes: range) -> Tensor:
        """Features (len(classes), n, F) of augmented synthetic images, differentiable to what is stored."""
        images = self.synthetic_images(classes)
        features = self.run.functional.features(self.params, images, training=self.training)
        by_class: Tensor = features.unflatten(0, (len(classes), -1))
        return by_class

    def synthetic_images(self, classes: range) -> Tensor:
        """Augmented synthetic images (len(classes) * n, channels, H, W), differentiable likewise."""
        images = self.picked_images(classes)
        sizes = [len(images) // len(classes)] * len(classes)
        return siamese.apply_by_class(self.draws[classes.start : classes.stop], images, sizes)

    def picked_images(self, classes: range) -> Tensor:
        """The same before augmentation: the images of these classes that take part."""
        images = self.synthetic.images_of(classes)
        if self.picks is None:
            return images
        picks = self.picks[classes.start : classes.stop].to(images.device)
        first = torch.arange(len(classes), device=images.device).unsqueeze(1) * self.synthetic.per_class
        return images[(first + picks).flatten()]

    def class_groups(self) -> Iterator[range]:
        """Groups of classes whose synthetic graphs fit into memory together; sums over them are exact.

        Batch statistics couple the classes, so such networks take all at once, as DM's released main_DM.py does.
        """
        together = len(self.synthetic) if self._coupled else self.run.functional.graph_images
        return self.synthetic.class_groups(together)

    def moving_of(self, label: int) -> Tensor | None:
        """(n,) bool on the CPU: which of a class's images that take part are being learned; ``None`` for all."""
        if not self.synthetic.live.start:
            return None
        first = label * self.synthetic.per_class
        moving = self.synthetic.moving[first : first + self.synthetic.per_class]
        return moving if self.picks is None else moving[self.picks[label]]

    @property
    def _coupled(self) -> bool:
        """Whether one image's features depend on the others of its batch."""
        return self.training and not self.run.functional.per_sample

    def _real_groups(self) -> Iterator[range]:
        """Groups of classes whose real images pass together."""
        classes = len(self.rows)
        size = self.run.functional.graph_images // max(len(rows) for rows in self.rows)
        size = classes if self._coupled else max(1, size)
        for first in range(0, classes, size):
            yield range(first, min(first + size, classes))

    @torch.no_grad()
    def _pass_real(self, classes: range) -> tuple[Tensor, ...]:
        rows = self.rows[classes.start : classes.stop]
        sizes = [len(of_class) for of_class in rows]
        images = self.run.real_images(torch.cat(rows))
        images = siamese.apply_by_class(self.draws[classes.start : classes.stop], images, sizes)
        features = self.run.functional.features(self.params, images, training=self.training)
        return tuple(features.split(sizes))


def draw_step(
    run: Run,
    index: int,
    synthetic: SyntheticSet,
    params: Params,
    batch_real: int,
    *,
    training: bool = True,
    fresh_network: bool = True,
    batch_syn: int | None = None,
    draw: Drawing = siamese.draw,
) -> MatchingStep:
    """Draw the real batches and the augmentations of a step, class by class.

    Args:
        run: its real batches, strategy and streams.
        index: of the step.
        synthetic: what is being learned.
        params: the network of the step.
        batch_real: real images of each class; capped at the class size.
        training: whether batch normalisation takes the statistics of its batch.
        fresh_network: whether that network is another one than in the step before.
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
    return MatchingStep(
        index,
        synthetic,
        run,
        params,
        tuple(rows),
        draws,
        training=training,
        picks=picks,
        fresh_network=fresh_network,
    )


FeatureDistance = Callable[[MatchingStep, range, Tensor], Tensor]
"""Distance of consecutive classes, summed over them, from the step, the classes and ``synthetic_features`` of these."""


def feature_distance(comparison: FeatureComparison, trade_off: float = TRADE_OFF) -> FeatureDistance:
    """The distance that a configuration names.

    Args:
        comparison: how the features of a class are compared.
        trade_off: lambda of BACON.
    """

    def mean(step: MatchingStep, classes: range, features: Tensor) -> Tensor:
        return mean_embedding_distance(step.real_means[classes.start : classes.stop], features.mean(dim=1))

    def bacon(step: MatchingStep, classes: range, features: Tensor) -> Tensor:
        moments = Moments(*(moment[classes.start : classes.stop] for moment in step.real_moments))
        return released_risk(moments, features.mean(dim=1)).total(trade_off)

    def bacon_paper(step: MatchingStep, classes: range, features: Tensor) -> Tensor:
        total = torch.zeros((), device=features.device)
        for label, of_class in zip(classes, features, strict=True):
            (real,) = step.real_features_of(range(label, label + 1))
            total = total + printed_risk(real, of_class).total(trade_off)
        return total

    distances: Mapping[FeatureComparison, FeatureDistance] = {"mean": mean, "bacon": bacon, "bacon_paper": bacon_paper}
    return distances[comparison]


def require_spread(name: str, run: Run, batch_real: int) -> None:
    """Refuse a distance that divides by the deviation of real features where a class has a single real image.

    Args:
        name: of the method or regulariser.
        run: its sampler knows how many images of each class can be drawn.
        batch_real: real images of each class a step.

    Raises:
        ConfigurationError: a batch of some class would hold one image.
    """
    if batch_real < 2:
        raise ConfigurationError(spread_of_one(name, batch_real))
    if 1 in run.sampler.counts:
        label = run.dataset.classes[run.sampler.counts.index(1)]
        raise ConfigurationError(
            f"`{name}` measures the spread of the real features of a class, but class '{label}' of {run.dataset.name} "
            "has a single training image beside those of the probe; use another method or add images"
        )
