"""Reading events."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models.events import Event
from app.models.jobs import Job


@dataclass(frozen=True)
class JobState:
    """What a stream needs to know of a job."""

    id: str
    status: str
    event_seq: int
    version: int


def of_job(
    session: Session,
    tenant: str,
    job_id: str,
    *,
    after_seq: int = 0,
    levels: Collection[str] | None = None,
    types: Collection[str] | None = None,
    limit: int = 200,
) -> Sequence[Event]:
    """Events of a tenant's job after ``after_seq``, in order."""
    wanted = [Event.job_id == job_id, Event.tenant_id == tenant, Event.seq > after_seq]
    if levels is not None:
        wanted.append(Event.level.in_(levels))
    if types is not None:
        wanted.append(Event.type.in_(types))
    return session.execute(select(Event).where(*wanted).order_by(Event.seq).limit(limit)).scalars().all()


def newest(session: Session, tenant: str, job_id: str, limit: int, *, without: Collection[str] = ()) -> Sequence[Event]:
    """The last events of a tenant's job, newest first, but for some types."""
    of_job = (Event.job_id == job_id, Event.tenant_id == tenant, Event.type.not_in(without))
    return session.execute(select(Event).where(*of_job).order_by(Event.seq.desc()).limit(limit)).scalars().all()


def states(session: Session, job_ids: Collection[str]) -> dict[str, JobState]:
    """Where jobs are, by identifier; jobs that are gone are absent."""
    columns = (Job.id, Job.status, Job.event_seq, Job.version)
    rows = session.execute(select(*columns).where(Job.id.in_(job_ids), Job.deleted_at.is_(None)))
    return {row.id: JobState(*row) for row in rows}


def between(session: Session, job_id: str, after_seq: int, last_seq: int) -> Sequence[Event]:
    """Events of a job after ``after_seq`` up to ``last_seq``, in order."""
    numbers = (Event.job_id == job_id, Event.seq > after_seq, Event.seq <= last_seq)
    return session.execute(select(Event).where(*numbers).order_by(Event.seq)).scalars().all()


def since(session: Session, tenant: str, moment: datetime, limit: int) -> Sequence[Event]:
    """The last ``limit`` events of a tenant recorded at ``moment`` or later, in order of time."""
    statement = select(Event).where(Event.tenant_id == tenant, Event.at >= moment)
    newest_first = statement.order_by(Event.at.desc(), Event.id.desc()).limit(limit)
    return session.execute(newest_first).scalars().all()[::-1]


def moments(session: Session, tenant: str, moment: datetime, limit: int) -> dict[str, datetime]:
    """Identifiers of the same events, and when each was recorded, newest first."""
    statement = select(Event.id, Event.at).where(Event.tenant_id == tenant, Event.at >= moment)
    return {
        row.id: row.at for row in session.execute(statement.order_by(Event.at.desc(), Event.id.desc()).limit(limit))
    }


def unseen(session: Session, tenant: str, moment: datetime, seen: Collection[str], limit: int) -> Sequence[Event]:
    """Those of the same events that are not among ``seen``, in order of time.

    Those of a job that share a moment come as the job numbers them. The others are not loaded: a tenant that is busy
    has hundreds of them, all of them known.
    """
    new = [id for id in moments(session, tenant, moment, limit) if id not in seen]
    if not new:
        return ()
    statement = select(Event).where(Event.tenant_id == tenant, Event.id.in_(new))
    return session.execute(statement.order_by(Event.at, Event.job_id, Event.seq)).scalars().all()


def recorded_at(session: Session, tenant: str, event_id: str) -> datetime | None:
    """When a tenant's event was recorded, or ``None`` where it has no such event."""
    mine = (Event.id == event_id, Event.tenant_id == tenant)
    return session.execute(select(Event.at).where(*mine)).scalar_one_or_none()
