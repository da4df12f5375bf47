"""How long the phases of a job should take, by what others took. Pure functions.

The seconds of a phase are its warm-up and a number of seconds for each operation, both medians over the newest like
phases. Phases without operations (loading, writing, what passes around them) take what they took. Where nothing was
measured on a kind of device, operations are divided by how fast machines have been seen to convolve.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Literal

from app.costs.likeness import Keys
from app.costs.measured import NEWEST, Measured, MeasuredPhase
from app.costs.memory import least_bytes, peak_bytes
from app.costs.spans import NOTHING, Prediction, Span
from ddcore.spec.workload import WORKING, Machine, Workload

DeviceClass = Literal["cpu", "cuda"]
SPEED: Mapping[str, tuple[float, float]] = {"cpu": (8e10, 8e11), "cuda": (5e12, 1e14)}
"""Floating-point operations a second: two cores uncompiled to compiled bf16, small to large accelerator."""
_ONE_CORE = 2.0
"""How much longer it takes than two."""
SPREADS = (1.5, 2.0, 3.0, 3.0)
"""Factor up and down of the span, by how like the phases are: the same, and one key less each time."""
OTHERWISE = 5.0
"""The factor where a phase is scaled by its operations from phases of other kinds."""


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
    peak = peak_bytes(workload, keys, measured)
    least = least_bytes(peak, workload, devices)
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
    if not like:
        return _unmeasured(flop, workload.machine)
    slow, fast = SPEED[workload.machine.device_class]
    scale = [each.per_flop for each in like if each.per_flop is not None]
    if level == len(SPREADS):
        # Small networks spend their time between operations, so what they take says little of larger ones.
        larger = [work.flop / work.passes > each.flop / each.passes for each in like]
        scale = [min(one, 1 / slow) if more else one for one, more in zip(scale, larger, strict=True)]
    span = _span([each.warm_up for each in like], [flop * each for each in scale], level)
    return span if level < len(SPREADS) else replace(span, low=min(span.low, flop / fast))


def _unmeasured(flop: float, machine: Machine) -> Span:
    """So many operations, where none were timed yet."""
    slow, fast = SPEED[machine.device_class]
    if machine.device_class == "cpu" and not machine.own_kernels:
        return Span(flop / fast, flop / slow, flop / slow * _ONE_CORE)
    return Span(flop / fast, flop / math.sqrt(slow * fast), flop / slow)


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
