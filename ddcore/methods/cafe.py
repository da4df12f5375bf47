"""CAFE: align class means at every level of a network in training, and have synthetic centres classify real images.

Wang, Zhao, Peng, Zhu, Yang, Wang, Huang, Bilen, Wang & You, "CAFE: Learning to Condense Dataset by Aligning
Features", CVPR 2022 (arXiv 2203.01531).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from ddcore.augment import siamese
from ddcore.autograd.class_means import ClassMeans, LevelMeans
from ddcore.errors import ConfigurationError
from ddcore.methods.shared.feature_matching import MatchingStep, draw_step
from ddcore.nets.functional import Params
from ddcore.registry import implements
from ddcore.runtime.context import Run
from ddcore.runtime.objective import Method, Readings
from ddcore.spec import CAFEConfig
from ddcore.synthetic.set import SyntheticSet
from ddcore.training.trainer import Recipe, train

LATE_LEVELS = 3
"""Levels of the last block: before its pooling, after it, and the features."""

_SCORING_PIECES = 16


def discrimination(features: Tensor, labels: Tensor, centres: Tensor) -> Tensor:
    """Cross-entropy of telling the class of real images by the synthetic centres, summed over the images.

    Args:
        features: (N, F) of real images.
        labels: int64 (N,).
        centres: (C, F) class means of synthetic features; the logits are plain inner products with them.

    Returns:
        Scalar, in nats; the published weight presumes the sum, not a mean.
    """
    return F.cross_entropy(features @ centres.T, labels, reduction="sum")


class Watch:
    """The last few query accuracies of a network, 0 to 1, by which CAFE decides what comes next.

    >>> watch = Watch(size=2, leak=0.1)
    >>> watch.spread
    >>> watch.add(0.5), watch.add(0.5)
    (None, None)
    >>> watch.accuracies, round(watch.spread, 3)
    ([0.5, 0.55], 0.05)

    Args:
        size: how many are compared.
        leak: share of the one before that each of them contains besides.
    """

    def __init__(self, size: int, leak: float) -> None:
        self._leak = leak
        self._signal: deque[float] = deque(maxlen=size)

    def add(self, accuracy: float) -> None:
        """Append an accuracy; the oldest is dropped where there are more than ``size``."""
        before = self._signal[-1] if self._signal else 0.0
        self._signal.append(accuracy + self._leak * before)

    @property
    def spread(self) -> float | None:
        """Largest minus smallest accuracy, or ``None`` while there are too few."""
        if len(self._signal) < (self._signal.maxlen or 0):
            return None
        return max(self._signal) - min(self._signal)

    @property
    def accuracies(self) -> list[float]:
        """Those compared, oldest first, with what leaked into them."""
        return list(self._signal)

    def restore(self, accuracies: Sequence[float]) -> None:
        """Go on from saved ones."""
        self._signal.clear()
        self._signal.extend(accuracies)


@implements(CAFEConfig)
class CAFE(Method[CAFEConfig, MatchingStep]):
    """Alignment of features, with as many image steps and as much training of each network as its accuracy asks for.

    A step of the run is an image step. A query follows it: the accuracy of the network on real images. Once the
    last of these differ little the network is replaced; otherwise it is trained on the synthetic images, with a
    query after each epoch, until those have moved. Where a run stands is therefore state: the network, the number
    of those before it, of image steps with it, and its last query accuracies.
    """

    def __init__(self, config: CAFEConfig, run: Run) -> None:
        super().__init__(config, run)
        if not run.functional.per_sample:
            raise ConfigurationError(
                "`cafe` takes classes one by one, but the batch normalisation of its network mixes them; set another "
                "`network.norm`, or use the `convnet` network"
            )
        self._class_means = ClassMeans(run.functional)
        self._networks = 0
        self._image_steps = 0
        self._watch = self._new_watch()

    @override
    def start(self) -> SyntheticSet:
        self._params = self.run.functional.new(self.run.random.stream("method/network"))
        return self.run.synthetic_set(lr=self.config.lr_img, momentum=self.config.momentum)

    @override
    def draw(self, index: int, synthetic: SyntheticSet) -> MatchingStep:
        fresh = self._image_steps == 0
        if fresh:
            self.run.functional.init_(self._params, self.run.random.stream("method/network"))
        synthetic.learned["images"].lr = self.config.learning_rate(self._networks)
        return draw_step(self.run, index, synthetic, self._params, self.config.batch_real, fresh_network=fresh)

    @override
    def backward(self, step: MatchingStep) -> Readings:
        """L = sum_l w_l |m(h_l(R)) - m(h_l(S))|^2 + w sum_i CE(<h(R_i), m_k(h(S))>_k, y_i), class means m, features h.

        The last term needs the centres of all classes before the slope of any is known. So they are computed without
        a graph first; the slope of L in every mean, a constant then, is taken through one group of classes after
        another. The real images' own classification, which the released code adds to L, has no slope in S.
        """
        synthetic = self._synthetic_means(step)
        real, classification, pull = self._compare_real(step, synthetic[-1])
        alignment = torch.zeros((), device=step.synthetic.device)
        slopes = []
        for weight, mean, target in zip(self._weights(len(real)), synthetic, real, strict=True):
            difference = mean - target
            alignment += weight * difference.square().sum()
            slopes.append(2 * weight * difference)
        slopes[-1] += self.config.weight_discrimination * pull
        for classes in self._groups(step):
            means = self._means_of(step, classes).levels
            torch.autograd.backward(means, [slope[classes.start : classes.stop] for slope in slopes])
        return {
            "loss/base": alignment + self.config.weight_discrimination * classification,
            "cafe/alignment": alignment,
            "cafe/discrimination": classification,
        }

    @override
    def advance(self, step: MatchingStep) -> None:
        self._image_steps += 1
        self._watch.add(self._query(step.params))
        spread = self._watch.spread
        settled = spread is not None and spread < self.config.lambda_1
        if settled or self._image_steps == self.config.max_image_steps:
            self._networks += 1
            self._image_steps = 0
            self._watch = self._new_watch()
        else:
            self._train(step)

    @override
    def finished(self) -> bool:
        return self._networks == self.config.networks

    @torch.no_grad()
    def _synthetic_means(self, step: MatchingStep) -> list[Tensor]:
        """Class means (C, F_l) of the synthetic images at each level, without a graph."""
        groups = [self._means_of(step, classes).levels for classes in self._groups(step)]
        return [torch.cat(level) for level in zip(*groups, strict=True)]

    def _compare_real(self, step: MatchingStep, centres: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Class means of real images at each level, how badly the centres classify them, and its slope in the centres.

        The real images pass without a graph, and no more of them at a time than one pass takes, or one class.
        """
        centres = centres.detach().requires_grad_()
        total, pull = torch.zeros((), device=centres.device), torch.zeros_like(centres)
        groups = []
        together = max(1, self.run.functional.piece // max(len(rows) for rows in step.rows))
        for first in range(0, step.synthetic.classes, together):
            rows, draws = step.rows[first : first + together], step.draws[first : first + together]
            sizes = [len(of_class) for of_class in rows]
            with torch.no_grad():
                images = siamese.apply_by_class(draws, self.run.real_images(torch.cat(rows)), sizes)
                means = self._class_means(step.params, images, sizes)
            groups.append(means.levels)
            loss = discrimination(means.features, self._labels(sizes, first), centres)
            total += loss.detach()
            pull += torch.autograd.grad(loss, centres)[0]
        return [torch.cat(level) for level in zip(*groups, strict=True)], total, pull

    def _means_of(self, step: MatchingStep, classes: range) -> LevelMeans:
        """Class means of augmented synthetic images, differentiable to what is stored of them."""
        sizes = [step.synthetic.per_class] * len(classes)
        return self._class_means(step.params, step.synthetic_images(classes), sizes)

    def _groups(self, step: MatchingStep) -> Iterator[range]:
        """As many classes as one pass takes, at least one: their graphs are in memory at once."""
        return step.synthetic.class_groups(self.run.functional.grad_piece)

    def _weights(self, levels: int) -> list[float]:
        """Weight of each level: the last block counts for more."""
        early, late = self.config.weight_early, self.config.weight_late
        return [early] * (levels - LATE_LEVELS) + [late] * LATE_LEVELS

    def _labels(self, sizes: Sequence[int], first: int = 0) -> Tensor:
        """Labels of class after class from ``first`` on, (sum of sizes,) int64."""
        labels = torch.arange(first, first + len(sizes)).repeat_interleave(torch.tensor(sizes))
        return labels.to(self.run.compute.device)

    def _train(self, step: MatchingStep) -> None:
        """Train the network on the synthetic images, with plain SGD, until its query accuracy has moved."""
        images, watch = step.synthetic.images.detach(), self._new_watch()
        recipe = Recipe(
            epochs=1,
            lr=self.config.lr_net,
            momentum=0.0,
            weight_decay=0.0,
            batch_size=self.config.batch_train,
            strategy=self.run.strategy,
        )
        generator = self.run.random.host_stream("method/train")
        for _ in range(self.config.max_network_epochs):
            train(self.run.functional, step.params, images, step.synthetic.labels, recipe, generator)
            watch.add(self._query(step.params))
            if watch.spread is not None and watch.spread > self.config.lambda_2:
                break

    @torch.no_grad()
    def _query(self, params: Params) -> float:
        """Mean over the classes of the share of newly drawn real images that are classified correctly, 0 to 1."""
        rows = self.run.sampler.draw_each(self.config.query_images, self.run.random.host_stream("method/query"))
        sizes = [len(of_class) for of_class in rows]
        parts = torch.cat(rows).split(self.run.functional.piece * _SCORING_PIECES)
        predicted = [self.run.functional.logits(params, self.run.real_images(part)).argmax(dim=1) for part in parts]
        correct = (torch.cat(predicted) == self._labels(sizes)).float()
        return float(torch.stack([of_class.mean() for of_class in correct.split(sizes)]).mean())

    def _new_watch(self) -> Watch:
        leak = 1 / len(self.run.dataset.classes) if self.config.leaky else 0.0
        return Watch(self.config.window, leak)

    @override
    def state(self) -> dict[str, Tensor]:
        position = torch.tensor([self._networks, self._image_steps])
        accuracies = torch.tensor(self._watch.accuracies, dtype=torch.float64)
        params = {f"network/{name}": tensor for name, tensor in self._params.items()}
        return {"position": position, "accuracies": accuracies, **params}

    @override
    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self._networks, self._image_steps = state["position"].tolist()
        self._watch.restore(state["accuracies"].tolist())
        for name, tensor in self._params.items():
            tensor.copy_(state[f"network/{name}"])
