"""Whether a job is the principal's: what every sub-resource of a job asks first."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.dependencies import DatabaseDep
from app.core.errors import NotFound
from app.core.paths import JobId
from app.keys.principals import JobReader
from app.models.jobs import Job


def check(session: Session, tenant: str, job_id: str) -> None:
    """Refuse a job that the tenant does not have.

    Raises:
        NotFound: there is no such job, or it is somebody else's, which nobody is told.
    """
    mine = (Job.id == job_id, Job.tenant_id == tenant, Job.deleted_at.is_(None))
    if session.execute(select(Job.id).where(*mine)).first() is None:
        raise NotFound(f"you have no job {job_id}")


def own_job(job_id: JobId, principal: JobReader, database: DatabaseDep) -> str:
    """Identifier of one of the principal's jobs.

    Raises:
        NotFound: it has no such job.
    """
    with database.read() as session:
        check(session, principal.tenant_id, job_id)
    return job_id


OwnJob = Annotated[str, Depends(own_job)]
