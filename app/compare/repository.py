"""SQL of comparisons; every statement starts from what the tenant may see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.models.artifacts import Artifact
from app.models.jobs import Job
from app.models.states import Kind

IMAGES = "synthetic_images"
"""Kind of the artifact that holds the distilled images."""


def jobs(session: Session, tenant: str, ids: Sequence[str]) -> dict[str, Job]:
    """Those of the jobs that the tenant has, by identifier."""
    mine = (Job.tenant_id == tenant, Job.deleted_at.is_(None), Job.id.in_(ids))
    return {job.id: job for job in session.scalars(select(Job).where(*mine))}


def newest(session: Session, tenant: str, limit: int, dataset: str | None = None) -> Sequence[Job]:
    """Jobs that can be compared, newest first; those on one dataset where it is given."""
    statement = select(Job).where(
        Job.tenant_id == tenant, Job.deleted_at.is_(None), Job.kind == Kind.DISTILLATION, Job.status != "queued"
    )
    if dataset is not None:
        statement = statement.where(Job.dataset == dataset)
    return session.scalars(statement.order_by(Job.created_at.desc(), Job.id.desc()).limit(limit)).all()


def image_bytes(session: Session, tenant: str, ids: Sequence[str]) -> Mapping[str, int]:
    """Size of the file of distilled images of each job that has one."""
    theirs = (Artifact.tenant_id == tenant, Artifact.job_id.in_(ids), Artifact.kind == IMAGES)
    sizes = select(Artifact.job_id, func.max(Artifact.size)).where(*theirs, Artifact.state == "ready")
    return {job: size for job, size in session.execute(sizes.group_by(Artifact.job_id)) if size is not None}
