"""Writing events, and removing what nobody needs any more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.orm import Session

from app.core.ids import new_id
from app.core.tables import clock
from app.events import owed
from app.models.events import Event
from app.models.jobs import Job

Level = Literal["info", "warning", "error"]

PROGRESS = "job.progress"
PROGRESS_KEPT_S = 3600.0
"""Seconds for which every event about progress is kept; of older ones only the last of each phase and attempt."""


def append(
    session: Session, job_id: str, type: str, level: Level, message: str, data: Mapping[str, Any] | None = None
) -> int:
    """Record an event in the session's transaction.

    The number comes from the job's own counter, whose row stays locked until the transaction ends:
    readers therefore see 1, 2, 3, … (but for what :func:`prune` removed) and never an older number after a newer one.

    Args:
        session: a ``write()`` session.
        job_id: an existing job.
        type: kind of event, such as ``job.checkpoint_saved``.
        level: how serious it is.
        message: one sentence for people.
        data: facts for programs.

    Returns:
        The event's ``seq``.

    Raises:
        LookupError: there is no such job.
    """
    counted = session.execute(
        update(Job)
        .where(Job.id == job_id)
        .values(event_seq=Job.event_seq + 1)
        .returning(Job.event_seq, Job.attempt, Job.tenant_id, Job.kind)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if counted is None:
        raise LookupError(f"no job {job_id}")
    event = Event(
        job_id=job_id,
        seq=counted.event_seq,
        id=new_id("evt"),
        tenant_id=counted.tenant_id,
        type=type,
        level=level,
        attempt=counted.attempt,
        message=message,
        data=dict(data or {}),
    )
    session.add(event)
    owed.owe(session, counted.kind, [event])
    session.flush()
    return int(counted.event_seq)


def begin(session: Session, jobs: Sequence[Job], type: str, message: str, data: Sequence[Mapping[str, Any]]) -> None:
    """Record the first event of each of some jobs, which this transaction has made.

    Args:
        session: a ``write()`` session.
        jobs: flushed, without any event; nobody else can see them yet.
        type: kind of event.
        message: one sentence for people.
        data: facts for programs, of each.
    """
    made: dict[str, list[Event]] = {}
    for job, facts in zip(jobs, data, strict=True):
        job.event_seq = 1
        event = Event(
            job_id=job.id, seq=1, id=new_id("evt"), tenant_id=job.tenant_id, type=type, level="info",
            attempt=job.attempt, message=message, data=dict(facts),
        )  # fmt: skip
        made.setdefault(job.kind, []).append(event)
    for kind, events in made.items():
        session.add_all(events)
        owed.owe(session, kind, events)
    session.flush()


def crowded(session: Session, limit: int) -> Sequence[str]:
    """Jobs with events about progress that :func:`prune` would remove, at most ``limit`` of them."""
    phase = Event.data["phase"].as_string().label("phase")
    groups = (
        select(Event.job_id, phase)
        .where(*_old_progress())
        .group_by(Event.job_id, Event.attempt, "phase")
        .having(func.count() > 1)
        .subquery()
    )
    return session.execute(select(groups.c.job_id).distinct().limit(limit)).scalars().all()


def prune(session: Session, job_id: str, limit: int) -> int:
    """Remove a job's events about progress that are over an hour old, but for the last of each phase and attempt.

    The numbers of the others stay, so a reader who has seen up to a removed one goes on behind it.

    Args:
        session: a ``write()`` session.
        job_id: the job.
        limit: events to remove at most, the oldest first.

    Returns:
        How many were removed.
    """
    phase = Event.data["phase"].as_string().label("phase")
    of_job = (Event.job_id == job_id, Event.type == PROGRESS)
    last = select(func.max(Event.seq).label("seq"), phase).where(*of_job).group_by(Event.attempt, "phase").subquery()
    spent = select(Event.seq).where(Event.job_id == job_id, *_old_progress(), Event.seq.not_in(select(last.c.seq)))
    removed = delete(Event).where(Event.job_id == job_id, Event.seq.in_(spent.order_by(Event.seq).limit(limit)))
    returning = removed.returning(Event.seq).execution_options(synchronize_session=False)
    return len(session.execute(returning).all())


def _old_progress() -> tuple[ColumnElement[bool], ...]:
    return Event.type == PROGRESS, Event.at < clock(-PROGRESS_KEPT_S)
