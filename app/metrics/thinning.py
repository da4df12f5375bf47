"""Fewer readings of jobs that ended long ago: charts and summaries stay, and so do some of the readings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import Row, delete, false, func, select
from sqlalchemy.orm import Session

from app.metrics.summaries import LEVELS
from app.models.jobs import Job
from app.models.metrics import MetricLast, MetricPoint

THINNED = func.coalesce(Job.thinned_at >= Job.finished_at, false()).label("thinned")
"""Whether a job has lost readings; one that was retried since has all of its new ones."""
KEPT_WHOLE = 2000
"""A series of no more readings loses none."""
_CHUNK = 500
WINDOW = 16_384
"""Steps that are looked at in one transaction; a multiple of those that a summary covers."""


@dataclass(frozen=True)
class Long:
    """A series with more readings than stay whole."""

    job_number: int
    key_id: int
    first_step: int
    last_step: int

    def windows(self) -> range:
        """First steps of the windows that cover it."""
        return range(self.first_step // WINDOW * WINDOW, self.last_step + 1, WINDOW)


def long_series(session: Session, job_number: int) -> Sequence[Long]:
    """The series of a job that :func:`thin` is for."""
    last = MetricLast
    many = (last.job_number == job_number, last.n + last.nf > KEPT_WHOLE)
    rows = session.execute(select(last.key_id, last.first_step, last.step).where(*many).order_by(last.key_id))
    return [Long(job_number, *row) for row in rows]


def thin(session: Session, series: Long, low: int) -> int:
    """Keep, of every 64 steps, the first, last, lowest and highest reading, and the first that is not finite.

    Summaries are left as they are: they were made of all readings. A second time removes nothing.

    Args:
        session: a ``write()`` session.
        series: of a job that never goes on, since summaries are made anew from what is left where readings come.
        low: first step of the window.

    Returns:
        How many were removed.
    """
    p = MetricPoint
    of_series = (p.job_number == series.job_number, p.key_id == series.key_id)
    inside = select(p.step, p.value, p.nf).where(*of_series, p.step >= low, p.step < low + WINDOW).order_by(p.step)
    dropped: list[int] = []
    for _, group in groupby(session.execute(inside).all(), lambda reading: reading.step >> LEVELS[0]):
        dropped += _dispensable(list(group))
    for chunk in (dropped[first : first + _CHUNK] for first in range(0, len(dropped), _CHUNK)):
        gone = delete(p).where(*of_series, p.step.in_(chunk))
        session.execute(gone.execution_options(synchronize_session=False))
    return len(dropped)


def _dispensable(readings: Sequence[Row[int, float | None, int]]) -> Iterator[int]:
    """Steps of the readings that nobody will miss, of consecutive ones: ``step, value, nf``."""
    finite = [(reading.value, reading.step) for reading in readings if reading.value is not None]
    kept = {readings[0].step, readings[-1].step}
    if finite:
        kept |= {min(finite)[1], max(finite, key=lambda one: one[0])[1]}  # of equal ones the earliest
    kept |= {next(one.step for one in readings if one.nf == kind) for kind in {one.nf for one in readings} - {0}}
    return (reading.step for reading in readings if reading.step not in kept)
