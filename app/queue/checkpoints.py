"""The checkpoints of a job that the store holds: the newest few, to go on from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Row, delete, select
from sqlalchemy.orm import Session

from app.artifacts import repository as artifacts
from app.core.ids import new_id
from app.models.artifacts import Artifact, Checkpoint
from app.models.jobs import Job

KEPT = 2
"""Checkpoints of a job that stay: the newest, and one before it in case that is damaged."""


@dataclass(frozen=True)
class SavedCheckpoint:
    """A checkpoint that the store holds."""

    step: int
    sha256: str
    size: int


def known(session: Session, job_id: str, sha256: str) -> bool:
    """Whether a checkpoint with this digest is recorded."""
    recorded = select(Checkpoint.id).where(Checkpoint.job_id == job_id, Checkpoint.sha256 == sha256)
    return session.execute(recorded).first() is not None


def newest_first(session: Session, job_id: str) -> Sequence[SavedCheckpoint]:
    """Checkpoints of a job, newest first."""
    return [SavedCheckpoint(row.step, row.sha256, row.size) for row in _rows(session, job_id)]


def of_job(session: Session, job_id: str) -> Sequence[Checkpoint]:
    """The checkpoints of a job that the store holds, newest first."""
    rows = select(Checkpoint).where(Checkpoint.job_id == job_id)
    return session.scalars(rows.order_by(Checkpoint.step.desc(), Checkpoint.created_at.desc())).all()


def add(
    session: Session,
    job_id: str,
    attempt: int,
    fence: int,
    saved: SavedCheckpoint,
    artifact_id: str | None,
    metrics: Mapping[str, float | None],
) -> None:
    """Record a checkpoint, and let go of all but the newest :data:`KEPT`.

    Args:
        session: a ``write()`` session that holds the job.
        job_id: the job.
        attempt: the attempt that made it.
        fence: that of the attempt.
        saved: the checkpoint.
        artifact_id: the artifact with its content, where there is one.
        metrics: last readings before it.
    """
    session.add(
        Checkpoint(
            id=new_id("ckpt"),
            job_id=job_id,
            artifact_id=artifact_id,
            step=saved.step,
            attempt=attempt,
            fence=fence,
            sha256=saved.sha256,
            size=saved.size,
            metrics=dict(metrics),
        )
    )
    session.flush()
    _drop(session, _rows(session, job_id)[KEPT:])


def inherit(session: Session, parent_id: str, job: Job) -> SavedCheckpoint | None:
    """Give a new job the checkpoints of a finished one; the content stays as long as either job needs it.

    Args:
        session: a ``write()`` session.
        parent_id: the finished job.
        job: the new one, which has none.

    Returns:
        The newest of them; ``None`` where none is kept.
    """
    query = select(Checkpoint, Artifact).join(Artifact, Artifact.id == Checkpoint.artifact_id)
    query = query.where(Checkpoint.job_id == parent_id, Artifact.state == artifacts.READY)
    found = session.execute(query.order_by(Checkpoint.step, Checkpoint.id)).all()
    for saved, file in found:
        kept = artifacts.share(session, file, job)
        whole = SavedCheckpoint(saved.step, saved.sha256, saved.size)
        add(session, job.id, 0, 0, whole, kept.id, saved.metrics)
    return next(iter(newest_first(session, job.id)), None)


def forget(session: Session, job_id: str) -> None:
    """Let go of every checkpoint of a job."""
    _drop(session, _rows(session, job_id))


def _rows(session: Session, job_id: str) -> Sequence[Row[str, int, str, int, str | None]]:
    columns = select(Checkpoint.id, Checkpoint.step, Checkpoint.sha256, Checkpoint.size, Checkpoint.artifact_id)
    ordered = columns.where(Checkpoint.job_id == job_id).order_by(Checkpoint.step.desc(), Checkpoint.id.desc())
    return session.execute(ordered).all()


def _drop(session: Session, rows: Sequence[Row[str, int, str, int, str | None]]) -> None:
    session.execute(delete(Checkpoint).where(Checkpoint.id.in_([row.id for row in rows])))
    artifacts.discard(session, [row.artifact_id for row in rows if row.artifact_id])
