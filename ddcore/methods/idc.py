"""IDC: store small images, and match gradients along the training of networks on real images.

Kim et al., "Dataset Condensation via Efficient Synthetic-Data Parameterization", ICML 2022 (arXiv 2205.14959).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor
from typing_extensions import override

from ddcore.augment import siamese
from ddcore.augment.cutmix import cutmix
from ddcore.autograd.gradients import Gradients
from ddcore.autograd.second_order import Readout
from ddcore.errors import ConfigurationError
from ddcore.formulas import gradient_distances
from ddcore.methods.shared.feature_matching import MatchingStep, draw_step
from ddcore.methods.shared.gradient_matching import GradientMatching
from ddcore.registry import implements
from ddcore.runtime.context import Run
from ddcore.spec import IDCConfig
from ddcore.synthetic.set import SyntheticSet
from ddcore.training.sgd_network import Student

C = TypeVar("C", bound=IDCConfig)

DISTANCES: Mapping[str, Readout] = {"mse": gradient_distances.squared, "l1": gradient_distances.absolute}
"""Distances of gradients by the names of the released code."""


class AlongRealTraining(GradientMatching[C]):
    """Gradient matching in the weights of convolutions, along the training of networks on real images.

    A step of the run is a sweep: one optimiser step for each class, all in closed form
    (:mod:`ddcore.synthetic.class_sgd`). Step ``index`` is inner step t = ``index`` mod T of outer iteration
    k = ``index`` // T, T = ``steps_per_network``. At t = 0 the network is drawn anew. After every other step but
    t = T - 1 it takes one pass over some real images. After that last one the synthetic images are clamped to pixel
    values instead, while no class has steps left to take.
    """

    def __init__(self, config: C, run: Run) -> None:
        names = run.functional.convolutions
        if not names:
            raise ConfigurationError(
                f"`{config.name}` matches the gradients of convolutions, and the network '{run.spec.network.name}' has "
                "none; use 'convnet'"
            )
        gradients = Gradients(run.functional, names=names, training=True)
        super().__init__(config, run, gradients, DISTANCES[config.distance])
        self._training_strategy = tuple(op for op in run.strategy if op != "cutout")

    @override
    def start(self) -> SyntheticSet:
        config, run = self.config, self.run
        self._student = Student(
            run.functional,
            run.random.stream("method/network"),
            lr=config.lr_net,
            momentum=config.momentum_net,
            weight_decay=config.weight_decay,
        )
        synthetic = run.synthetic_set(self._rate, config.momentum, class_steps=True, pixel_units=True)
        self._clamp(synthetic)
        return synthetic

    def _rate(self, rows: int) -> float:
        """Learning rate of stored images in pixel units, where so many of a class share its gradient."""
        size = self.run.dataset.shape[1] / self.config.lr_side
        return self.config.lr_img * rows / 10 * size**2

    @override
    def draw(self, index: int, synthetic: SyntheticSet) -> MatchingStep:
        config = self.config
        if index % config.steps_per_network == 0:
            self._renew(self._student.params)
            self._student.rest()
            for _ in range(config.pretrain_epochs):
                self._train(sum(self.run.sampler.counts))
        return draw_step(
            self.run,
            index,
            synthetic,
            self._student.params,
            config.batch_real,
            batch_syn=config.batch_syn,
            draw=siamese.draw_stacked,
        )

    @override
    def advance(self, step: MatchingStep) -> None:
        """Train the network, or clamp the images after its last step."""
        batch = self.config.batch_train
        if (step.index + 1) % self.config.steps_per_network:
            self._train(-(-self.config.train_images // batch) * batch)
        else:
            self._clamp(step.synthetic)

    def _train(self, count: int) -> None:
        """One pass over real images drawn anew, augmented one by one without cutout, and mixed."""
        run, generator = self.run, self.run.random.host_stream("method/train")
        labels, classes = run.dataset.train.labels, len(run.dataset.classes)
        for rows in run.sampler.draw_mixed(count, generator).split(self.config.batch_train):
            drawn = siamese.draw_stacked(self._training_strategy, len(rows), run.dataset.shape, generator)
            images = siamese.apply(drawn, run.real_images(rows))
            expected = labels[rows].to(images.device)
            self._student.learn(*cutmix(images, expected, classes, generator, probability=self.config.cutmix))

    @torch.no_grad()
    def _clamp(self, synthetic: SyntheticSet) -> None:
        """Bring the stored images that are being learned back to pixel values from 0 to 1."""
        synthetic.learned["images"].value.clamp_(self.run.level(0), self.run.level(1))

    @override
    def state(self) -> dict[str, Tensor]:
        return self._student.state()

    @override
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self._student.load_state(state)


@implements(IDCConfig)
class IDC(AlongRealTraining[IDCConfig]):
    """Gradient matching of images decoded from mosaics, with random real batches."""
