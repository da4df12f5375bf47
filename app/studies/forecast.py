"""How long the jobs of a study should take. Forecasts are made once, when it is made, and kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import fmean
from typing import Any

from app.jobs.assessment import Assessor
from app.jobs.estimate import Costing
from app.studies.automatic import Forecast
from ddcore.spec import JobSpec


@dataclass(frozen=True)
class Outlook:
    """What is left of a trial that is still in a study.

    Attributes:
        forecast: of one of its jobs.
        holds: steps at the end of each rung.
        rung: the rung that it is in.
        steps: that one of its jobs has taken.
        scored: whether it is scored in that rung.
    """

    forecast: Forecast
    holds: Sequence[int]
    rung: int = 0
    steps: float = 0.0
    scored: bool = False

    def seconds_to(self, rung: int) -> float:
        """Of running, from the end of the rung before to the score of this one."""
        before = self.holds[rung - 1] if rung else 0
        return self._seconds(rung, self.holds[rung] - before)

    @property
    def left(self) -> float:
        """Seconds until the score of the rung that it is in."""
        return 0.0 if self.scored else self._seconds(self.rung, max(0.0, self.holds[self.rung] - self.steps))

    def _seconds(self, rung: int, steps: float) -> float:
        if rung and self.holds[rung] == self.holds[rung - 1]:
            return 0.0
        networks = self.forecast.networks if rung == 0 and not self.steps else 0.0
        return self.forecast.start + networks + self.forecast.scoring + self.forecast.step * steps


def ahead(outlooks: Sequence[Outlook], seeds: int, reduction: int) -> float:
    """Seconds of running that are left, over all jobs, if as many trials go on as the rule says and no more.

    Args:
        outlooks: of the trials that are still in it, at least one.
        seeds: jobs of each trial.
        reduction: of so many one goes on.
    """
    rung, going = outlooks[0].rung, len(outlooks)
    seconds = math.fsum(each.left for each in outlooks)
    for later in range(rung + 1, len(outlooks[0].holds)):
        going = -(-going // reduction)
        seconds += going * fmean(each.seconds_to(later) for each in outlooks)
    end = fmean(each.forecast.start + each.forecast.evaluation for each in outlooks)
    return seconds * seeds + end


def minutes_to_the_end(found: Forecast, iterations: int, scorings: int) -> float:
    """Minutes that one job should take that is never held."""
    steps = found.step * iterations + found.scoring * scorings
    return (found.start + found.networks + steps + found.evaluation) / 60


def as_json(found: Forecast) -> dict[str, float]:
    """The forecast as a trial keeps it."""
    return {field.name: getattr(found, field.name) for field in fields(found)}


def from_json(kept: Mapping[str, Any]) -> Forecast:
    """A forecast that a trial keeps."""
    return Forecast(**{field.name: kept[field.name] for field in fields(Forecast)})


def forecast(assessor: Assessor, costing: Costing) -> Forecast | None:
    """What a job of a study should take; ``None`` where its dataset's size is not known.

    It is that of the fastest kind of device that a live worker offers for it, or of the slowest kind where none does.

    Args:
        assessor: knows workers and measurements.
        costing: the job, with the scorings of a study.
    """
    device = costing.likely_device(
        [each for worker in assessor.workers if (each := worker.used_for(costing.spec.device))]
    )
    if costing.cost is None or device is None:
        return None
    spec = costing.spec
    unscored = spec.evaluation.model_copy(update={"during": None})
    phases = costing.predicted[device].phases
    bare = costing.of(_replaced(spec, unscored)).predicted[device].phases["distilling"].expected
    looks, iterations = len(costing.cost.looks), spec.method.iterations
    return Forecast(
        start=phases["loading"].expected + phases["around"].expected,
        networks=phases["pretraining"].expected,
        step=bare / iterations if iterations else 0.0,
        scoring=max(0.0, phases["distilling"].expected - bare) / looks if looks else 0.0,
        evaluation=phases["evaluating"].expected + phases["finalizing"].expected,
    )


def _replaced(spec: JobSpec, evaluation: Any) -> JobSpec:
    copy = spec.model_copy(update={"evaluation": evaluation})
    return copy if spec.facts is None else copy.knowing(spec.facts)
