"""What the parts of one run share: data, networks, randomness and the way to the outside."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from torch import Generator, Tensor

from ddcore import nets
from ddcore.augment.siamese import Strategy
from ddcore.data.dataset import Dataset
from ddcore.data.sampling import ClassSampler
from ddcore.machine.compute import Compute
from ddcore.nets.functional import Functional, Params
from ddcore.runtime.callback import Callback
from ddcore.runtime.randomness import Randomness
from ddcore.runtime.real_batches import RealBatches
from ddcore.spec import JobSpec, NetworkConfig
from ddcore.synthetic import decoders, initial
from ddcore.synthetic.adam import LearnedByAdamW
from ddcore.synthetic.class_adamw import AdamW
from ddcore.synthetic.class_sgd import Rate
from ddcore.synthetic.decoders import Decoder
from ddcore.synthetic.parameter import Learned, Longest
from ddcore.synthetic.set import SyntheticSet

PIECE = 512
"""Real images that are normalised at a time on their way through a network."""


class Pretrained(Protocol):
    """Networks that a run needs trained before its first step."""

    def bytes_to_come(self) -> int:
        """What they are still going to take, of the cache's disk or of memory."""


@dataclass
class Run:
    """Context of one run; objectives read it and never write to it.

    Attributes:
        spec: what was asked for.
        dataset: real images and their normalisation.
        compute: device, precision and compilation.
        functional: the network that the method matches with.
        strategy: operations of Siamese augmentation; empty for none.
        random: named streams of the run's seed.
        sampler: draws real training rows by class, never those of the probe.
        real_batches: draws the real rows that a matching method compares with; set by :mod:`ddcore.runtime.assembly`.
        pretrained: networks that the run needs trained before, by what tells them apart; kept by
            :func:`ddcore.pretrained.pool.shared`.
        cache: folder shared by jobs for what is trained once; ``None`` keeps nothing.
        callback: observer of the run.
        check_stop: raises ``Interrupted`` when the run has been asked to stop.
        backbones: folder of the weights of networks that others trained; ``None`` where nobody has said.
        fresh: whether it begins; a run that goes on may find what it trained before its interruption.
    """

    spec: JobSpec
    dataset: Dataset
    compute: Compute
    functional: Functional
    strategy: Strategy
    random: Randomness
    sampler: ClassSampler
    cache: Path | None
    callback: Callback
    check_stop: Callable[[], None]
    backbones: Path | None = None
    fresh: bool = True
    real_batches: RealBatches = field(init=False)
    pretrained: dict[Hashable, Pretrained] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._images = self.dataset.train.images.to(self.compute.device)

    @property
    def steps_path(self) -> str:
        """Where in the job the fields of the method stand that takes the steps: of itself, or of the base it stages."""
        method = self.spec.method
        return "method" if method.matcher is method else "method.base"

    def real_images(self, rows: Tensor) -> Tensor:
        """Normalised training images (len(rows), channels, H, W), float32, on the device."""
        return self.dataset.normalize(self._images[rows.to(self._images.device)])

    def pixels(self, rows: Tensor) -> Tensor:
        """The same in pixel units."""
        return self._images[rows.to(self._images.device)].float() / 255

    def real_features(
        self, params: Params, rows: Tensor, *, functional: Functional | None = None, normalize: bool = True
    ) -> Tensor:
        """Features (len(rows), F) float32 of un-augmented training images, in evaluation mode and without autograd.

        Args:
            params: a network.
            rows: int64.
            functional: its architecture; by default the method's.
            normalize: whether the network sees normalised units, or pixel units.
        """
        images = (self.real_images(piece) for piece in rows.split(PIECE))
        seen = images if normalize else (self.dataset.denormalize(piece) for piece in images)
        return (functional or self.functional).features_no_grad(params, seen, training=False)

    def level(self, value: float) -> Tensor:
        """A pixel value, 0 to 1, in normalised units: (channels, 1, 1) on the device."""
        pixel = torch.full((1, self.dataset.shape[0], 1, 1), value)
        return self.dataset.normalize(pixel)[0].to(self.compute.device)

    def network(self, config: NetworkConfig) -> Functional:
        """A functional network of another architecture for this dataset."""
        return Functional(nets.build(config, self.dataset.shape, len(self.dataset.classes)), self.compute)

    def starting_images(self, decoder: Decoder | None = None, rows_per_class: int | None = None) -> Tensor:
        """Rows that ``spec.init`` asks for, ready to be decoded: of real images, or N(0, 1) noise.

        Args:
            decoder: what will decode them; by default the job's.
            rows_per_class: stored rows of each class; by default ``spec.ipc``.
        """
        decoder = decoder or self.decoder()
        generator, count = self.random.host_stream("init"), rows_per_class or self.spec.ipc
        if self.spec.init == "noise":
            shape = (len(self.dataset.classes) * count, *self.dataset.shape)
            return torch.randn(shape, generator=generator).to(self.compute.device)
        rows = self._starting_rows(count * decoder.tiles, generator)
        return decoder.encode(self.real_images(rows), count)

    def _starting_rows(self, count: int, generator: Generator) -> Tensor:
        """Training rows to start from: drawn at random, or central in clusters of one random network's features."""
        if self.spec.init == "real":
            return initial.real_rows(self.dataset.train, count, generator)
        params = self.functional.new(self.random.stream("init/network"))
        return initial.clustered_rows(self.dataset.train, count, generator, partial(self.real_features, params))

    def decoder(self) -> Decoder:
        """The decoder that the job asks for.

        Raises:
            ConfigurationError: it does not fit the images.
        """
        # Tiles that reach over the border show mid-grey; whitened pixels have no such value, but a mean of zero.
        filling = self.level(0.5) if self.dataset.whitening is None else 0.0
        return decoders.build(self.spec.decoder, self.dataset.shape, filling)

    def synthetic_set(
        self,
        lr: float | Callable[[int], float],
        momentum: float,
        *,
        class_steps: bool = False,
        pixel_units: bool = False,
        others: Mapping[str, Learned] | None = None,
        longest: Longest | None = None,
        start: Tensor | None = None,
    ) -> SyntheticSet:
        """The starting images with momentum SGD.

        Args:
            lr: learning rate, or what gives it for so many stored images of a class.
            momentum: 0 to 1.
            class_steps: one step for each class instead of one for all.
            pixel_units: the learning rate is that of images in pixel units. A normalised pixel is one in pixel units
                less the mean over the deviation s of its channel, so its gradient is s times as steep and it has to
                move 1 / s times as far: learning continues in normalised units, at a rate of lr / s^2.
            others: what else is learned, by name.
            longest: limit of a step, see :class:`ddcore.synthetic.parameter.Learned`.
            start: rows to start from; by default those that ``spec.init`` asks for.
        """
        decoder = self.decoder()
        variance = torch.tensor(self.dataset.std).square().view(1, -1, 1, 1).to(self.compute.device)

        def rate(rows: int) -> Rate:
            of_rows = lr(rows) if callable(lr) else lr
            return of_rows / variance if pixel_units else of_rows

        return SyntheticSet(
            self.starting_images(decoder) if start is None else start,
            self.spec.ipc,
            lr=rate,
            momentum=momentum,
            decoder=decoder,
            class_steps=class_steps,
            others=others,
            longest=longest,
        )

    def synthetic_set_by_adamw(self, lr: float, weight_decay: float) -> SyntheticSet:
        """The starting images with AdamW in pixel units, one step for each class.

        A normalised pixel is one in pixel units less the mean over the deviation of its channel: a step in pixel units
        is longer there by that deviation, and the value 0 that weights decay towards is black.

        Args:
            lr: learning rate in pixel units.
            weight_decay: 0 or more.
        """
        decoder = self.decoder()
        unit = torch.tensor(self.dataset.std).view(1, -1, 1, 1).to(self.compute.device)
        rule = AdamW(lr, weight_decay, origin=self.level(0), unit=unit)
        start, ipc = self.starting_images(decoder), self.spec.ipc
        by_class = partial(LearnedByAdamW, classes=len(start) // ipc, rule=rule)
        return SyntheticSet(start, ipc, lr=lr, momentum=0.0, decoder=decoder, learned_by=by_class)
