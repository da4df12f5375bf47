"""How far a job is over all its phases, and when it should end. Pure functions.

A job's row keeps what its phases are expected to take, from the moment that its engine knows the dataset and the
machine. While it runs, the phase that it is in is judged by its own speed, and those to come by the expectation; where
nothing was measured on the machine, by the expectation times how far this phase is from its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.costs.spans import Prediction
from ddcore.spec.workload import Workload

ORDER = ("loading", "pretraining", "distilling", "evaluating", "finalizing")


@dataclass(frozen=True)
class Place:
    """Where a job is.

    Attributes:
        phase: that it is in.
        done: units of that phase.
        total: units of that phase, where they are known.
        per_s: units a second, where they are known.
        steps: share of the steps that are taken, 0 to 1.
    """

    phase: str
    done: int
    total: int | None
    per_s: float | None
    steps: float


@dataclass(frozen=True)
class Ahead:
    """A phase of a job under way.

    Attributes:
        share: of the whole job, 0 to 1.
        done: of the phase, 0 to 1.
        remaining_s: seconds; ``None`` where they cannot be told.
    """

    phase: str
    share: float
    done: float
    remaining_s: float | None


def plan_of(predicted: Prediction, workload: Workload) -> dict[str, Any]:
    """What a job's row keeps.

    Args:
        predicted: what its phases should take.
        workload: its work.
    """
    expected = {phase: predicted.phases[phase].expected for phase in ORDER}
    work = {phase: predicted.phases[phase].high > 0 for phase in ORDER}
    return {
        "measured": predicted.calibrated,
        "network_epochs": workload.network_epochs,
        "phases": [
            {"phase": phase, "expected_s": expected[phase]}
            for phase in ORDER
            if work[phase] or phase in ("loading", "finalizing")
        ],
    }


def ahead(plan: Mapping[str, Any], place: Place) -> list[Ahead]:
    """Every phase of a job that runs: what is done, and what remains.

    Args:
        plan: see :func:`plan_of`.
        place: where the job is.
    """
    expected = {item["phase"]: float(item["expected_s"]) for item in plan["phases"]}
    expected.setdefault(place.phase, 0.0)
    names = sorted(expected, key=lambda name: ORDER.index(name) if name in ORDER else -1)
    now = names.index(place.phase)
    # Where no training is expected, the networks are there; if some are missing, that shows when their training begins.
    over = [i < now or (name == "pretraining" and not expected[name]) for i, name in enumerate(names)]
    done = [1.0 if each else 0.0 for each in over]
    done[now] = _done(plan, place)
    if "distilling" in expected:
        done[names.index("distilling")] = max(place.steps, 1.0 if now > names.index("distilling") else 0.0)
    here = _remaining_here(plan, place, expected[place.phase])
    factor = _factor(plan, place, expected[place.phase])
    later = [None if factor is None else expected[name] * (1 - done[i]) * factor for i, name in enumerate(names)]
    left = [0.0 if done[i] >= 1 else here if i == now else later[i] for i in range(len(names))]
    whole = sum(expected.values())
    return [Ahead(name, expected[name] / whole if whole else 0.0, done[i], left[i]) for i, name in enumerate(names)]


def remaining(phases: Sequence[Ahead]) -> float | None:
    """Seconds until the job ends; ``None`` where those of one phase cannot be told."""
    left = [phase.remaining_s for phase in phases]
    return None if None in left else sum(seconds or 0.0 for seconds in left)


def share_done(phases: Sequence[Ahead]) -> float:
    """Finished share of the job, 0 to 1."""
    return min(1.0, sum(phase.share * phase.done for phase in phases))


def _units(plan: Mapping[str, Any], place: Place) -> float | None:
    """Units of the phase that the job is in: more networks may be trained than have been announced."""
    if place.total and place.phase == "pretraining":
        return max(float(place.total), float(plan["network_epochs"]))
    return place.total or None


def _done(plan: Mapping[str, Any], place: Place) -> float:
    units = _units(plan, place)
    return min(1.0, place.done / units) if units else 0.0


def _remaining_here(plan: Mapping[str, Any], place: Place, expected: float) -> float | None:
    units = _units(plan, place)
    if units and place.per_s:
        return max(0.0, units - place.done) / place.per_s
    return expected * (1 - _done(plan, place)) if plan["measured"] else None


def _factor(plan: Mapping[str, Any], place: Place, expected: float) -> float | None:
    """How much longer than expected the phases to come should take."""
    if plan["measured"]:
        return 1.0
    units = _units(plan, place)
    return units / place.per_s / expected if units and place.per_s and expected > 0 else None
