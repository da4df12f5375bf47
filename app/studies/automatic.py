"""The space of an automatic study: what is worth trying on a dataset, and how far each goes in the minutes there are.

Real images kept by a rule come first: they take next to no time, and they are what a distilled set has to beat. Then
come the methods that fit images, classes and budget. Each gets equal time for its steps, not an equal number of them,
because a step of one costs a hundred of another. How long steps take is forecast as for any job.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ddcore.spec import DatasetFacts

Values = Mapping[str, Any]
"""What a trial sets, by dotted path into the body of a job."""

RESERVE = 0.15
"""Share of the minutes that is not planned: forecasts are not exact, and ties go on together."""
FEWEST_STEPS = 10
"""Steps of the first rung, at least: before that a score says little of what a method becomes."""
_SMALLEST_TILED = 16
"""Pixels a side from which on mosaics are tried: their tiles have half of it."""

CORESETS = ("random", "herding", "k_center", "k_means")


@dataclass(frozen=True)
class Candidate:
    """Something to try.

    Attributes:
        values: what its trial sets.
        tiled: whether it stores mosaics of smaller images.
    """

    values: Values
    tiled: bool = False

    def fits(self, facts: DatasetFacts) -> bool:
        """Whether images of this size can be stored that way."""
        return not self.tiled or min(facts.shape[1:]) >= _SMALLEST_TILED


METHODS = (
    Candidate({"method": "dm", "method.batch_real": 64}),
    Candidate({"method": "dm", "method.batch_real": 64, "regularizers.mim.relative": 1.0}),
    Candidate({"method": "dsa", "method.batch_real": 64, "method.inner_loop": 10}),
    Candidate(
        {
            "method": "idm", "method.batch_real": 64, "method.batch_train": 64, "method.network_steps": 5,
            "method.queue_size": 20, "method.grow_every": 5,
        },
        tiled=True,
    ),
    Candidate({"method": "idc", "method.train_images": 256, "method.steps_per_network": 20}, tiled=True),
)  # fmt: skip
"""Methods at the settings of short runs: smaller batches of real images than published, and shorter training beside."""


@dataclass(frozen=True)
class Forecast:
    """What a candidate takes, in seconds.

    Attributes:
        start: whenever it begins or goes on: a process, the dataset, the probe.
        networks: those that it trains on real images first.
        step: one step.
        scoring: one scoring on the way.
        evaluation: scoring in full, once it has won.
    """

    start: float
    networks: float
    step: float
    scoring: float
    evaluation: float

    @property
    def first_score(self) -> float:
        """Seconds until the first score, but for the steps."""
        return self.start + self.networks + self.scoring


Forecaster = Callable[[Values], Forecast | None]
"""Forecasts a candidate; ``None`` where no job can be made of it."""


@dataclass(frozen=True)
class Point:
    """A trial of an automatic study.

    Attributes:
        values: what it sets.
        iterations: steps in all; ``None`` for a rule, which takes none.
    """

    values: Values
    iterations: int | None


@dataclass(frozen=True)
class Halving:
    """How a study goes on.

    Attributes:
        rungs: how often it decides.
        reduction: of so many trials one goes on.
    """

    rungs: int
    reduction: int

    def rung_steps(self, steps: float) -> float:
        """Steps of the first rung of a trial that may take so many."""
        return steps / math.pow(self.reduction, self.rungs - 1)

    def weight(self, trials: int) -> float:
        """How often the whole time of one trial so many take, if as many go on as the rule says.

        >>> Halving(rungs=3, reduction=3).weight(9)  # 9 trials for a ninth, 3 for two ninths more, 1 to its end
        2.333
        """
        shares = [self.rung_steps(self.reduction**rung) for rung in range(self.rungs)]
        begun = [0.0, *shares[:-1]]
        going = [math.ceil(trials / self.reduction**rung) for rung in range(self.rungs)]
        return round(math.fsum(n * (end - start) for n, start, end in zip(going, begun, shares, strict=True)), 3)

    def attempts(self, trials: int) -> int:
        """How often one of so many trials begins or goes on, and is scored."""
        return sum(math.ceil(trials / self.reduction**rung) for rung in range(self.rungs))


def automatic(facts: DatasetFacts, minutes: float, halving: Halving, forecast: Forecaster) -> list[Point]:
    """The trials of an automatic study.

    Args:
        facts: of the dataset.
        minutes: of running, over all jobs.
        halving: how the study goes on.
        forecast: see :data:`Forecaster`.

    Returns:
        Rules first, then methods; no method whose first rung would be too short to say anything. None at all where
        the minutes do not even suffice for one rule.
    """
    budget = minutes * 60 * (1 - RESERVE)
    rules = list(_affordable(_forecast([{"method": name} for name in CORESETS], forecast), budget))
    spent = sum(found.start + found.scoring for _, found in rules)
    left = budget - spent - max((found.networks for _, found in rules), default=0.0)
    methods = _forecast([each.values for each in METHODS if each.fits(facts)], forecast)
    while methods and not _suffices(methods, left, halving):
        # The one that takes longest until it can be judged.
        methods.remove(max(methods, key=lambda pair: pair[1].first_score + pair[1].step * FEWEST_STEPS))
    time = _time_of_each(methods, left, halving)
    return [
        *(Point(values, None) for values, _ in rules),
        *(Point(values, _steps(found, time)) for values, found in methods),
    ]


def _forecast(tried: Sequence[Values], forecast: Forecaster) -> list[tuple[Values, Forecast]]:
    """Those of which a job can be made."""
    found = [(values, forecast(values)) for values in tried]
    return [(values, each) for values, each in found if each is not None]


def _affordable(rules: Sequence[tuple[Values, Forecast]], budget: float) -> Iterator[tuple[Values, Forecast]]:
    """Rules for which there is time, and for evaluating one of them; all that need a network share it."""
    spent = networks = 0.0
    for values, found in rules:
        more = max(0.0, found.networks - networks)
        if spent + more + found.start + found.scoring + found.evaluation <= budget:
            spent += more + found.start + found.scoring
            networks += more
            yield values, found


def _suffices(methods: Sequence[tuple[Values, Forecast]], seconds: float, halving: Halving) -> bool:
    """Whether each method gets far enough within the first rung to be judged."""
    time = _time_of_each(methods, seconds, halving)
    return all(halving.rung_steps(time / found.step) >= FEWEST_STEPS for _, found in methods)


def _time_of_each(methods: Sequence[tuple[Values, Forecast]], seconds: float, halving: Halving) -> float:
    """Seconds that the steps of a method may take that goes to the end; at most 0 where there are none left."""
    if not methods:
        return 0.0
    forecasts = [found for _, found in methods]
    again = halving.attempts(len(methods)) * max(found.start + found.scoring for found in forecasts)
    networks = sum(found.networks for found in forecasts)
    end = max(found.start + found.evaluation for found in forecasts)
    return (seconds - again - networks - end) / halving.weight(len(methods))


def _steps(found: Forecast, seconds: float) -> int:
    return max(1, int(seconds / found.step))
