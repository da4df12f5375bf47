"""IDM and BACON: match features under networks in training, and have these classify the synthetic images.

Zhao, Li, Qin & Yu, "Improved Distribution Matching for Dataset Condensation", CVPR 2023 (arXiv 2307.09742);
Zhou et al., "BACON: Bayesian Optimal Condensation Framework for Dataset Distillation", 2024 (arXiv 2406.01112).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from ddcore.methods.shared.feature_matching import (
    FeatureDistance,
    MatchingStep,
    draw_step,
    feature_distance,
    require_spread,
)
from ddcore.methods.shared.network_queue import NetworkQueue
from ddcore.registry import implements
from ddcore.runtime.context import Run
from ddcore.runtime.objective import Method, Readings
from ddcore.spec import BACONConfig, IDMConfig, QueueMatchingConfig
from ddcore.synthetic.set import SyntheticSet

C = TypeVar("C", bound=QueueMatchingConfig)


class QueueMatching(Method[C, MatchingStep]):
    """Feature matching under one network of a queue a step, with an optimiser step for each class.

    For each class, with the network f of accuracy a percent, the augmentation A and the decoder P:
    L_c = distance(f(A(R_c)), f(A(P(S_c)))) + w a CE(classifier(f(A(P(S_c)))), c). Then a few networks of the queue
    are trained on real images. One pass serves both terms, since logits are the classifier of the features.

    Networks are matched in evaluation mode: batch normalisation uses the running statistics of their training.
    """

    def __init__(self, config: C, run: Run) -> None:
        super().__init__(config, run)
        if config.comparison != "mean":
            require_spread(config.name, run, config.batch_real)
        self._distance = self._feature_distance()

    def _feature_distance(self) -> FeatureDistance:
        return feature_distance(self.config.comparison)

    @override
    def start(self) -> SyntheticSet:
        config = self.config
        self._queue = NetworkQueue(
            self.run.functional,
            config.queue_size,
            lr=config.lr_net,
            momentum=config.momentum_net,
            weight_decay=config.weight_decay,
        )
        for _ in range(config.queue_start):
            self._queue.push(self.run.random.stream("method/network"))
        return self.run.synthetic_set(lr=config.lr_img, momentum=config.momentum, class_steps=True)

    @override
    def draw(self, index: int, synthetic: SyntheticSet) -> MatchingStep:
        config, random = self.config, self.run.random
        if index and index % config.eval_interval == 0:
            self._queue.reset_meters()
        if index % config.grow_every == 0:
            self._queue.push(random.stream("method/network"))
        (self._matched,) = self._queue.pick(1, random.host_stream("method/match"))
        return draw_step(self.run, index, synthetic, self._matched.params, config.batch_real, training=False)

    @override
    def backward(self, step: MatchingStep) -> Readings:
        """sum_c L_c, group of classes by group: the losses of different classes share no image."""
        accuracy = self._matched.accuracy
        loss = torch.zeros((), device=step.synthetic.device)
        misfit = torch.zeros_like(loss)
        for classes in step.class_groups():
            features = step.synthetic_features(classes)
            cross_entropy = self._cross_entropy(step, classes, features)
            part = self._distance(step, classes, features) + self.config.ce_weight * accuracy * cross_entropy
            part.backward()
            loss += part.detach()
            misfit += cross_entropy.detach()
        return {"loss/base": loss, "loss/cross_entropy": misfit, "queue/accuracy": accuracy}

    @override
    def advance(self, step: MatchingStep) -> None:
        """Train some networks of the queue, the matched one possibly among them, on real images of mixed classes."""
        for network in self._queue.pick(self.config.networks_trained, self.run.random.host_stream("method/train")):
            self._queue.train(network, self._real_batches())

    def _cross_entropy(self, step: MatchingStep, classes: range, features: Tensor) -> Tensor:
        """Sum over classes of the mean cross-entropy of their images, in nats."""
        classifier = (step.params["classifier.weight"], step.params["classifier.bias"])
        labels = step.synthetic.labels_of(classes)
        return F.cross_entropy(F.linear(features.flatten(0, 1), *classifier), labels) * len(classes)

    def _real_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels of one network's training after one step, un-augmented."""
        run, generator = self.run, self.run.random.host_stream("method/train")
        for _ in range(self.config.network_steps):
            rows = run.sampler.draw_mixed(self.config.batch_train, generator)
            images = run.real_images(rows)
            yield images, run.dataset.train.labels[rows].to(images.device)

    @override
    def state(self) -> dict[str, Tensor]:
        return self._queue.state()

    @override
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self._queue.load_state(state)


@implements(IDMConfig)
class IDM(QueueMatching[IDMConfig]):
    """Matching of class means."""


@implements(BACONConfig)
class BACON(QueueMatching[BACONConfig]):
    """A bound on the Bayesian risk in place of the distance of the class means."""

    @override
    def _feature_distance(self) -> FeatureDistance:
        return feature_distance(self.config.comparison, self.config.trade_off)
