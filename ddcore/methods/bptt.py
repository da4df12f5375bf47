"""BPTT: a network that was trained on the synthetic images should do well on the real ones, and nothing else.

Deng & Russakovsky, "Remember the Past: Distilling Datasets into Addressable Memories for Neural Networks", NeurIPS
2022 (arXiv 2206.02916).
"""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from ddcore.augment import siamese
from ddcore.autograd.adjoint import InnerSGD
from ddcore.autograd.gradients import Gradients
from ddcore.errors import ConfigurationError
from ddcore.methods.shared.student_training import (
    QueryStep,
    check_classes_per_step,
    drawn_classes,
    drawn_rows,
    query_step,
    training_on,
)
from ddcore.registry import implements
from ddcore.runtime.context import Run
from ddcore.runtime.objective import Method, Readings
from ddcore.spec import AddressedConfig, BPTTConfig
from ddcore.synthetic.decoders import Addressed, Decoder
from ddcore.synthetic.initial import small_uniform
from ddcore.synthetic.parameter import Learned
from ddcore.synthetic.set import SyntheticSet


@implements(BPTTConfig)
class BPTT(Method[BPTTConfig, QueryStep]):
    """Back-propagation through the training of a fresh network, to its loss on real images.

    One augmentation is drawn for an image step and shared by all training steps and the real images.
    """

    def __init__(self, config: BPTTConfig, run: Run) -> None:
        super().__init__(config, run)
        self._classes = len(run.dataset.classes)
        check_classes_per_step(config.classes_per_step, run)
        self._gradients = Gradients(run.functional, training=True)
        self._rows = self._stored_rows()

    @override
    def start(self) -> SyntheticSet:
        decoder = self._decoder()
        return SyntheticSet(
            self._start(decoder),
            self._rows,
            lr=self.config.lr_img,
            momentum=self.config.momentum,
            decoder=decoder,
            max_norm=self.config.max_norm,
        )

    @override
    def draw(self, index: int, synthetic: SyntheticSet) -> QueryStep:
        run, config = self.run, self.config
        classes = self._classes_of_step()
        generator, size = run.random.host_stream("method/batches"), synthetic.per_class
        rows = [drawn_rows(classes, size, config.batch_syn, generator) for _ in range(config.student_steps)]
        drawn = siamese.draw(run.strategy, None, run.dataset.shape, run.random.host_stream("method/augment"))
        real = run.sampler.draw_each(config.batch_real, run.random.host_stream("method/real"))
        training = InnerSGD(
            self._gradients,
            training_on(rows, [drawn] * config.student_steps),
            config.student_steps,
            config.inner_lr,
            config.inner_momentum,
            window=config.window,
        )
        return query_step(run, index, synthetic, training, torch.cat([real[label] for label in classes]), drawn)

    @override
    def backward(self, step: QueryStep) -> Readings:
        loss, final = self._gradients.loss_and_gradient(step.student, step.real, step.real_labels)
        step.pull_back(final)
        if not self.config.penalty:
            return {"loss/base": loss}
        norm = torch.linalg.vector_norm(step.synthetic.stored, ord=1 if self.config.penalty_norm == "l1" else 2)
        penalty = self.config.penalty * norm
        penalty.backward()
        return {"loss/base": loss + penalty.detach(), "penalty": penalty.detach()}

    def _classes_of_step(self) -> list[int]:
        wanted = self.config.classes_per_step
        if wanted is None:
            return list(range(self._classes))
        return drawn_classes(self._classes, wanted, self.run.random.host_stream("method/classes"))

    def _stored_rows(self) -> int:
        """Stored rows of each class.

        Raises:
            ConfigurationError: the bases leave no room for them, or there are too few real images to start from.
        """
        run, decoder = self.run, self.run.spec.decoder
        if not isinstance(decoder, AddressedConfig):
            return run.spec.ipc
        shortfall = decoder.shortfall(run.spec.ipc, run.dataset.shape, self._classes)
        if shortfall is not None:
            raise ConfigurationError(shortfall)
        rows = decoder.images_per_class(run.spec.ipc, run.dataset.shape, self._classes)
        smallest = min(run.dataset.class_counts)
        if run.spec.init == "real" and rows > smallest:
            raise ConfigurationError(
                f"`ipc` is {run.spec.ipc}, mixed into {rows} images of each class, but the smallest class has "
                f"{smallest} training images and `init` is 'real'; use `init`: 'noise'"
            )
        return rows

    def _decoder(self) -> Decoder:
        run, config = self.run, self.run.spec.decoder
        if not isinstance(config, AddressedConfig):
            return run.decoder()
        shape = Addressed.base_shape(config, run.dataset.shape)
        generator = run.random.host_stream("method/bases")
        if run.spec.init == "real":
            rows = torch.randint(len(run.dataset.train), (config.bases,), generator=generator)
            bases = Addressed.shrink(run.real_images(rows), shape)
        else:
            bases = small_uniform(config.bases, shape, generator).to(run.compute.device)
        learned = Learned(bases, lr=self.config.lr_img, momentum=self.config.momentum)
        return Addressed(learned, run.dataset.shape)

    def _start(self, decoder: Decoder) -> Tensor:
        """Stored rows to start from: of real images, or small noise."""
        run = self.run
        if run.spec.init == "real":
            return run.starting_images(decoder, self._rows)
        shape = decoder.row_shape(run.dataset.shape)
        return small_uniform(self._classes * self._rows, shape, run.random.host_stream("init")).to(run.compute.device)
