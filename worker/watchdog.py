"""What a user should hear of while a job runs, decided from the numbers as they are written."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from app.events.names import Rule
from ddcore.spec.readings import LOSS
from worker import protocol
from worker.protocol import Frame

Clock = Callable[[], float]

WINDOW = 20
"""Readings whose median is looked at, so that a single one decides nothing."""
SETTLED_WINDOWS = 10
"""Windows before a plateau is reported."""
FLAT = 0.01
"""Part of the whole fall of the loss that its later half must at least bring."""
TRUSTED_S = 30.0
"""Seconds of a phase after which its expected length counts."""
SLIPPED = 2.0
"""Times the length first expected."""


@dataclass(frozen=True)
class Alert:
    """A rule that holds, the sentence that says so, and its numbers."""

    rule: Rule
    message: str
    numbers: dict[str, float | int]


def diverging(medians: Sequence[float]) -> Alert | None:
    """Whether a loss rises above where it began by more than it had fallen, and by more than it began with.

    Args:
        medians: of successive windows of readings.

    >>> diverging([1.0, 0.5, 1.9]) is None, diverging([1.0, 0.5, 2.1]).rule
    (True, 'diverging')
    """
    if len(medians) < 2:
        return None
    first, lowest, last = medians[0], min(medians), medians[-1]
    limit = first + max(first - lowest, abs(first))
    if not last > limit:
        return None
    message = f"the loss diverges: it began at {first:.4g}, fell to {lowest:.4g}, and is {last:.4g} now"
    return Alert("diverging", message, {"first": first, "lowest": lowest, "last": last})


def plateau(medians: Sequence[float]) -> Alert | None:
    """Whether the later half of the windows brought less than a hundredth of the whole fall of a loss.

    Args:
        medians: of successive windows of readings.

    >>> falling = [1 / n for n in range(1, 13)]
    >>> plateau(falling) is None, plateau(falling[:4] + [0.25] * 8).rule
    (True, 'plateau')
    """
    if len(medians) < SETTLED_WINDOWS:
        return None
    first, lowest, halfway = medians[0], min(medians), min(medians[: len(medians) // 2])
    if not first > lowest or halfway - lowest >= FLAT * (first - lowest):
        return None
    message = f"the loss has stopped falling: it began at {first:.4g}, and has been near {lowest:.4g} for half its way"
    return Alert("plateau", message, {"first": first, "lowest": lowest, "halfway": halfway})


def eta_slipping(phase: str, first_s: float, now_s: float) -> Alert | None:
    """Whether a phase is expected to take twice as long as was first expected.

    >>> eta_slipping("distilling", 100.0, 150.0) is None, eta_slipping("distilling", 100.0, 250.0).rule
    (True, 'eta_slipping')
    """
    if now_s < SLIPPED * first_s:
        return None
    message = f"{phase} takes longer than expected: {now_s:.0f} s in all, where {first_s:.0f} s were first expected"
    return Alert("eta_slipping", message, {"first_expected_s": round(first_s, 1), "expected_s": round(now_s, 1)})


class Watchdog:
    """Looks at the frames of one attempt; whether an alert is news for the job is for the database to say.

    Args:
        clock: seconds since some moment; for tests.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._told: set[Rule] = set()
        self._loss = _Loss()
        self._pace = _Pace("", clock)

    def look(self, frames: Iterable[Frame]) -> list[Alert]:
        """The rules that hold after these frames and did not before; readings that come twice count once."""
        held: list[Alert | None] = []
        for frame in frames:
            match frame:
                case protocol.Resumed():
                    self._loss.go_back(frame.step)
                case protocol.Metrics():
                    held += self._loss.read(frame.step, frame.values.get(LOSS, math.nan))
                case protocol.PhaseStarted():
                    self._pace = _Pace(frame.phase, self._clock)
                case protocol.Progress():
                    held.append(self._pace.at(frame.done, frame.total))
        return [alert for alert in held if alert is not None and self._is_news(alert)]

    def _is_news(self, alert: Alert) -> bool:
        news = alert.rule not in self._told
        self._told.add(alert.rule)
        return news


class _Loss:
    """The medians of a loss, looked at again whenever there is a hundredth more of them."""

    def __init__(self) -> None:
        self._step = -1
        self._window: list[float] = []
        self._medians: list[float] = []
        self._look_at = 0.0

    def go_back(self, step: int) -> None:
        self._step = min(self._step, step)

    def read(self, step: int, value: float) -> list[Alert | None]:
        if step <= self._step or not math.isfinite(value):
            return []
        self._step = step
        self._window.append(value)
        if len(self._window) < WINDOW:
            return []
        self._medians.append(statistics.median(self._window))
        self._window.clear()
        if len(self._medians) < self._look_at:
            return []
        self._look_at = len(self._medians) * 1.01
        return [diverging(self._medians), plateau(self._medians)]


class _Pace:
    """How long a phase is expected to take, from what this attempt has done of it."""

    def __init__(self, phase: str, clock: Clock) -> None:
        self._phase, self._clock = phase, clock
        self._began_at = clock()
        self._began_with: int | None = None
        self._first_s: float | None = None

    def at(self, done: int, total: int) -> Alert | None:
        if self._began_with is None:
            self._began_with, self._began_at = done, self._clock()
        elapsed_s, mine = self._clock() - self._began_at, done - self._began_with
        if mine <= 0 or done >= total or elapsed_s < TRUSTED_S:
            return None
        expected_s = elapsed_s * (total - self._began_with) / mine
        self._first_s = self._first_s or expected_s
        return eta_slipping(self._phase, self._first_s, expected_s)
