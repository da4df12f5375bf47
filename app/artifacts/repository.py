"""SQL of artifacts: rows that point at content in the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, delete, exists, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.core.ids import new_id
from app.core.tables import clock
from app.models.artifacts import Artifact, Blob
from app.models.datasets import DatasetFile, DatasetPart
from app.models.jobs import Job
from app.models.logs import LogPart
from app.models.scores import ScorePart

READY, DELETED = "ready", "deleted"


def add(session: Session, artifact: Artifact, size: int) -> None:
    """Record an artifact and its content; an older one of the same job, kind, name and step gives way to it."""
    if artifact.sha256 is not None:
        keep(session, artifact.sha256, size)
    same = (Artifact.job_id == artifact.job_id, Artifact.kind == artifact.kind, Artifact.name == artifact.name)
    older = update(Artifact).where(*same, Artifact.step.is_not_distinct_from(artifact.step), Artifact.state == READY)
    session.execute(older.values(state=DELETED).execution_options(synchronize_session=False))
    session.add(artifact)
    session.flush()


def share(session: Session, artifact: Artifact, job: Job, kind: str | None = None) -> Artifact:
    """Give a new job a file of another one; the content stays as long as either needs it.

    Args:
        session: a ``write()`` session.
        artifact: a finished artifact.
        job: the new job.
        kind: what the file is to that job; by default what it is to the other.
    """
    shared = Artifact(
        id=new_id("art"),
        tenant_id=job.tenant_id,
        job_id=job.id,
        attempt=job.attempt,
        fence=job.fence,
        kind=kind or artifact.kind,
        name=artifact.name,
        media_type=artifact.media_type,
        sha256=artifact.sha256,
        size=artifact.size,
        step=artifact.step,
        state=READY,
    )
    add(session, shared, artifact.size or 0)
    return shared


def keep(session: Session, sha256: str, size: int) -> None:
    """Record stored content, before whatever points to it; touching it keeps it from the collector meanwhile."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    blob = insert(Blob).values(sha256=sha256, size=size)
    session.execute(blob.on_conflict_do_update(index_elements=["sha256"], set_={"created_at": clock()}))


def holder(session: Session, job_id: str) -> tuple[str, int, int] | None:
    """Owner, fence and attempt of a job, whose row stays locked until the transaction ends."""
    statement = select(Job.tenant_id, Job.fence, Job.attempt).where(Job.id == job_id).with_for_update()
    row = session.execute(statement).one_or_none()
    return None if row is None else (row.tenant_id, row.fence, row.attempt)


def get(session: Session, tenant: str, artifact_id: str) -> Artifact | None:
    """A finished artifact of a tenant."""
    return session.execute(_visible(tenant).where(Artifact.id == artifact_id)).scalar_one_or_none()


def of_job(session: Session, tenant: str, job_id: str, kinds: Sequence[str] | None = None) -> Sequence[Artifact]:
    """Finished artifacts of a tenant's job, oldest first; only of ``kinds`` where given."""
    statement = _visible(tenant).where(Artifact.job_id == job_id).order_by(Artifact.created_at, Artifact.id)
    if kinds is not None:
        statement = statement.where(Artifact.kind.in_(kinds))
    return session.execute(statement).scalars().all()


def latest(session: Session, tenant: str, job_id: str, kind: str) -> Artifact | None:
    """The artifact of a kind that was made last."""
    newest = _visible(tenant).where(Artifact.job_id == job_id, Artifact.kind == kind)
    statement = newest.order_by(Artifact.created_at.desc(), Artifact.id.desc()).limit(1)
    return session.execute(statement).scalar_one_or_none()


def discard(session: Session, artifact_ids: Sequence[str]) -> None:
    """Hide artifacts; their content goes when the collector comes by."""
    hidden = update(Artifact).where(Artifact.id.in_(artifact_ids)).values(state=DELETED)
    session.execute(hidden.execution_options(synchronize_session=False))


def unused(session: Session, grace_s: float, limit: int) -> Sequence[str]:
    """Digests of content that nothing has pointed to for ``grace_s`` seconds.

    What points are visible artifacts of existing jobs, their logs, the files and uploads of users' own sets, and
    the uploads of scores.
    """
    in_artifacts = exists().where(
        Artifact.sha256 == Blob.sha256,
        Artifact.state != DELETED,
        Artifact.job_id == Job.id,
        Job.deleted_at.is_(None),
    )
    sets_and_uploads = (DatasetFile, DatasetPart, ScorePart)
    in_sets = or_(*(exists().where(holds.sha256 == Blob.sha256) for holds in sets_and_uploads))
    in_logs = exists().where(LogPart.sha256 == Blob.sha256)
    idle = (Blob.created_at < clock(-grace_s), ~in_artifacts, ~in_sets, ~in_logs)
    statement = select(Blob.sha256).where(*idle).limit(limit)
    return session.execute(statement.with_for_update(skip_locked=True)).scalars().all()


def forget(session: Session, sha256: str) -> None:
    """Remove the rows of content that is no longer used."""
    session.execute(delete(Artifact).where(Artifact.sha256 == sha256).execution_options(synchronize_session=False))
    session.execute(delete(Blob).where(Blob.sha256 == sha256).execution_options(synchronize_session=False))


def _visible(tenant: str) -> Select[*tuple[Any, ...]]:
    return (
        select(Artifact)
        .join(Job, Job.id == Artifact.job_id)
        .where(Artifact.tenant_id == tenant, Artifact.state == READY, Job.deleted_at.is_(None))
    )
