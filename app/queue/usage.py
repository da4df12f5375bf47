"""How long the jobs of a tenant have held workers, month by month."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Float, case, cast, func, select, type_coerce, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.core.database import now
from app.core.tables import clock
from app.models.audit import UsedTime
from app.models.fleet import Worker
from app.models.jobs import Job
from app.models.states import HELD, TERMINAL, Kind, State, StudyState
from app.models.studies import Study

_NEEDING = frozenset(State) - TERMINAL - {State.CANCELLING}
"""States of jobs that still need a worker: one that is being cancelled only gives its own back."""


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


def work_left(session: Session, tenant_id: str) -> float:
    """Seconds that workers should still need for what a tenant has not finished.

    That is what was expected at submission, less the time run: a clock that every job has, whatever its phases, while
    steps say nothing of networks to train or to score. A job or study that has run longer counts 0. One that was
    never estimated counts ``max_runtime_s``, after which it is ended. Studies count as a whole, since most of their
    jobs are left early. Taking a set in counts nothing: bytes bound it.
    """
    left = func.coalesce(Job.expected_s, Job.max_runtime_s) - _seconds_run()
    alone = (Job.kind != Kind.INGEST, Job.study_id.is_(None), Job.status.in_(_NEEDING))
    positive = func.sum(case((left > 0, left), else_=0.0))
    jobs = select(positive).where(Job.tenant_id == tenant_id, Job.deleted_at.is_(None), *alone)
    return float(session.execute(jobs).scalar_one() or 0.0) + _left_of_studies(session, tenant_id)


def _left_of_studies(session: Session, tenant_id: str) -> float:
    longest = func.sum(case((Job.status.in_(_NEEDING), Job.max_runtime_s), else_=0.0))
    going = (Study.finished_at.is_(None), Study.deleted_at.is_(None), Study.status != StudyState.CANCELLING)
    found = (
        select(func.coalesce(Study.expected_s, longest), func.sum(_seconds_run()))
        .join(Job, Job.study_id == Study.id)
        .where(Study.tenant_id == tenant_id, *going)
        .group_by(Study.id, Study.expected_s)
    )
    return sum(max(0.0, expected - run) for expected, run in session.execute(found).all())


def _seconds_run() -> ColumnElement[float]:
    """Seconds that a job has run since it was last begun anew, the attempt under way included."""
    return Job.runtime_s + case((Job.status.in_(HELD), seconds_since_claim()), else_=0.0)
