"""One curve out of the curves of several seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


class Summary(Protocol):
    """Count, range and sum of a metric over neighbouring steps; see :func:`app.metrics.summaries.summarise`."""

    n: int
    nf: int
    vmin: float | None
    vmax: float | None
    vsum: float
    step_min: int
    step_max: int


@dataclass(frozen=True)
class Point:
    """What all seeds say at some steps.

    Attributes:
        step_min: first step with a reading.
        step_max: last step with a reading.
        n: jobs with a finite reading there.
        nonfinite: readings that are not finite, of all jobs.
        mean: over jobs of their mean there; ``None`` where no reading is finite, like the fields below.
        std: population standard deviation of the same.
        low: least reading of any job.
        high: greatest reading of any job.
    """

    step_min: int
    step_max: int
    n: int
    nonfinite: int
    mean: float | None
    std: float | None
    low: float | None
    high: float | None


def band(curves: Sequence[Mapping[int, Summary]]) -> list[Point]:
    """Join the curves of several jobs.

    Args:
        curves: for each job its rows by a number that rows for the same steps share.

    Returns:
        A point for each number, in their order; jobs without a row there do not count.
    """
    places = sorted({place for curve in curves for place in curve})
    return [_point([curve[place] for curve in curves if place in curve]) for place in places]


def _point(rows: Sequence[Summary]) -> Point:
    means = [row.vsum / row.n for row in rows if row.n]
    mean, std = spread(means)
    return Point(
        step_min=min(row.step_min for row in rows),
        step_max=max(row.step_max for row in rows),
        n=len(means),
        nonfinite=sum(row.nf for row in rows),
        mean=mean,
        std=std,
        low=min((row.vmin for row in rows if row.vmin is not None), default=None),
        high=max((row.vmax for row in rows if row.vmax is not None), default=None),
    )


def spread(values: Sequence[float]) -> tuple[float, float] | tuple[None, None]:
    """Mean and population standard deviation; ``None`` where there is no value.

    >>> spread([1.0, 3.0]), spread([])
    ((2.0, 1.0), (None, None))
    """
    if not values:
        return None, None
    mean = math.fsum(values) / len(values)
    # hypot squares without overflow.
    return mean, math.hypot(*(value - mean for value in values)) / math.sqrt(len(values))
