"""Whether a job fits what it may take: its running time, and the memory of the workers that are there.

A job is refused only where even the low end of its estimate is too much, and then with the nearest changes that fit,
each found by predicting the changed job. Where only the likely value is too much, the user is warned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.costs.prediction import DeviceClass, Prediction
from app.costs.words import size, time
from app.jobs.estimate import Costing
from app.queue.fleet import LiveWorker
from ddcore.spec import JobSpec, Problem, SpecError

TUNABLE = (("method", "iterations"), ("ipc",), ("method", "batch_real"), ("method", "base", "batch_real"))
"""Whole numbers that cost grows with, nearest to what a user would change."""

Parse = Callable[[Mapping[str, Any]], JobSpec]


@dataclass(frozen=True)
class Room:
    """What a job may take.

    Attributes:
        runtime_s: seconds of running.
        memory: most bytes that one worker has, by the kind of device the job would use there; ``None`` where one of
            them does not say.
    """

    runtime_s: float
    memory: Mapping[DeviceClass, int | None]

    @classmethod
    def of(cls, spec: JobSpec, workers: Sequence[LiveWorker], runtime_s: float) -> Room:
        """What a job may take on the workers that are there.

        Args:
            spec: the job.
            workers: those that may claim.
            runtime_s: seconds of running.
        """
        said: dict[DeviceClass, list[int | None]] = {}
        for worker in workers:
            used = worker.used_for(spec.device)
            if used is not None:
                said.setdefault(used, []).append(worker.memory_bytes(used))
        memory = {used: None if None in each else max(filter(None, each)) for used, each in said.items()}
        return cls(runtime_s, memory)


def refusals(costing: Costing, room: Room, parse: Parse) -> list[Problem]:
    """Why a job cannot be queued as it is: nothing, unless it is too much for every kind of worker that is there.

    Args:
        costing: the job.
        room: what it may take.
        parse: reads a changed specification; raises ``SpecError`` where it cannot be run.
    """
    found = [costing.predicted[name] for name in room.memory if name in costing.predicted]
    if not found:
        return []
    problems = []
    if all(each.total.low > room.runtime_s for each in found):
        problems.append(_too_long(costing, room, parse))
    lacking = {name: room.memory[name] for name in room.memory if name in costing.predicted}
    if all(most is not None and costing.predicted[name].low_bytes > most for name, most in lacking.items()):
        problems.append(_too_large(costing, room, parse))
    return problems


def warnings(costing: Costing, room: Room) -> Iterator[str]:
    """What may go wrong with a job that is not refused.

    Args:
        costing: the job.
        room: what it may take.
    """
    if not room.memory:
        yield f"no worker for `device` '{costing.spec.device}' is alive: the job waits until one comes"
    for name, most in room.memory.items():
        predicted = costing.predicted.get(name)
        if predicted is None:
            continue
        if predicted.total.expected > room.runtime_s and predicted.calibrated:
            yield (
                f"the job should run for {time(predicted.total.expected)} on `{name}`, longer than its "
                f"`limits.max_runtime_s` of {room.runtime_s:g} ({time(room.runtime_s)}): raise that, or make it smaller"
            )
        if most is not None and predicted.peak_bytes > most:
            yield (
                f"the job should take {size(predicted.peak_bytes)} of memory on `{name}`, and the largest such worker "
                f"has {size(most)}: it may run out of memory"
            )


def _too_long(costing: Costing, room: Room, parse: Parse) -> Problem:
    low = min(costing.predicted[name].total.low for name in room.memory if name in costing.predicted)
    fits = _nearest(costing, parse, lambda each: each.total.expected <= room.runtime_s, room)
    return Problem(
        "/limits/max_runtime_s",
        "runtime_over_limit",
        f"the job would run for at least {time(low)} ({low:,.0f} s), but `limits.max_runtime_s` is {room.runtime_s:g}; "
        f"{fits}raise the limit as far as the service allows, or set `limits.ignore_estimate` to queue it all the same",
    )


def _too_large(costing: Costing, room: Room, parse: Parse) -> Problem:
    names = [name for name in room.memory if name in costing.predicted]
    low = min(costing.predicted[name].low_bytes for name in names)
    most = max(room.memory[name] or 0 for name in names)
    fits = _nearest(costing, parse, lambda each: each.peak_bytes <= most, room)
    return Problem(
        "",
        "memory_over_limit",
        f"the job would take at least {size(low)} of memory, but the largest worker that is alive has {size(most)}; "
        f"{fits}start a larger worker, or set `limits.ignore_estimate` to queue it all the same",
    )


def _nearest(costing: Costing, parse: Parse, fits: Callable[[Prediction], bool], room: Room) -> str:
    """The largest value of each field with which the job fits while the others stay, in words."""

    def fit(path: Sequence[str], value: int) -> bool:
        try:
            spec = parse(changed(costing.spec, path, value))
        except SpecError:
            return False
        predicted = costing.of(spec).predicted
        return any(fits(predicted[name]) for name in room.memory if name in predicted)

    found = [(path, _largest(costing.spec, path, fit)) for path in TUNABLE]
    ways = [f"`{'.'.join(path)}` of at most {value:,}" for path, value in found if value is not None]
    return f"it should fit with {' or '.join(ways)}; otherwise " if ways else ""


def _largest(spec: JobSpec, path: Sequence[str], fit: Callable[[Sequence[str], int], bool]) -> int | None:
    """The largest whole number of at least 1 below the present one that fits; ``None`` where there is none."""
    present: Any = spec.model_dump(mode="json")
    for name in path:
        present = present.get(name) if isinstance(present, Mapping) else None
    if not isinstance(present, int) or present <= 1 or not fit(path, 1):
        return None
    low, high = 1, present
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fit(path, middle) else (low, middle)
    return low


def changed(spec: JobSpec, path: Sequence[str], value: int) -> dict[str, Any]:
    """A specification with one field changed.

    >>> from ddcore.spec import parse
    >>> changed(parse({"dataset": "digits", "ipc": 2, "method": "dm"}), ("ipc",), 7)["ipc"]
    7
    """
    body = spec.model_dump(mode="json")
    inner = body
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return body
