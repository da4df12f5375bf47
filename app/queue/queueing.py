"""How a job enters the queue: its row, its first event and the doorbell it owes, together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from app.events import repository as events
from app.models.jobs import Job
from app.queue import outbox


def enqueue(session: Session, job: Job, about: Mapping[str, Any]) -> None:
    """Queue a new job; its defaults, the database's clock among them, are filled in.

    Args:
        session: a ``write()`` session.
        job: not in the database yet.
        about: the data of its first event.
    """
    session.add(job)
    session.flush()
    session.refresh(job)
    events.append(session, job.id, "job.created", "info", "submitted", dict(about))
    outbox.add(session, job.device_class)
