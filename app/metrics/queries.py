"""Reading metrics: what series a job has, and any part of one in a bounded number of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, Select, select, union_all
from sqlalchemy.orm import Session

from app.metrics import thinning
from app.metrics.summaries import LEVELS, spans, summarise
from app.models.jobs import Job
from app.models.metrics import MetricKey, MetricLast, MetricPoint


@dataclass(frozen=True)
class Series:
    """One metric of one job, and what is known of it without reading points.

    Attributes:
        n: finite readings.
        nf: readings that are NaN or infinite.
        last: reading at ``last_step``; ``None`` where that is not finite.
        thinned: whether only some of its readings are left, see :mod:`app.metrics.thinning`.
    """

    job_number: int
    key_id: int
    name: str
    first_step: int
    last_step: int
    n: int
    nf: int
    last: float | None
    min: float | None
    max: float | None
    thinned: bool = False


@dataclass(frozen=True)
class Reduced:
    """Part of a series in at most so many rows.

    Attributes:
        rows: by step; each with ``n, nf, vmin, step_min, vmax, step_max, vsum, vlast``, as in ``metric_rollup``.
        level: what the rows were summarised from: 0 readings, otherwise summaries of ``2 ** level`` steps.
        width: steps that a row covers at most.
        exact: whether each row is a single reading, so that nothing was summarised.
    """

    rows: Sequence[Row[*tuple[Any, ...]]]
    level: int
    width: int
    exact: bool


def series_of(session: Session, tenant: str, job_id: str, names: Sequence[str] | None = None) -> list[Series]:
    """The series of a tenant's job, by name; only those in ``names`` where given."""
    return series_of_jobs(session, tenant, [job_id], names)[job_id]


def series_of_jobs(
    session: Session, tenant: str, job_ids: Sequence[str], names: Sequence[str] | None = None
) -> dict[str, list[Series]]:
    """The series of each of some jobs of a tenant, by name; only those in ``names`` where given."""
    statement = (
        select(Job.id, MetricLast, MetricKey.name, thinning.THINNED)
        .join(MetricKey, MetricKey.id == MetricLast.key_id)
        .join(Job, Job.number == MetricLast.job_number)
        .where(Job.id.in_(job_ids), Job.tenant_id == tenant, Job.deleted_at.is_(None))
        .order_by(MetricKey.name)
    )
    if names is not None:
        statement = statement.where(MetricKey.name.in_(names))
    found: dict[str, list[Series]] = {job_id: [] for job_id in job_ids}
    for job_id, s, name, thinned in session.execute(statement):
        few = bool(thinned) and s.n + s.nf > thinning.KEPT_WHOLE
        found[job_id].append(
            Series(s.job_number, s.key_id, name, s.first_step, s.step, s.n, s.nf, s.value, s.vmin, s.vmax, few)
        )
    return found


def readings(session: Session, series: Series, low: int, high: int, limit: int) -> Sequence[Row[*tuple[Any, ...]]]:
    """The first ``limit`` readings from step ``low`` to ``high``, both included: ``step, value, nf, wall_ms``."""
    p = MetricPoint
    inside = (p.job_number == series.job_number, p.key_id == series.key_id, p.step >= low, p.step <= high)
    columns = select(p.step, p.value, p.nf, p.wall_ms)
    return session.execute(columns.where(*inside).order_by(p.step).limit(limit)).all()


def reduced(session: Session, series: Series, low: int, high: int, max_rows: int) -> Reduced:
    """Steps ``low`` to ``high``, both included, in at most ``max_rows`` rows.

    Where there are no more readings than that, each is a row. Otherwise rows cover equally many steps, and
    are made from the coarsest kept summaries that fit inside them; what those do not cover at the two ends
    comes from readings, so that a row is right about every step it names. Of a series that was thinned, rows come from
    summaries alone, and begin and end where these do.
    """
    return reduced_together(session, [series], low, high, max_rows)[0]


def reduced_together(session: Session, series: Sequence[Series], low: int, high: int, max_rows: int) -> list[Reduced]:
    """Like :func:`reduced` for several series of one metric, in rows that cover the same steps.

    Either every row of all of them is a single reading, or rows begin at multiples of one width.
    """
    low = max(low, min((one.first_step for one in series), default=0))
    high = min(high, max((one.last_step for one in series), default=0))
    if low > high:
        return [Reduced([], 0, 1, True) for _ in series]
    finest = LEVELS[0] if any(one.thinned for one in series) else 0
    if finest == 0:
        single = [session.execute(_each(one, low, high).limit(max_rows + 1)).all() for one in series]
        if all(len(rows) <= max_rows for rows in single):
            return [Reduced(rows, 0, 1, True) for rows in single]
    low, high = low >> finest << finest, ((high >> finest) + 1 << finest) - 1
    width, level = bucket_width(low, high, max_rows, finest)
    summarised = [session.execute(_summarised(one, low, high, width, level)).all() for one in series]
    return [Reduced(rows, level, width, False) for rows in summarised]


def bucket_width(low: int, high: int, max_rows: int, finest: int = 0) -> tuple[int, int]:
    """Steps of a bucket, and the level of the summaries it is made from.

    Buckets begin at multiples of their width, so that summaries lie wholly inside them.

    Args:
        low: first step.
        high: last step.
        max_rows: how many buckets may cover them; at least 2.
        finest: the least level that there is everything of.

    >>> bucket_width(0, 999, 500), bucket_width(0, 999, 500, LEVELS[0])
    ((3, 0), (64, 6))
    >>> bucket_width(0, 999_999, 500)
    (2048, 6)
    >>> bucket_width(0, 9_999_999, 500)
    (20480, 12)
    """
    steps = high - low + 1
    level = next((level for level in reversed(LEVELS) if steps >> level >= max_rows), finest)
    # One bucket fewer than allowed, because the first and the last may stick out of the range.
    width = -(-steps // (max_rows - 1))
    return -(-width >> level) << level, level


def _each(series: Series, low: int, high: int) -> Select[*tuple[Any, ...]]:
    rows = spans(0, series.job_number, series.key_id, low, high + 1).subquery()
    return select(*rows.c, rows.c.vmax.label("vlast")).order_by(rows.c.step_min)


def _summarised(series: Series, low: int, high: int, width: int, level: int) -> Select[*tuple[Any, ...]]:
    of = (series.job_number, series.key_id)
    if level == 0:
        rows = spans(0, *of, low, high + 1).subquery()
    else:
        unit = 2**level
        first, end = -(-low // unit), (high + 1) // unit
        parts = [spans(0, *of, low, first * unit), spans(level, *of, first, end), spans(0, *of, end * unit, high + 1)]
        rows = union_all(*parts).subquery()
    found = summarise(rows, series.job_number, width).subquery()
    return select(*found.c).order_by(found.c.bucket)
