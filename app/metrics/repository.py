"""Writing metrics: readings, the summaries over them, and one line for each series.

Summaries are rebuilt from what lies below them wherever readings change, so that they are always those of
the readings in the table, also after a resumed run has overwritten some.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, cast

from sqlalchemy import BigInteger, Delete, Insert, Table, bindparam, delete, insert, literal, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.metrics.summaries import LEVELS, spans, summarise
from app.models.jobs import Job
from app.models.metrics import MetricKey, MetricLast, MetricPoint, MetricRollup

Point = tuple[int, int, str, float]
"""Step (from 0), milliseconds since 1970, name, value (NaN and infinities allowed)."""

LARGEST = 1e300
"""Values beyond it count as infinite: their sums would overflow, and no loss comes near."""

NAN, INFINITY, MINUS_INFINITY = 1, 2, 3
_END = 2**62

KEYS, POINTS, ROLLUPS, SERIES = (
    cast(Table, model.__table__) for model in (MetricKey, MetricPoint, MetricRollup, MetricLast)
)

_number, _key = bindparam("number", type_=BigInteger), bindparam("key", type_=BigInteger)
_low, _high = bindparam("low", type_=BigInteger), bindparam("high", type_=BigInteger)


def ingest(session: Session, job_id: str, tenant: str, points: Sequence[Point]) -> None:
    """Record readings of a job; one at a step that has a reading already takes its place.

    Args:
        session: a ``write()`` session, in the transaction that has checked the caller's fence.
        job_id: an existing job.
        tenant: its owner.
        points: in any order; of two with the same name and step the later in the sequence counts.

    Raises:
        LookupError: there is no such job.
    """
    if not points:
        return
    number = _number_of(session, job_id)
    keys = _key_ids(session, tenant, {name for _, _, name, _ in points})
    rows: dict[tuple[int, int], dict[str, Any]] = {}
    for step, wall_ms, name, value in points:
        finite, kind = _split(value)
        row = {"job_number": number, "key_id": keys[name], "step": step, "wall_ms": wall_ms}
        rows[keys[name], step] = row | {"value": finite, "nf": kind}
    session.execute(_upsert(session), list(rows.values()))
    _rebuild(session, number, _touched(rows))


def truncate_after(session: Session, job_id: str, step: int) -> None:
    """Forget every reading of a job beyond ``step``, from which it is about to run again.

    Args:
        session: a ``write()`` session.
        job_id: an existing job.
        step: the last step whose readings stay.

    Raises:
        LookupError: there is no such job.
    """
    number = _number_of(session, job_id)
    beyond = select(MetricLast.key_id).where(MetricLast.job_number == number, MetricLast.step > step)
    series = [{"number": number, "key": key, "low": step + 1} for key in session.execute(beyond).scalars()]
    if series:
        session.execute(_DELETE_POINTS, series)
        _rebuild(session, number, [(item["key"], max(step, 0), _END) for item in series])


def _number_of(session: Session, job_id: str) -> int:
    number = session.execute(select(Job.number).where(Job.id == job_id)).scalar_one_or_none()
    if number is None:
        raise LookupError(f"no job {job_id}")
    return number


def _key_ids(session: Session, tenant: str, names: set[str]) -> dict[str, int]:
    known = select(MetricKey.name, MetricKey.id).where(MetricKey.tenant_id == tenant, MetricKey.name.in_(names))
    found = {row.name: row.id for row in session.execute(known)}
    missing = [{"tenant_id": tenant, "name": name} for name in sorted(names - found.keys())]
    if missing:
        session.execute(_insert(session, KEYS).on_conflict_do_nothing(), missing)
        found = {row.name: row.id for row in session.execute(known)}
    return found


def _split(value: float) -> tuple[float | None, int]:
    """The finite number, or what else it is."""
    if math.isnan(value):
        return None, NAN
    if abs(value) > LARGEST:
        return None, INFINITY if value > 0 else MINUS_INFINITY
    return float(value), 0


def _upsert(session: Session) -> postgresql.Insert | sqlite.Insert:
    statement = _insert(session, POINTS)
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=["job_number", "key_id", "step"],
        set_={"wall_ms": new.wall_ms, "value": new.value, "nf": new.nf},
    )


def _insert(session: Session, table: Table) -> postgresql.Insert | sqlite.Insert:
    # Both dialects know ON CONFLICT, but SQLAlchemy has no common function for it.
    return postgresql.insert(table) if session.get_bind().dialect.name == "postgresql" else sqlite.insert(table)


def _touched(rows: Iterable[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """First and last step of each key among (key, step)."""
    ranges: dict[int, tuple[int, int]] = {}
    for key, step in rows:
        low, high = ranges.get(key, (step, step))
        ranges[key] = (min(low, step), max(high, step))
    return [(key, low, high) for key, (low, high) in ranges.items()]


def _rebuild(session: Session, number: int, ranges: Sequence[tuple[int, int, int]]) -> None:
    """Summarise again whatever covers the ranges (key, first step, last step)."""
    for level in LEVELS:
        buckets = [
            {"number": number, "key": key, "low": low >> level, "high": (high >> level) + 1}
            for key, low, high in ranges
        ]
        session.execute(_DELETE_ROLLUPS[level], buckets)
        session.execute(_INSERT_ROLLUPS[level], buckets)
    series = [{"number": number, "key": key} for key, _, _ in ranges]
    session.execute(_DELETE_LAST, series)
    session.execute(_INSERT_LAST, series)


def _insert_rollups(below: int, level: int) -> Insert:
    """Fill the buckets ``low`` to ``high`` (exclusive) of a level from the level below."""
    factor = 2 ** (level - below)
    rows = spans(below, _number, _key, _low * factor, _high * factor).subquery()
    found = summarise(rows, _number, 2**level).subquery()
    values = select(_number, literal(level), *found.c)
    return insert(ROLLUPS).from_select(["job_number", "level", *found.c.keys()], values)


def _insert_last(below: int) -> Insert:
    found = summarise(spans(below, _number, _key, 0, _END).subquery(), _number, None).subquery().c
    names = {"first_step": found.step_min, "step": found.step_max, "value": found.vlast}
    names |= {name: found[name] for name in ("key_id", "n", "nf", "vmin", "vmax")}
    return insert(SERIES).from_select(["job_number", *names], select(_number, *names.values()))


def _delete_rollups(level: int) -> Delete:
    r = ROLLUPS.c
    return delete(ROLLUPS).where(
        r.job_number == _number, r.key_id == _key, r.level == level, r.bucket >= _low, r.bucket < _high
    )


_DELETE_ROLLUPS = {level: _delete_rollups(level) for level in LEVELS}
_INSERT_ROLLUPS = {level: _insert_rollups(below, level) for below, level in zip((0, *LEVELS), LEVELS, strict=False)}
_DELETE_LAST = delete(SERIES).where(SERIES.c.job_number == _number, SERIES.c.key_id == _key)
_INSERT_LAST = _insert_last(LEVELS[-1])
_DELETE_POINTS = delete(POINTS).where(POINTS.c.job_number == _number, POINTS.c.key_id == _key, POINTS.c.step >= _low)
