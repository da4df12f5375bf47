"""Whether a job fits what it may take: its running time, and the memory of the workers that are there.

A job is refused only where even the low end of its estimate is too much, and then with the nearest changes that fit,
each found by predicting the changed job. Where only the likely value is too much, the user is warned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from app.costs.prediction import DeviceClass
from app.costs.words import exact, time
from app.jobs import fitting
from app.jobs.estimate import Costing
from app.jobs.fitting import Parse
from app.queue.fleet import LiveWorker
from ddcore.spec import JobSpec, Problem
from ddcore.spec.words import memory


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
                f"the job should take {memory(predicted.peak_bytes)} of memory on `{name}`, and the largest such "
                f"worker has {memory(most)}: it may run out of memory"
            )


def _too_long(costing: Costing, room: Room, parse: Parse) -> Problem:
    low = min(costing.predicted[name].total.low for name in room.memory if name in costing.predicted)
    fits = fitting.nearest(costing, list(room.memory), parse, lambda each: each.total.expected <= room.runtime_s)
    return Problem(
        "/limits/max_runtime_s",
        "runtime_over_limit",
        f"the job would run for at least {exact(low)}, but `limits.max_runtime_s` is {room.runtime_s:g}; "
        f"{fits}raise the limit as far as the service allows, or set `limits.ignore_estimate` to queue it all the same",
    )


def _too_large(costing: Costing, room: Room, parse: Parse) -> Problem:
    names = [name for name in room.memory if name in costing.predicted]
    low = min(costing.predicted[name].low_bytes for name in names)
    most = max(room.memory[name] or 0 for name in names)
    fits = fitting.nearest(costing, list(room.memory), parse, lambda each: each.peak_bytes <= most)
    return Problem(
        "",
        "memory_over_limit",
        f"the job would take at least {memory(low)} of memory, but the largest worker that is alive has "
        f"{memory(most)}; {fits}start a larger worker, or set `limits.ignore_estimate` to queue it all the same",
    )
