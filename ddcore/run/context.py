"""What the parts of one run share: data, networks, randomness and the way to the outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ddcore import nets
from ddcore.augment.siamese import Strategy
from ddcore.data.dataset import Dataset, ImageSet
from ddcore.data.sampling import ClassSampler
from ddcore.formulas import selection
from ddcore.machine.compute import Compute
from ddcore.nets.functional import Functional, Params
from ddcore.pretrained.experts import Experts
from ddcore.pretrained.stage_networks import Starts
from ddcore.pretrained.teachers import TeacherPool
from ddcore.run import real_batches
from ddcore.run.callback import Callback
from ddcore.run.randomness import Randomness
from ddcore.run.real_batches import RealBatches
from ddcore.spec import ExpertsConfig, JobSpec, NetworkConfig, TeacherConfig
from ddcore.synthetic import decoders
from ddcore.synthetic.class_sgd import Rate
from ddcore.synthetic.decoders import Decoder
from ddcore.synthetic.parameter import Learned
from ddcore.synthetic.set import SyntheticSet, real_rows

PIECE = 512
"""Real images that are normalised at a time on their way through a network."""


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
        real_batches: draws the real rows that a matching method compares with.
        cache: folder shared by jobs for what is trained once; ``None`` keeps nothing.
        callback: observer of the run.
        check_stop: raises ``Interrupted`` when the run has been asked to stop.
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
    fresh: bool = True
    real_batches: RealBatches = field(init=False)
    _pools: dict[TeacherConfig, TeacherPool] = field(default_factory=dict)
    _experts: list[Experts] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._images = self.dataset.train.images.to(self.compute.device)
        self.real_batches = real_batches.build(self.spec.sampler, self)

    def real_images(self, rows: Tensor) -> Tensor:
        """Normalised training images (len(rows), channels, H, W), float32, on the device."""
        return self.dataset.normalize(self._images[rows.to(self._images.device)])

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

    def teachers(self, config: TeacherConfig) -> TeacherPool:
        """The pool of teachers of a configuration, one object however often it is asked for.

        Raises:
            ConfigurationError: it does not fit on the disk or into the memory, beside the other pools of the run.
        """
        if config not in self._pools:
            pool = TeacherPool(config, self)
            pool.check_room(beside=self._bytes_to_come())
            self._pools[config] = pool
        return self._pools[config]

    def experts(self, config: ExpertsConfig, epochs: int, starts: Starts | None = None) -> Experts:
        """Experts of a configuration, as far as epoch ``epochs``, fresh or from where others have arrived.

        Raises:
            ConfigurationError: as for :meth:`teachers`.
        """
        experts = Experts(config, epochs, self, starts)
        experts.check_room(beside=self._bytes_to_come())
        self._experts.append(experts)
        return experts

    def _bytes_to_come(self) -> int:
        """What networks that have not been trained yet are going to take, of the cache's disk or of memory."""
        teachers = sum(pool.bytes_to_come() for pool in self._pools.values())
        return teachers + sum(experts.bytes_to_come() for experts in self._experts)

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
        rows_of = real_rows if self.spec.init == "real" else self._clustered_rows
        rows = rows_of(self.dataset.train, count * decoder.tiles, generator)
        return decoder.encode(self.real_images(rows), count)

    def _clustered_rows(self, train: ImageSet, count: int, generator: torch.Generator) -> Tensor:
        """Rows of the images nearest to the centroids of ``count`` clusters of each class (DREAM's start).

        Clusters are those of the features of one random network.
        """
        params, labels, kept = self.functional.new(self.random.stream("init/network")), train.labels.cpu(), []
        for label in range(len(train.classes)):
            rows = (labels == label).nonzero().flatten()
            kept.append(rows[selection.k_means(self.real_features(params, rows), count, generator)])
        return torch.cat(kept)

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
        """
        decoder = self.decoder()
        variance = torch.tensor(self.dataset.std).square().view(1, -1, 1, 1).to(self.compute.device)

        def rate(rows: int) -> Rate:
            of_rows = lr(rows) if callable(lr) else lr
            return of_rows / variance if pixel_units else of_rows

        return SyntheticSet(
            self.starting_images(decoder),
            self.spec.ipc,
            lr=rate,
            momentum=momentum,
            decoder=decoder,
            class_steps=class_steps,
            others=others,
        )
