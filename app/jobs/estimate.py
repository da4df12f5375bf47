"""What a job should cost, before it runs: images passed through networks, and the time that takes.

The model counts one pass for each image that goes forward through a network and two for each that goes
backward, prices a pass by the convolutions of the network, and divides by how fast machines have been
seen to convolve. Its spread is that of the machines; overheads and compilation are not in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from app.jobs.schemas import Estimate, PlannedPhase, Seconds
from ddcore.spec import (
    DATASETS,
    CMIConfig,
    ConvNetConfig,
    DatasetFacts,
    FeatureCoresetConfig,
    IIDConfig,
    JobSpec,
    MIMConfig,
    NetworkConfig,
    RegularizerConfig,
    TeacherConfig,
)

TRAINING = 3
"""Passes of an image that goes forward and backward."""
SPEED: Mapping[str, tuple[float, float]] = {"cpu": (8e10, 8e11), "cuda": (5e12, 1e14)}
"""Floating-point operations a second: two cores uncompiled to compiled bf16, small to large accelerator."""
FLOP: Mapping[str, float] = {"mlp": 8.2e5, "lenet": 1.3e6, "alexnet": 4.9e8, "vgg11": 3.06e8, "resnet18": 1.11e9}
"""Networks of one size, on one image of 3 x 32 x 32; convolutions grow with the number of pixels."""
BASIS = (
    "image passes (forward 1, backward 2) times the convolutions of the network, at 80 to 800 GFLOP/s on a CPU "
    "and 5 to 100 TFLOP/s on an accelerator; overheads and compilation are not counted"
)


@dataclass(frozen=True)
class Part:
    """Some of a job's work: images through one network."""

    phase: str
    passes: float
    network: NetworkConfig


def plan(spec: JobSpec) -> list[PlannedPhase]:
    """The phases of a job in order, with their work where the dataset's size is known."""
    facts = DATASETS.get(spec.dataset)
    parts = list(_parts(spec, facts)) if facts else []
    teachers = [teacher.pool for term in spec.regularizers if (teacher := _teacher(spec, term))]
    if isinstance(spec.method, FeatureCoresetConfig):
        teachers.append(1)
    teachers.append(spec.method.networks_pretrained)
    scoring = spec.evaluation
    if scoring.needs_teacher:
        teachers.append(1)
    trained = sum(len(scoring.conditions(index)) for index in range(len(scoring.networks or (spec.network,))))
    units = {
        "pretraining": sum(teachers),
        "distilling": spec.method.iterations,
        "evaluating": scoring.repeats * trained,
    }
    phases = ["loading", *(phase for phase, work in units.items() if work), "finalizing"]
    return [
        PlannedPhase(
            phase=phase,
            units=units.get(phase),
            image_passes=sum(part.passes for part in parts if part.phase == phase) if facts else None,
        )
        for phase in phases
    ]


def estimate(spec: JobSpec) -> Estimate | None:
    """What the job should cost, or ``None`` where the dataset's size is not known beforehand."""
    facts = DATASETS.get(spec.dataset)
    if facts is None:
        return None
    parts = list(_parts(spec, facts))
    flop = sum(part.passes * flop_per_image(part.network, facts.shape) for part in parts)
    channels, height, width = facts.shape
    return Estimate(
        image_passes=sum(part.passes for part in parts),
        flop=flop,
        seconds={device: Seconds(low=flop / high, high=flop / low) for device, (low, high) in SPEED.items()},
        distilled_bytes=spec.ipc * len(facts.classes) * channels * height * width * 4,
        basis=BASIS,
    )


def flop_per_image(network: NetworkConfig, shape: tuple[int, int, int]) -> float:
    """Floating-point operations of one image's forward pass, two for each multiplication.

    >>> from ddcore.spec import ConvNetConfig
    >>> round(flop_per_image(ConvNetConfig(), (3, 32, 32)) / 1e6)
    101
    """
    channels, height, width = shape
    if not isinstance(network, ConvNetConfig):
        return FLOP.get(network.name, max(FLOP.values())) * height * width / 1024
    total, size, incoming = 0.0, max(height, width), channels
    for _ in range(network.depth_for(size)):
        total += 2 * 9 * incoming * network.width * size * size
        incoming, size = network.width, size if network.pooling == "none" else size // 2
    return total


def _parts(spec: JobSpec, facts: DatasetFacts) -> Iterator[Part]:
    classes = len(facts.classes)
    synthetic = spec.images_per_class * classes
    steps = spec.method.iterations
    yield Part(
        "distilling",
        steps * spec.method.image_passes(spec.images_per_class, classes, facts.smallest_class),
        spec.network,
    )
    if isinstance(spec.method, FeatureCoresetConfig):
        # One network is trained, whatever the pool's size, and every real image passes through it.
        looking = (TRAINING * spec.method.teacher.epochs + 1) * facts.train_size
        yield Part("pretraining", looking, spec.method.teacher.network)
    if spec.method.networks_pretrained:
        yield Part("pretraining", spec.method.pretraining_passes(facts.train_size, synthetic), spec.network)
    for regularizer in spec.regularizers:
        real = min(getattr(regularizer, "batch_real", 0), facts.smallest_class) * classes
        teacher = _teacher(spec, regularizer)
        if teacher is None or (isinstance(regularizer, IIDConfig) and regularizer.covariance):
            yield Part("distilling", steps * (real + TRAINING * synthetic), spec.network)
        if teacher:
            yield Part("distilling", steps * (real + TRAINING * synthetic), teacher.network)
            yield Part("pretraining", TRAINING * teacher.pool * teacher.epochs * facts.train_size, teacher.network)
    scoring = spec.evaluation
    if scoring.needs_teacher:
        yield Part("pretraining", TRAINING * scoring.teacher.epochs * facts.train_size, scoring.teacher.network)
    for index, network in enumerate(scoring.networks or (spec.network,)):
        shares = spec.method.shares(spec.ipc)
        trained = scoring.images_trained(index, synthetic, spec.ipc * classes, facts.train_size, shares)
        # The named sets keep about a sixth of their images for testing.
        tested = scoring.repeats * len(scoring.conditions(index)) * scoring.tests * facts.train_size / 6
        yield Part("evaluating", TRAINING * trained + tested, network)


def _teacher(spec: JobSpec, regularizer: RegularizerConfig) -> TeacherConfig | None:
    """The pool that a regulariser has trained, if it needs one."""
    match regularizer:
        case MIMConfig() if regularizer.compares_students(spec.method):
            return None
        case MIMConfig() | CMIConfig():
            return regularizer.teacher
        case IIDConfig() if regularizer.centralization:
            return regularizer.teacher
    return None
