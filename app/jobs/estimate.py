"""What a job should cost, before it runs: images passed through networks, and the time that takes.

The work is that of :mod:`ddcore.spec.cost`; here it is divided by how fast machines have been seen to convolve. The
spread is that of the machines; overheads and compilation are not in it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from app.jobs.schemas import Estimate, PlannedPhase, Seconds
from ddcore.spec import DatasetFacts, JobSpec
from ddcore.spec.cost import Cost, networks_scored, networks_trained
from ddcore.spec.work import DataSizes

SPEED: Mapping[str, tuple[float, float]] = {"cpu": (8e10, 8e11), "cuda": (5e12, 1e14)}
"""Floating-point operations a second: two cores uncompiled to compiled bf16, small to large accelerator."""
BASIS = (
    "image passes (forward 1, backward 2) times the convolutions of the network, at 80 to 800 GFLOP/s on a CPU "
    "and 5 to 100 TFLOP/s on an accelerator; overheads and compilation are not counted"
)


_BESIDE: Mapping[str, str] = {"loading": "pretraining", "finalizing": "evaluating"}
"""Where the work of a phase is done that a job does not have: the probe looks at images while a job is loading."""


def plan(spec: JobSpec, facts: DatasetFacts | None) -> list[PlannedPhase]:
    """The phases of a job in order, with their work where the dataset's size is known.

    Args:
        spec: the job.
        facts: what is known of its dataset.
    """
    units: Mapping[str, int] = {
        "pretraining": networks_trained(spec),
        "distilling": spec.method.iterations,
        "evaluating": networks_scored(spec),
    }
    phases = ["loading", *(phase for phase, work in units.items() if work), "finalizing"]
    expected = _expected(spec, facts)
    return [
        PlannedPhase(
            phase=phase,
            units=units.get(phase),
            image_passes=None if expected is None else _passes(expected, phase, phases),
        )
        for phase in phases
    ]


def estimate(spec: JobSpec, facts: DatasetFacts | None) -> Estimate | None:
    """What the job should cost, or ``None`` where the dataset's size is not known beforehand.

    Args:
        spec: the job.
        facts: what is known of its dataset.
    """
    expected = _expected(spec, facts)
    if expected is None:
        return None
    flop = expected.flop
    return Estimate(
        image_passes=expected.passes(),
        flop=flop,
        seconds={device: Seconds(low=flop / high, high=flop / low) for device, (low, high) in SPEED.items()},
        distilled_bytes=spec.ipc * expected.data.classes * math.prod(expected.data.shape) * 4,
        basis=BASIS,
    )


def _expected(spec: JobSpec, facts: DatasetFacts | None) -> Cost | None:
    """The work of a job on a dataset whose sizes are known."""
    return None if facts is None else Cost(spec, DataSizes.of(facts))


def _passes(expected: Cost, phase: str, phases: Sequence[str]) -> float:
    """Image passes of a listed phase, and of that which is not listed but done with it."""
    done = _BESIDE.get(phase, phase)
    return expected.passes(done) if done == phase or done not in phases else 0.0
