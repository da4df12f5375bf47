"""What a study does to its jobs: each a legal move of the job, with the reason as the event's message."""

from __future__ import annotations

from sqlalchemy.orm import Session

from app.models.jobs import Job
from app.models.states import HELD, TERMINAL, State
from app.queue import outbox
from app.queue.states import VERBS, Actor, transition


def go_on(session: Session, job: Job, hold_at: int | None, message: str) -> None:
    """Let a paused job take the steps up to ``hold_at``, or all of them and its evaluation."""
    moved = transition(
        session, job.id, State.QUEUED, Actor.RECONCILER, values={"hold_at": hold_at}, message=message,
        data={"study_id": job.study_id, "hold_at": hold_at},
    )  # fmt: skip
    if moved:
        outbox.add(session, job.device_class)


def cancel(session: Session, job: Job, reason: str) -> None:
    """End a job that has not ended; one that runs ends as soon as its worker hears of it."""
    if job.status in TERMINAL or job.status == State.CANCELLING:
        return
    # What a worker holds is asked to stop, as a user would; what waits is ended here and now.
    actor = Actor.API if job.status in HELD else Actor.RECONCILER
    to = VERBS["cancel"][State(job.status)]
    transition(session, job.id, to, actor, message=reason, data={"study_id": job.study_id})


def pause(session: Session, job: Job) -> None:
    """Pause a job that waits or runs."""
    to = VERBS["pause"].get(State(job.status))
    if to is not None:
        message = "paused with its study"
        transition(session, job.id, to, Actor.API, message=message, data={"study_id": job.study_id})


def resume(session: Session, job: Job) -> None:
    """Take back what :func:`pause` asked of a job that has not stopped yet."""
    message = "resumed with its study"
    transition(session, job.id, State.RUNNING, Actor.API, message=message, data={"study_id": job.study_id})
