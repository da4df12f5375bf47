"""DC and DSA: one SGD step on synthetic images should go where one on real images goes, as a network learns.

Zhao, Mopuri & Bilen, "Dataset Condensation with Gradient Matching", ICLR 2021 (arXiv 2006.05929);
Zhao & Bilen, "Dataset Condensation with Differentiable Siamese Augmentation", ICML 2021 (arXiv 2102.08259).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor
from typing_extensions import override

from ddcore.autograd.gradients import Gradients
from ddcore.autograd.second_order import Readout
from ddcore.formulas import gradient_distances
from ddcore.methods.shared.feature_matching import MatchingStep, draw_step
from ddcore.methods.shared.gradient_matching import GradientMatching
from ddcore.registry import implements
from ddcore.runtime.context import Run
from ddcore.spec import DCConfig, DSAConfig, GradientMatchingConfig
from ddcore.synthetic.set import SyntheticSet
from ddcore.training.trainer import Recipe, train

C = TypeVar("C", bound=GradientMatchingConfig)

DISTANCES: Mapping[str, Readout] = {
    "ours": gradient_distances.row_cosine,
    "mse": gradient_distances.squared,
    "cos": gradient_distances.cosine,
}
"""Distances of gradients by the names of the released code."""

WARM_UP = 16
"""Real images of each class whose statistics batch normalisation takes over before it is frozen."""


class AlongTraining(GradientMatching[C]):
    """Gradient matching in all parameters of a network in training on the synthetic images.

    A step of the run is an image step: step ``index`` is image step t = ``index`` mod T of outer iteration
    k = ``index`` // T. At t = 0 the network is drawn anew; after every other step but t = T - 1 it is trained
    on the synthetic images. So the position follows from the number of steps, and a checkpoint adds the network.
    """

    def __init__(self, config: C, run: Run) -> None:
        super().__init__(config, run, Gradients(run.functional), DISTANCES[config.distance])
        self._steps_per_network, self._epochs = config.loops(run.spec.images_per_class)

    @override
    def start(self) -> SyntheticSet:
        self._params = self.run.functional.new(self.run.random.stream("method/network"))
        return self.run.synthetic_set(lr=self.config.lr_img, momentum=self.config.momentum)

    @override
    def draw(self, index: int, synthetic: SyntheticSet) -> MatchingStep:
        fresh = index % self._steps_per_network == 0
        if fresh:
            self._renew(self._params)
        self._warm_up()
        return draw_step(
            self.run,
            index,
            synthetic,
            self._params,
            self.config.batch_real,
            training=False,
            fresh_network=fresh,
        )

    @override
    def advance(self, step: MatchingStep) -> None:
        """Train the network on the synthetic images, with SGD that has neither momentum nor decay."""
        if (step.index + 1) % self._steps_per_network == 0 or self._epochs == 0:
            return
        train(
            self.run.functional,
            step.params,
            step.synthetic.images.detach(),
            step.synthetic.labels,
            Recipe(
                epochs=self._epochs,
                lr=self.config.lr_net,
                momentum=0.0,
                weight_decay=0.0,
                batch_size=self.config.batch_train,
                strategy=self.run.strategy,
            ),
            self.run.random.host_stream("method/train"),
        )

    @torch.no_grad()
    def _warm_up(self) -> None:
        """Give batch normalisation the statistics of real images; matching then leaves it frozen, as published."""
        if self.run.functional.per_sample:
            return
        rows = self.run.sampler.draw_each(WARM_UP, self.run.random.host_stream("method/warm-up"))
        self.run.functional.logits(self._params, self.run.real_images(torch.cat(rows)), training=True)

    @override
    def state(self) -> dict[str, Tensor]:
        return dict(self._params)

    @override
    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        for name, tensor in self._params.items():
            tensor.copy_(state[name])


@implements(DCConfig)
class DC(AlongTraining[DCConfig]):
    """Gradient matching of images as they are."""


@implements(DSAConfig)
class DSA(AlongTraining[DSAConfig]):
    """Gradient matching under one augmentation for each class and step; the network trains on augmented images."""
