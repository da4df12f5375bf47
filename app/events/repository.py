"""Writing events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.core.ids import new_id
from app.models.events import Event
from app.models.jobs import Job

Level = Literal["info", "warning", "error"]

PROGRESS = "job.progress"
KEPT_PROGRESS = 50
"""Events about progress that a job keeps: the newest, some minutes of it. A job of days would have 100,000 others."""


def append(
    session: Session, job_id: str, type: str, level: Level, message: str, data: Mapping[str, Any] | None = None
) -> int:
    """Record an event in the session's transaction.

    The number comes from the job's own counter, whose row stays locked until the transaction ends:
    readers therefore never see an older number after a newer one, and no gaps but those of :func:`prune_progress`.

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
        .returning(Job.event_seq, Job.attempt, Job.tenant_id)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if counted is None:
        raise LookupError(f"no job {job_id}")
    session.add(
        Event(
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
    )
    session.flush()
    return int(counted.event_seq)


def prune_progress(session: Session, job_id: str, keep: int = KEPT_PROGRESS) -> None:
    """Delete a job's events about progress, but for the newest.

    Whoever follows the job goes on from the number of its last event, and gets those after it that are left.

    Args:
        session: a ``write()`` session.
        job_id: the job.
        keep: how many of them stay, at least 1.
    """
    progress = (Event.job_id == job_id, Event.type == PROGRESS)
    newest_to_go = select(Event.seq).where(*progress).order_by(Event.seq.desc()).offset(keep).limit(1)
    session.execute(
        delete(Event)
        .where(*progress, Event.seq <= newest_to_go.scalar_subquery())
        .execution_options(synchronize_session=False)
    )
