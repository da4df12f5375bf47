"""How a job enters the queue: its row, its first event and the doorbell it owes, together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    enqueue_all(session, [job], [about])
    session.refresh(job)


def enqueue_all(session: Session, jobs: Sequence[Job], about: Sequence[Mapping[str, Any]]) -> None:
    """Queue new jobs in their order, all of them or none.

    Args:
        session: a ``write()`` session.
        jobs: at least one, not in the database yet; their defaults are not read back.
        about: the data of each one's first event.
    """
    session.add_all(jobs)
    session.flush()
    events.begin(session, jobs, "job.created", "submitted", about)
    outbox.add_all(session, [job.device_class for job in jobs])
