"""What a run takes, measured in the engine's own process: seconds of each phase, memory, and on what machine."""

from __future__ import annotations

import platform
import resource
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ddcore.spec.workload import Machine

_STATUS = Path("/proc/self/status")
_PROCESSOR = Path("/proc/cpuinfo")


class PhaseClock:
    """Seconds of the phases of a run, and what the first unit of each took beyond the others.

    A phase that comes several times (one for every stage of a set) is added up.

    Args:
        now: seconds of a clock that never goes back.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._phase: str | None = None
        self._begun = 0.0
        self._marks: list[tuple[float, int]] = []
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._warm_up: defaultdict[str, float] = defaultdict(float)

    def enter(self, phase: str) -> None:
        """A phase begins, and the one before is over; the same phase again goes on."""
        if phase == self._phase and not self._marks:
            return
        self._leave()
        self._phase, self._begun, self._marks = phase, self._now(), []

    def advance(self, done: int, total: int) -> None:
        """So many units of the phase are finished; only the beginning, the first and the last one are remembered.

        Once networks are trained, a run prepares its steps: that belongs to loading, as where they were trained before.
        """
        self._marks = [*self._marks[:2], (self._now(), done)]
        if self._phase == "pretraining" and done >= total:
            self.enter("loading")

    def read(self) -> tuple[dict[str, float], dict[str, float]]:
        """Seconds of each phase, and of those the warm-up; the current phase ends with it."""
        self._leave()
        self._phase = None
        return dict(self._seconds), dict(self._warm_up)

    def _leave(self) -> None:
        if self._phase is None:
            return
        self._seconds[self._phase] += self._now() - self._begun
        self._warm_up[self._phase] += self._first_beyond_others()

    def _first_beyond_others(self) -> float:
        """Seconds of the first units beyond what as many later ones took; 0 where there are no later ones."""
        marks = self._marks if self._marks and self._marks[0][1] == 0 else [(self._begun, 0), *self._marks]
        if len(marks) < 3 or marks[-1][1] <= marks[1][1]:
            return 0.0
        (start, none), (first, few), (last, many) = marks[0], marks[1], marks[-1]
        usual = (last - first) / (many - few) * (few - none)
        return max(0.0, first - start - usual)


def memory_so_far() -> int:
    """Most bytes of memory that this process has had at once until now."""
    if _STATUS.is_file():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


def machine(compute: Mapping[str, Any]) -> Machine:
    """What a run computes with, in words that tell machines of different speed apart.

    Args:
        compute: as :meth:`ddcore.machine.compute.Compute.describe` says it.
    """
    on_cpu = compute["device"] == "cpu"
    name = f"{processor()}, {compute['threads']} threads" if on_cpu else str(compute["device"])
    return Machine(
        device_class="cpu" if on_cpu else "cuda", name=name[:200], precision=compute["precision"],
        compiled=compute["compiled"], own_kernels=compute["own_kernels"],
    )  # fmt: skip


def processor(listing: Path = _PROCESSOR) -> str:
    """Name of the processor, as Linux lists it, else the kind of machine.

    Args:
        listing: where Linux lists it.
    """
    if listing.is_file():
        for line in listing.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name" and value.strip():
                return value.strip()
    return platform.machine()
