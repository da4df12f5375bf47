"""What a job costs before it runs: images through networks, networks trained, operations, memory.

There is one model. Every component knows its own part, and :mod:`ddcore.spec.scoring_cost` that of scoring; here they
are put together. The estimate of a job and the choice whether to compile both read it. What is counted is told in
:mod:`ddcore.spec.work`, and memory in :mod:`ddcore.spec.memory`. Nothing that an earlier job has left in the cache is
taken off, and a run that adapts its work (``cafe``) is taken at the least of it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from ddcore.spec import audit
from ddcore.spec.during import MOST_LOOKS, SHARE_OF_JOB
from ddcore.spec.job import JobSpec
from ddcore.spec.memory import NUMBER, Batch, parameter_bytes
from ddcore.spec.probe import PROBE_NETWORK, probe_images_trained_on, probe_training
from ddcore.spec.scoring_cost import ScoringCost
from ddcore.spec.speed import earns_compilation, earns_own_kernels
from ddcore.spec.teachers import TeacherConfig
from ddcore.spec.weight_files import backbones_of
from ddcore.spec.work import TRAINING, DataSizes, Load, Work

if TYPE_CHECKING:
    from ddcore.spec.base import NetworkConfig

ProbeKind = Literal["teacher", "random"]

_LABEL = 8
"""Bytes of an int64."""
_LOADED = 2
"""Times that a dataset is in memory while it is loaded: as it is read, and as it is kept."""
_LOOKED_AT = 512
"""Real images that are normalised together where all are looked at."""
_OPTIMISER = 3
"""Stored images, their gradient and its momentum."""


@dataclass(frozen=True)
class Cost:
    """The work of a job.

    Attributes:
        job: what is to be done.
        data: sizes of its dataset.
        made: sizes of the classes that it distils, where the images of the others stay; all by default.
    """

    job: JobSpec
    data: DataSizes
    made: DataSizes | None = None

    @cached_property
    def works(self) -> tuple[Work, ...]:
        """All images through networks, by phase and architecture."""
        made = _of_audit(self.job, self.data) if self.audited else ()
        return (*self._without_looks, *self._scoring.on_the_way(self.looks), *made)

    @cached_property
    def _scoring(self) -> ScoringCost:
        return ScoringCost(self.job, self.data)

    @cached_property
    def _without_looks(self) -> tuple[Work, ...]:
        return (*_of_job(self.job, self.data, self.made or self.data), *_of_probe(self.job, self.data, self.probe))

    @cached_property
    def passes_without_looks(self) -> float:
        """Passes of the job without accuracies on the way and audit: the images must not depend on these."""
        return sum(work.passes for work in self._without_looks)

    @property
    def macs_per_image(self) -> float:
        """Multiplications of one of these passes, on average."""
        return _flop(self._without_looks, self.data) / 2 / self.passes_without_looks

    @cached_property
    def looks(self) -> tuple[int, ...]:
        """Steps after which the images are scored on the way; none where `evaluation.during` is null."""
        during, steps = self.job.evaluation.during, self.job.method.iterations
        if during is not None and during.at is not None:
            return during.at
        if during is None or steps == 0:
            return ()
        every = during.every
        if every is None:
            first, second = (sum(w.passes for w in self._scoring.on_the_way((0,) * n)) for n in (1, 2))
            one = second - first
            most = min(MOST_LOOKS, (SHARE_OF_JOB * self.passes_without_looks - (first - one)) / one)
            every = math.ceil(steps / max(1, int(most)))
        return tuple(sorted({*range(every, steps, every), steps}))

    @cached_property
    def audited(self) -> bool:
        """Whether the finished images are compared with the real ones: as asked, or where that is cheap."""
        asked = self.job.evaluation.audit
        if asked is not None:
            return asked
        flop = _flop(_of_audit(self.job, self.data), self.data) + _flop_of_distances(self.job, self.data)
        return flop <= max(audit.FREE_FLOP, audit.SHARE_OF_JOB * _flop(self._without_looks, self.data))

    @property
    def probe(self) -> ProbeKind:
        """The trained one, unless the job asks for random weights."""
        return "random" if self.job.metrics.probe == "random" else "teacher"

    def passes(self, phase: str | None = None) -> float:
        """Images through networks, forward 1 and backward 2, of a phase or of all."""
        return sum(work.passes for work in self.works if phase in (None, work.phase))

    @cached_property
    def flop(self) -> float:
        """Floating-point operations of convolutions and linear layers, two for each multiplication."""
        return self.operations()

    def operations(self, phase: str | None = None) -> float:
        """Those of a phase or of all."""
        return _flop((work for work in self.works if phase in (None, work.phase)), self.data)

    def networks_kept(self) -> Mapping[str, float]:
        """Operations of training the networks that the cache keeps, by all that they depend on besides the machine."""
        job, sizes = self.job, (self.data.shape, self.data.train)
        return {
            hashlib.sha256(f"{job.dataset}/{job.whitening}/{sizes}/{work.kept}".encode()).hexdigest()[:16]: operations
            for work in self.works
            if work.kept and (operations := _flop([work], self.data)) > 0
        }

    @property
    def network_epochs(self) -> float:
        """Epochs on the real images, over all networks that are trained before the first step and kept."""
        return sum(work.passes for work in self.works if work.kept) / (TRAINING * self.data.train)

    def compiles(self, device: str) -> bool:
        """Whether the passes of the job are compiled on ``cpu`` or ``cuda``, where a compiler is there."""
        return self.job.compile == "on" or (self.job.compile == "auto" and earns_compilation(self._macs, device))

    def takes_own_kernels(self, device: str) -> bool:
        """Whether passes on ``cpu`` or ``cuda`` go through kernels of our own, as far as the network has some."""
        if self.compiles(device):
            return device == "cpu"
        return self.job.compile == "auto" and earns_own_kernels(self._macs, device)

    @property
    def _macs(self) -> float:
        """Multiply-accumulates by which the engine chooses."""
        return self.passes_without_looks * self.macs_per_image

    @cached_property
    def peak_bytes(self) -> int:
        """Most bytes of tensors that are alive at once, as :mod:`ddcore.spec.memory` counts them."""
        sizes = (self.data.shape, self.data.classes)
        batches = [*_batches(self.job, self.data, self.probe)]
        if self.audited:
            batches.append(Batch(PROBE_NETWORK, min(_LOOKED_AT, self.data.train)))
        steps = _held(self.job, self.data) + max(batch.bytes(*sizes) for batch in batches)
        return max(steps, _LOADED * _dataset(self.data))


def pools(job: JobSpec) -> dict[TeacherConfig, int]:
    """Pools of networks to be trained on the real images, each once for all who ask, and how many of each."""
    terms = (pool for term in job.regularizers for pool in term.teachers(job))
    found: dict[TeacherConfig, int] = {}
    for config, count in (*job.method.teachers(), *terms, *job.evaluation.teachers()):
        found[config] = min(config.pool, found.get(config, 0) + count)
    return found


def networks_trained(job: JobSpec) -> int:
    """Networks that are trained before the first step or between stages, without that of the probe."""
    return sum(pools(job).values()) + job.method.networks_pretrained


def networks_scored(job: JobSpec) -> int:
    """Networks that are trained to score the set and its controls."""
    scoring = job.evaluation
    architectures = range(len(scoring.architectures(job.network)))
    conditions = sum(len(scoring.conditions(index, job.method.own_labels)) for index in architectures)
    curve = 0 if scoring.worth is None or not scoring.repeats else scoring.worth.sizes * scoring.worth.networks
    return scoring.repeats * conditions + len(scoring.candidates()) + curve


def _of_job(job: JobSpec, data: DataSizes, made: DataSizes) -> Iterator[Work]:
    yield from _before(job, data)
    for load in job.method.loads(job, made):
        yield from _of_steps(job, load)
    yield from ScoringCost(job, data).works()


def _before(job: JobSpec, data: DataSizes) -> Iterator[Work]:
    """Training of networks, and what is looked at before the first step."""
    for config, count in pools(job).items():
        trained = TRAINING * count * config.epochs * data.train
        yield Work("pretraining", config.network, trained, kept=f"{count} of {config.model_dump_json()}")
    yield Work("pretraining", job.network, job.method.pretraining_passes(job, data), kept=_method_depends(job))
    for network, passes in job.method.looks(job, data):
        yield Work("pretraining", network, passes)
    if job.init == "k_means":
        yield Work("pretraining", job.network, data.train)


def _method_depends(job: JobSpec) -> str:
    """What the networks of a method depend on: those that learn earlier stages of a set, on all that these do."""
    if job.method.matcher is not job.method:
        return job.model_dump_json(exclude={"evaluation", "metrics", "snapshots", "checkpoints"})
    fields = job.method.model_dump(mode="json")
    recipe = fields.get("experts", fields.get("pairs"))
    seen = [fields["curriculum"]] if "curriculum" in fields else []
    return json.dumps([recipe, job.network.model_dump(mode="json"), job.augmentation, *seen])


def _of_steps(job: JobSpec, load: Load) -> Iterator[Work]:
    """The steps of a stage, with their regularisers."""
    matcher = job.method.matcher
    batch_real = int(getattr(matcher, "batch_real", 0))
    passes = job.method.passes(load) + job.sampler.passes(load, batch_real)
    yield Work("distilling", job.method.steps_network(job), passes)
    for term in job.regularizers:
        for network, passes in term.image_passes(job, load):
            yield Work("distilling", network, load.steps * passes)
    if not matcher.computes_features and any(term.reads_real_features() for term in job.regularizers):
        yield Work("distilling", job.network, load.steps * load.data.drawn(batch_real))


def _of_probe(job: JobSpec, data: DataSizes, kind: ProbeKind) -> Iterator[Work]:
    """Its network, its sample, other real images to calibrate it, and a reading at every report."""
    sample = data.classes * data.probe_images
    others = _probe_others(data, kind)
    images = job.finished_images(data)
    training = TRAINING * probe_training(data).epochs * probe_images_trained_on(data)
    if kind == "teacher":
        yield Work("pretraining", PROBE_NETWORK, training, kept="probe")
    yield Work("pretraining", PROBE_NETWORK, sample + others + images + (others if kind == "random" else 0))
    yield Work("distilling", PROBE_NETWORK, reports(job.method.iterations, job.metrics.every) * images)


def _probe_others(data: DataSizes, kind: ProbeKind) -> int:
    """Real images that calibrate the probe; with random weights its classifier is fitted to the same."""
    return data.drawn(2 * data.probe_images) if kind == "random" else sum(data.calibrating)


def _of_audit(job: JobSpec, data: DataSizes) -> Iterator[Work]:
    """All real images and the finished ones, once through the probe."""
    sample = sum(min(max(1, audit.REAL_IMAGES // data.classes), count) for count in data.counts)
    yield Work("finalizing", PROBE_NETWORK, data.train + sample + job.finished_images(data))


def _flop_of_distances(job: JobSpec, data: DataSizes) -> float:
    """Operations of the distances in an audit: in pixels, and in features, which are no more numbers than pixels."""
    compared = job.finished_images(data) + max(audit.REAL_IMAGES, data.classes)
    return 2 * 2 * compared * data.train * math.prod(data.shape)


def _flop(works: Iterable[Work], data: DataSizes) -> float:
    return sum(work.passes * work.network.flop(data.shape, data.classes) for work in works)


def reports(steps: int, every: int) -> int:
    """Reports of so many steps: of the first, of every so many, and of the last.

    >>> [reports(steps, 10) for steps in (0, 1, 5, 10, 25)], reports(3, 1)
    ([0, 1, 2, 2, 4], 3)
    """
    return len({1, steps, *range(every, steps, every)}) if steps else 0


def _batches(job: JobSpec, data: DataSizes, kind: ProbeKind) -> Iterator[Batch]:
    """All images that are in a network at once at some time of a job."""
    for load in job.method.loads(job, data):
        yield from job.method.batches(job, load)
        for term in job.regularizers:
            yield from term.batches(job, load)
    scoring = ScoringCost(job, data)
    yield from scoring.batches()
    teachers = [*pools(job), *([probe_training(data)] if kind == "teacher" else ())]
    for config in teachers:
        yield Batch(config.network, min(config.batch_size, data.train), 1, whole=True)
    # Rules that choose real images look at one class after the other.
    looks: list[tuple[NetworkConfig, float]] = [
        (network, max(data.counts)) for network, _ in job.method.looks(job, data)
    ]
    teacher = job.evaluation.frozen
    looks += [(teacher, max(data.counts))] if scoring.chosen_from else []
    looks += [(teacher, scoring.labelled)] if job.evaluation.needs_teacher else []
    if job.init == "k_means":
        looks.append((job.network, max(data.counts)))
    for network, passes in looks:
        yield Batch(network, min(_LOOKED_AT, int(passes)))
    yield Batch(PROBE_NETWORK, max(data.classes * data.probe_images, _probe_others(data, kind)))
    yield Batch(PROBE_NETWORK, job.finished_images(data))


def _held(job: JobSpec, data: DataSizes) -> int:
    """Bytes that are there all the time: the dataset, the synthetic set with its optimiser, and networks."""
    pixels = math.prod(data.shape)
    images = job.finished_images(data)
    synthetic = NUMBER * pixels * (_OPTIMISER * data.classes * job.ipc + images)
    held = [(config.network, count) for config, count in pools(job).items()] + [(PROBE_NETWORK, 1)]
    held += [(backbone, 1) for backbone in {backbone for _, backbone in backbones_of(job)}]
    held.append((job.network, max(job.method.networks_held(load) for load in job.method.loads(job, data))))
    networks = (count * parameter_bytes(network, data.shape, data.classes) for network, count in held)
    return _dataset(data) + synthetic + sum(networks)


def _dataset(data: DataSizes) -> int:
    """Bytes of the dataset: a byte a pixel, and the labels."""
    return (data.train + data.test) * (math.prod(data.shape) + _LABEL)
