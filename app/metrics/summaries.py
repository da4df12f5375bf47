"""How readings are summarised, in SQL that SQLite and PostgreSQL share.

A summary of level L covers ``2 ** L`` consecutive steps; level 0 is the readings themselves. Summaries of any
level can be summarised further without loss, except that the last reading is looked up.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Integer, Select, SQLColumnExpression, cast, func, literal, select
from sqlalchemy.sql import FromClause

from app.models.metrics import MetricPoint, MetricRollup

LEVELS = (6, 12)
"""Levels that are kept in the table ``metric_rollup``."""

_FIELDS = ("n", "nf", "vmin", "step_min", "vmax", "step_max", "vsum")

Number = ColumnElement[int] | int


def spans(level: int, job_number: Number, key_id: Number, low: Number, high: Number) -> Select[*tuple[Any, ...]]:
    """The rows of one series at a level, each with what it covers and what it says about it.

    Args:
        level: 0 for readings, or one of :data:`LEVELS`.
        job_number: the job's number.
        key_id: the metric's number.
        low: first bucket (level 0: step).
        high: bucket (step) after the last.

    Returns:
        A statement with the columns ``key_id, n, nf, vmin, step_min, vmax, step_max, vsum``.
    """
    if level == 0:
        p = MetricPoint
        finite = cast(p.value.is_not(None), Integer)
        said: list[SQLColumnExpression[Any]] = [finite, 1 - finite, p.value, p.step, p.value, p.step]
        said.append(func.coalesce(p.value, 0.0))
        inside = (p.job_number == job_number, p.key_id == key_id, p.step >= low, p.step < high)
        return select(p.key_id, *(c.label(field) for c, field in zip(said, _FIELDS, strict=True))).where(*inside)
    r = MetricRollup
    inside = (r.job_number == job_number, r.key_id == key_id, r.bucket >= low, r.bucket < high)
    return select(r.key_id, *(getattr(r, field) for field in _FIELDS)).where(r.level == level, *inside)


def summarise(rows: FromClause, job_number: Number, width: Number | None) -> Select[*tuple[Any, ...]]:
    """Summaries of ``width`` consecutive steps each.

    Args:
        rows: what :func:`spans` gives; no row may lie across the border of two buckets.
        job_number: the job's number.
        width: steps of a bucket; ``None`` puts the whole series into one.

    Returns:
        A statement with the columns ``key_id, bucket, n, nf, vmin, step_min, vmax, step_max, vsum, vlast``; buckets
        without a reading are absent.
    """
    bucket = literal(0) if width is None else rows.c.step_min // width
    grouped = (
        select(
            rows.c.key_id,
            bucket.label("bucket"),
            cast(func.sum(rows.c.n), BigInteger).label("n"),
            cast(func.sum(rows.c.nf), BigInteger).label("nf"),
            func.min(rows.c.vmin).label("vmin"),
            func.min(rows.c.step_min).label("step_min"),
            func.max(rows.c.vmax).label("vmax"),
            func.max(rows.c.step_max).label("step_max"),
            func.sum(rows.c.vsum).label("vsum"),
        )
        .group_by(rows.c.key_id, "bucket")
        .subquery()
    )
    p = MetricPoint
    at_end = (p.job_number == job_number, p.key_id == grouped.c.key_id, p.step == grouped.c.step_max)
    return select(*grouped.c, select(p.value).where(*at_end).scalar_subquery().label("vlast"))
