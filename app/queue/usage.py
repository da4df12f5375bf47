"""How long the jobs of a tenant have held workers, month by month."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Float, cast, func, select, type_coerce, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.core.database import now
from app.core.tables import clock
from app.models.audit import UsedTime
from app.models.fleet import Worker
from app.models.jobs import Job
from app.models.states import HELD


def seconds_since_claim() -> ColumnElement[float]:
    """Seconds that the current attempt of a job has run."""
    milliseconds = type_coerce(clock(), BigInteger) - type_coerce(Job.claimed_at, BigInteger)
    return func.coalesce(cast(milliseconds, Float) / 1000.0, 0.0)


def month_of(moment: datetime) -> str:
    """The calendar month of UTC that a moment lies in.

    >>> month_of(datetime(2026, 11, 30, 23, tzinfo=UTC))
    '2026-11'
    """
    return moment.astimezone(UTC).strftime("%Y-%m")


def next_month(moment: datetime) -> datetime:
    """When the month after that of a moment begins.

    >>> next_month(datetime(2026, 12, 31, tzinfo=UTC)).isoformat()
    '2027-01-01T00:00:00+00:00'
    """
    year, month = divmod(moment.astimezone(UTC).year * 12 + moment.astimezone(UTC).month, 12)
    return datetime(year, month + 1, 1, tzinfo=UTC)


class Attempt(NamedTuple):
    """What an attempt took of a tenant's time."""

    tenant_id: str
    device_class: str
    seconds: float


def attempt_of(session: Session, job_id: str) -> Attempt:
    """The attempt of a job that a worker holds, up to now."""
    held = (
        select(Job.tenant_id, func.coalesce(Worker.device_class, Job.device_class), seconds_since_claim())
        .outerjoin(Worker, Worker.id == Job.owner)
        .where(Job.id == job_id)
    )
    return Attempt(*session.execute(held).one())


def charge(session: Session, attempt: Attempt) -> None:
    """Charge a tenant for an attempt that has ended; the whole of it counts in the month in which it ends."""
    tenant_id, device_class, seconds = attempt
    month = month_of(now(session))
    added = (
        update(UsedTime)
        .where(UsedTime.tenant_id == tenant_id, UsedTime.month == month, UsedTime.device_class == device_class)
        .values(seconds=UsedTime.seconds + seconds)
        .returning(UsedTime.month)
        .execution_options(synchronize_session=False)
    )
    if session.execute(added).all():
        return
    try:
        with session.begin_nested():
            session.add(UsedTime(tenant_id=tenant_id, month=month, device_class=device_class, seconds=seconds))
    except IntegrityError:
        # Another job of the tenant has just been the first of its month.
        session.execute(added)


def minutes(session: Session, tenant_id: str, moment: datetime) -> Mapping[str, float]:
    """Minutes of a tenant in the month of a moment by kind of device, attempts that still run included."""
    found: dict[str, float] = {}
    ended = select(UsedTime.device_class, UsedTime.seconds).where(
        UsedTime.tenant_id == tenant_id, UsedTime.month == month_of(moment)
    )
    running = (
        select(func.coalesce(Worker.device_class, Job.device_class), seconds_since_claim())
        .outerjoin(Worker, Worker.id == Job.owner)
        .where(Job.tenant_id == tenant_id, Job.status.in_(HELD))
    )
    for statement in (ended, running):
        for device_class, seconds in session.execute(statement).all():
            found[device_class] = found.get(device_class, 0.0) + seconds / 60
    return found
