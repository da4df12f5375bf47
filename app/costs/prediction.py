"""How long the phases of a job should take, and how much memory, by what others took. Pure functions.

The seconds of a phase are its warm-up and a number of seconds for each operation, both medians over the newest like
phases. Phases without operations (loading, writing, what passes around them) take what they took. Where nothing was
measured on a kind of device, operations are divided by how fast machines have been seen to convolve.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal

from app.costs.likeness import Keys
from app.costs.measured import Measured, MeasuredPhase
from ddcore.spec.workload import WORKING, Workload

DeviceClass = Literal["cpu", "cuda"]
SPEED: Mapping[str, tuple[float, float]] = {"cpu": (8e10, 8e11), "cuda": (5e12, 1e14)}
"""Floating-point operations a second: two cores uncompiled to compiled bf16, small to large accelerator."""
NEWEST = 5
"""Like phases that count."""
SPREADS = (1.5, 2.0, 3.0, 3.0)
"""Factor up and down of the span, by how like the phases are: the same, and one key less each time."""
OTHERWISE = 5.0
"""The factor where a phase is scaled by its operations from phases of other kinds."""
MEMORY_SPREAD = 1.3
"""Factor that the memory of a job may be below the prediction."""
PROCESS_BYTES = 930_000_000
"""What the process of a small job on a CPU takes beyond the model (``python -m benchmarks.estimates``)."""


@dataclass(frozen=True)
class Span:
    """Seconds: the likely value, and a span that the true one should lie in.

    Attributes:
        level: how like the measured phases are, 0 the same, ``None`` where none was measured on this kind of device.
        jobs: how many of them there are.
    """

    low: float
    expected: float
    high: float
    level: int | None = None
    jobs: int = 0

    def longer(self, high: float) -> Span:
        """The same with a higher end."""
        return replace(self, high=self.high + high)


NOTHING = Span(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Prediction:
    """What a job should take on a kind of device.

    Attributes:
        phases: seconds by phase, with ``around``: before the first and after the last.
        cached: whether earlier jobs have trained networks that it needs, so that only the high end counts that work.
        peak_bytes: most memory: of the process on a CPU, of tensors on an accelerator.
        low_bytes: what it takes at least, if the model is as far off as it has been seen to be.
        devices: names of the machines that were measured.
    """

    phases: Mapping[str, Span]
    cached: bool
    peak_bytes: int
    low_bytes: int
    devices: tuple[str, ...]

    @property
    def calibrated(self) -> bool:
        """Whether any job was measured on this kind of device."""
        return bool(self.devices)

    @property
    def total(self) -> Span:
        """Of all phases."""
        spans = self.phases.values()
        return Span(*(sum(getattr(span, name) for span in spans) for name in ("low", "expected", "high")))

    @property
    def main(self) -> Span:
        """Of the phase that takes longest."""
        return max(self.phases.values(), key=lambda span: span.expected)


def predict(workload: Workload, keys: Mapping[str, Keys], measured: Sequence[Measured]) -> Prediction:
    """What a job should take.

    Args:
        workload: its work, and the kind of device.
        keys: of its phases, see :func:`app.costs.likeness.keys_by_phase`.
        measured: jobs on this kind of device, newest first.
    """
    there = {name for job in measured for name in job.networks}
    missing = sum(flop for name, flop in workload.networks.items() if name not in there)
    found = sum(workload.networks.values()) - missing
    work = {phase: workload.phases[phase].flop for phase in WORKING} | {"pretraining": missing}
    spans = {phase: _working(workload, phase, work[phase], keys[phase], measured) for phase in WORKING}
    if found:
        trained = _working(workload, "pretraining", found, keys["pretraining"], measured)
        spans["pretraining"] = spans["pretraining"].longer(trained.high)
    for phase in ("loading", "finalizing", "around"):
        spans[phase] = _constant(phase, keys[phase], measured)
    devices = tuple(dict.fromkeys(job.device for job in measured))
    peak = _peak(workload, keys, measured)
    least = _least(peak, workload, devices)
    order = ("loading", *WORKING, "finalizing", "around")
    return Prediction({phase: spans[phase] for phase in order}, bool(found), peak, least, devices)


def _working(workload: Workload, phase: str, flop: float, keys: Keys, measured: Sequence[Measured]) -> Span:
    """Of a phase whose length grows with its work: so many operations."""
    if flop <= 0:
        return NOTHING
    work = workload.phases[phase]
    found = [job.phases[phase] for job in measured if phase in job.phases and job.phases[phase].flop > 0]
    like, level = _like(keys, found)
    if not like:
        found = [each for job in measured for each in job.phases.values() if each.flop > 0]
        like = _nearest_in_size(work.flop / work.passes, [each for each in found if each.passes > 0])
    slow, fast = SPEED[workload.machine.device_class]
    if not like:
        return Span(flop / fast, flop / math.sqrt(slow * fast), flop / slow)
    scale = [each.per_flop for each in like if each.per_flop is not None]
    if level == len(SPREADS):
        # Small networks spend their time between operations, so what they take says little of larger ones.
        larger = [work.flop / work.passes > each.flop / each.passes for each in like]
        scale = [min(one, 1 / slow) if more else one for one, more in zip(scale, larger, strict=True)]
    return _span([each.warm_up for each in like], [flop * each for each in scale], level)


def _constant(phase: str, keys: Keys, measured: Sequence[Measured]) -> Span:
    """Of a phase that takes what it takes."""
    found = [job.phases[phase] for job in measured if phase in job.phases]
    like, level = _like(keys, found)
    like = like or found[:NEWEST]
    return _span([each.seconds for each in like], [0.0] * len(like), level) if like else NOTHING


def _like(keys: Keys, found: Sequence[MeasuredPhase]) -> tuple[Sequence[MeasuredPhase], int]:
    """The newest phases that share the most specific key, and which that is."""
    for level, key in enumerate(keys):
        like = [each for each in found if len(each.keys) > level and each.keys[level] == key]
        if like:
            return like[:NEWEST], level
    return (), len(SPREADS)


def _nearest_in_size(per_image: float, found: Sequence[MeasuredPhase]) -> Sequence[MeasuredPhase]:
    """Of all phases, those whose networks cost about as much an image."""
    return sorted(found, key=lambda each: abs(math.log(each.flop / each.passes / per_image)))[:NEWEST]


def _span(constant: Sequence[float], scaled: Sequence[float], level: int) -> Span:
    """Around the median, at least as wide as what was measured."""
    expected = median(constant) + median(scaled)
    spread = SPREADS[level] if level < len(SPREADS) else OTHERWISE
    seen = [one + other for one, other in zip(constant, scaled, strict=True)]
    return Span(min(expected / spread, *seen), expected, max(expected * spread, *seen), level, len(scaled))


def _least(peak: int, workload: Workload, measured: Sequence[str]) -> int:
    """What a job takes at least; of a machine that nothing was measured on, its tensors alone are sure."""
    return round((peak if measured else workload.peak_bytes) / MEMORY_SPREAD)


def _peak(workload: Workload, keys: Mapping[str, Keys], measured: Sequence[Measured]) -> int:
    """Most memory: that of the model, and what the likest jobs took beyond it."""
    steps = keys["distilling"]
    for level, key in enumerate(steps):
        like = [job for job in measured if job.keys("distilling")[level : level + 1] == (key,)]
        if like:
            break
    else:
        like = list(measured)
    like = like[:NEWEST]
    usual = PROCESS_BYTES if workload.machine.device_class == "cpu" else 0
    beyond = median(job.beyond_model for job in like) if like else usual
    return max(0, round(workload.peak_bytes + beyond))
