"""What the parts of one run share: data, networks, randomness and the way to the outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ddcore import decoders, nets
from ddcore.compute import Compute
from ddcore.data.augment import Strategy
from ddcore.data.images import Dataset
from ddcore.data.sampling import ClassSampler
from ddcore.decoders import Decoder
from ddcore.experts import Experts
from ddcore.hooks import Callback
from ddcore.learned import Learned
from ddcore.nets.functional import Functional
from ddcore.pools import TeacherPool
from ddcore.randomness import Randomness
from ddcore.spec import ExpertsConfig, JobSpec, NetworkConfig, TeacherConfig
from ddcore.synthetic import SyntheticSet, real_rows


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
        cache: folder shared by jobs for what is trained once; ``None`` keeps nothing.
        callback: observer of the run.
        check_stop: raises ``Interrupted`` when the run has been asked to stop.
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
    _pools: dict[TeacherConfig, TeacherPool] = field(default_factory=dict)
    _experts: list[Experts] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._images = self.dataset.train.images.to(self.compute.device)

    def real_images(self, rows: Tensor) -> Tensor:
        """Normalised training images (len(rows), channels, H, W), float32, on the device."""
        return self.dataset.normalize(self._images[rows.to(self._images.device)])

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

    def experts(self, config: ExpertsConfig, epochs: int) -> Experts:
        """Experts of a configuration, as far as epoch ``epochs``.

        Raises:
            ConfigurationError: as for :meth:`teachers`.
        """
        experts = Experts(config, epochs, self)
        experts.check_room(beside=self._bytes_to_come())
        self._experts.append(experts)
        return experts

    def _bytes_to_come(self) -> int:
        """What networks that have not been trained yet are going to take, of the cache's disk or of memory."""
        teachers = sum(pool.bytes_to_come() for pool in self._pools.values())
        return teachers + sum(experts.bytes_to_come() for experts in self._experts)

    def starting_images(self, decoder: Decoder | None = None, rows_per_class: int | None = None) -> Tensor:
        """Rows that ``spec.init`` asks for, ready to be decoded: of random real images, or N(0, 1) noise.

        Args:
            decoder: what will decode them; by default the job's.
            rows_per_class: stored rows of each class; by default ``spec.ipc``.
        """
        decoder = decoder or self.decoder()
        generator, ipc = self.random.host_stream("init"), rows_per_class or self.spec.ipc
        if self.spec.init == "real":
            rows = real_rows(self.dataset.train, ipc * decoder.views, generator)
            return decoder.encode(self.real_images(rows), ipc)
        shape = (len(self.dataset.classes) * ipc, *self.dataset.shape)
        return torch.randn(shape, generator=generator).to(self.compute.device)

    def decoder(self) -> Decoder:
        """The decoder that the job asks for.

        Raises:
            ConfigurationError: it does not fit the images.
        """
        return decoders.build(self.spec.decoder, self.dataset.shape)

    def synthetic_set(
        self,
        lr: float,
        momentum: float,
        *,
        class_steps: bool = False,
        others: Mapping[str, Learned] | None = None,
    ) -> SyntheticSet:
        """The starting images with momentum SGD: one step for all of them, or one for each class."""
        decoder = self.decoder()
        return SyntheticSet(
            self.starting_images(decoder),
            self.spec.ipc,
            lr=lr,
            momentum=momentum,
            decoder=decoder,
            class_steps=class_steps,
            others=others,
        )
