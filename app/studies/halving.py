"""Successive halving: where trials are held, which of them go on, and which one wins. Pure functions.

The rule is that of Jamieson and Talwalkar (AISTATS 2016, arXiv 1502.07943, algorithm 1), for one bracket and a number
of steps instead of pulls, with one addition: a trial that cannot be told from the last of those that go on goes on too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

CLOSE = 2.0
"""Pooled deviations below the last that goes on within which a trial goes on as well."""


@dataclass(frozen=True)
class Score:
    """What a trial is ranked by at a rung.

    Attributes:
        trial: its index.
        value: the objective; larger is better.
        variance: of that value as a mean over networks or seeds; ``None`` where a single network gave it.
    """

    trial: int
    value: float
    variance: float | None = None


def holds(iterations: int, rungs: int, reduction: int) -> tuple[int, ...]:
    """Steps after which a trial is held, one for each rung; the last is its end.

    >>> holds(900, 3, 3), holds(10, 3, 3), holds(0, 3, 3)
    ((100, 300, 900), (2, 4, 10), (0, 0, 0))
    """
    return tuple(-(-iterations // reduction ** (rungs - 1 - rung)) for rung in range(rungs))


def ranked(scores: Iterable[Score]) -> list[Score]:
    """Best first; of equals the lower index."""
    return sorted(scores, key=lambda score: (-score.value, score.trial))


def pooled_deviation(scores: Iterable[Score]) -> float:
    """Root of the mean of the variances that are known; 0 where none is."""
    known = [score.variance for score in scores if score.variance is not None]
    return math.sqrt(fmean(known)) if known else 0.0


def promoted(scores: Sequence[Score], reduction: int) -> list[int]:
    """Trials that go on, best first: one of ``reduction``, rounded up, and those that are too close to the last.

    Args:
        scores: of all trials of the rung.
        reduction: of so many one goes on.

    >>> promoted([Score(0, 50.0), Score(1, 80.0), Score(2, 80.0), Score(3, 70.0)], 3)
    [1, 2]
    >>> promoted([Score(0, 50.0, 1.0), Score(1, 52.0, 1.0), Score(2, 49.9, 1.0)], 3)
    [1, 0]
    """
    order = ranked(scores)
    certain = order[: -(-len(order) // reduction)]
    if not certain:
        return []
    floor = certain[-1].value - CLOSE * pooled_deviation(scores)
    return [score.trial for i, score in enumerate(order) if i < len(certain) or score.value >= floor]


def expected_steps(iterations: Sequence[int], rungs: int, reduction: int) -> int:
    """Steps of all trials if at each rung exactly one of ``reduction`` goes on, those with the most steps first.

    >>> expected_steps([900] * 9, 3, 3)
    2100
    """
    going, taken = sorted(iterations, reverse=True), 0
    for rung in range(rungs):
        steps = [holds(each, rungs, reduction) for each in going]
        taken += sum(each[rung] - (each[rung - 1] if rung else 0) for each in steps)
        going = going[: -(-len(going) // reduction)]
    return taken
