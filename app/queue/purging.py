"""Removing for good what was deleted, and what has been kept for as long as the settings say.

A deleted job is hidden at once. What is left of it goes here, a bounded piece a transaction: readings, events, log,
checkpoints, files and its row. Its contents in the store go with the next collection. What stays is named in
docs/operations.md: entries of the audit trail, minutes of workers, and what it took, without its name.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Executable, delete, exists, or_, select, update
from sqlalchemy.orm import Session

from app.artifacts.repository import DELETED, READY
from app.core.tables import clock
from app.models.artifacts import Artifact, Checkpoint
from app.models.events import Event
from app.models.jobs import Job
from app.models.metrics import MetricPoint
from app.models.states import TERMINAL, Kind
from app.models.studies import Study

ROWS = 20_000
"""Readings or events that one transaction removes at most."""
DAY_S = 86_400.0
PASSING = ("job.progress", "job.log", "job.checkpoint_saved", "artifact.ready")
"""Kinds of events that nobody asks for long after; warnings, alerts, attempts and states stay."""


def deleted_jobs(session: Session, limit: int) -> Sequence[str]:
    """Jobs that are hidden and not gone yet, at most ``limit`` of them."""
    return session.scalars(
        select(Job.id).where(Job.deleted_at.is_not(None)).order_by(Job.deleted_at).limit(limit)
    ).all()


def purge(session: Session, job_id: str) -> bool:
    """Remove a piece of a deleted job, or what is left of it; whether it is gone now."""
    number = session.scalar(select(Job.number).where(Job.id == job_id, Job.deleted_at.is_not(None)).with_for_update())
    if number is None:
        return True
    of_points = (MetricPoint.job_number == number,)
    points = select(MetricPoint.key_id, MetricPoint.step).where(*of_points).limit(ROWS).subquery()
    chosen = exists().where(points.c.key_id == MetricPoint.key_id, points.c.step == MetricPoint.step)
    if _removed(session, delete(MetricPoint).where(*of_points, chosen).returning(MetricPoint.step)) >= ROWS:
        return False
    events = select(Event.seq).where(Event.job_id == job_id).order_by(Event.seq).limit(ROWS)
    of_events = delete(Event).where(Event.job_id == job_id, Event.seq.in_(events)).returning(Event.seq)
    if _removed(session, of_events) >= ROWS:
        return False
    # Its log, checkpoints, files and the rest of its readings point to its row, and go with it.
    session.execute(delete(Job).where(Job.id == job_id).execution_options(synchronize_session=False))
    return True


def _removed(session: Session, statement: Executable) -> int:
    """Remove rows that the statement returns a column of; how many there were."""
    return len(session.execute(statement.execution_options(synchronize_session=False)).all())


def purge_studies(session: Session) -> None:
    """Remove deleted studies whose jobs are gone."""
    empty = ~exists().where(Job.study_id == Study.id)
    session.execute(
        delete(Study).where(Study.deleted_at.is_not(None), empty).execution_options(synchronize_session=False)
    )


def bury_old_jobs(session: Session, days: float, limit: int) -> int:
    """Delete jobs that ended so many days ago, but for those of studies and those that others go on from."""
    others = Job.__table__.alias("others")
    needed = exists().where(others.c.parent_id == Job.id, others.c.status.not_in(TERMINAL))
    old = select(Job.id).where(*_ended(days), Job.study_id.is_(None), Job.kind == Kind.DISTILLATION, ~needed)
    found = session.scalars(old.limit(limit)).all()
    session.execute(
        update(Job)
        .where(Job.id.in_(found))
        .values(deleted_at=clock(), version=Job.version + 1)
        .execution_options(synchronize_session=False)
    )
    return len(found)


def drop_old_checkpoints(session: Session, days: float, limit: int) -> int:
    """Let go of the saved states of jobs that ended so many days ago; these cannot be extended or retried then."""
    old = select(Checkpoint.id).join(Job, Job.id == Checkpoint.job_id).where(*_ended(days)).limit(limit)
    found = session.scalars(old).all()
    _let_go(session, Artifact.id.in_(select(Checkpoint.artifact_id).where(Checkpoint.id.in_(found))))
    session.execute(delete(Checkpoint).where(Checkpoint.id.in_(found)).execution_options(synchronize_session=False))
    return len(found)


def drop_old_snapshots(session: Session, days: float, limit: int) -> int:
    """Let go of the pictures on the way of jobs that ended so many days ago."""
    shown = (Artifact.kind == "snapshot", Artifact.state == READY)
    old = select(Artifact.id).join(Job, Job.id == Artifact.job_id).where(*_ended(days), *shown).limit(limit)
    found = session.scalars(old).all()
    _let_go(session, Artifact.id.in_(found))
    return len(found)


def wordy(session: Session, days: float, limit: int) -> Sequence[tuple[str, int]]:
    """Identifier and number of jobs that ended so many days ago and still have all that they said.

    One that could go on from a saved state keeps it: see :func:`drop_old_checkpoints`.
    """
    resumable = exists().where(Checkpoint.job_id == Job.id)
    whole = or_(Job.thinned_at.is_(None), Job.thinned_at < Job.finished_at)  # the second has been retried since
    old = select(Job.id, Job.number).where(*_ended(days), whole, ~resumable)
    return [(row.id, row.number) for row in session.execute(old.order_by(Job.number).limit(limit))]


def drop_details(session: Session, job_id: str, limit: int) -> int:
    """Remove events of a job that tell of its way and not of its fate, at most ``limit`` of them; how many."""
    passing = (Event.job_id == job_id, Event.type.in_(PASSING), Event.level == "info")
    first = select(Event.seq).where(*passing).order_by(Event.seq).limit(limit)
    return _removed(session, delete(Event).where(Event.job_id == job_id, Event.seq.in_(first)).returning(Event.seq))


def mark_thinned(session: Session, job_id: str) -> None:
    """Note that a job has lost its details."""
    session.execute(
        update(Job)
        .where(Job.id == job_id)
        .values(thinned_at=clock(), updated_at=Job.updated_at)
        .execution_options(synchronize_session=False)
    )


def _let_go(session: Session, chosen: ColumnElement[bool]) -> None:
    session.execute(update(Artifact).where(chosen).values(state=DELETED).execution_options(synchronize_session=False))


def _ended(days: float) -> tuple[ColumnElement[bool], ...]:
    return Job.status.in_(TERMINAL), Job.finished_at < clock(-days * DAY_S), Job.deleted_at.is_(None)
