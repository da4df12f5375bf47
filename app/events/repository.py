"""Writing events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from sqlalchemy import update
from sqlalchemy.orm import Session

from app.core.ids import new_id
from app.models.events import Event
from app.models.jobs import Job

Level = Literal["info", "warning", "error"]



def append(
    session: Session, job_id: str, type: str, level: Level, message: str, data: Mapping[str, Any] | None = None
) -> int:
    """Record an event in the session's transaction.

    The number comes from the job's own counter, whose row stays locked until the transaction ends:
    readers therefore see 1, 2, 3, … without gaps and never an older number after a newer one.

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
