"""Jobs as they are: one, a page of them, those that come from one, and its saved states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from app.core.database import now
from app.core.errors import NotFound
from app.core.pagination import Cursors, Page
from app.core.security import Principal
from app.jobs.documents import documents
from app.jobs.repository import Filters, JobRepository
from app.jobs.schemas import CheckpointDocument, JobDocument
from app.jobs.sorting import Place, Sort
from app.models.jobs import Job
from app.queue import checkpoints


@dataclass(frozen=True)
class JobLookup:
    """The jobs of one principal, as one transaction sees them."""

    session: Session
    principal: Principal

    @property
    def _jobs(self) -> JobRepository:
        return JobRepository(self.session, self.principal)

    def find(self, job_id: str) -> Job:
        """The row of a job.

        Raises:
            NotFound: there is none of that id, or it is somebody else's.
        """
        job = self._jobs.get(job_id)
        if job is None:
            raise NotFound(f"you have no job {job_id}")
        return job

    def get(self, job_id: str) -> JobDocument:
        """One job.

        Raises:
            NotFound: there is none of that id, or it is somebody else's.
        """
        return documents(self._jobs, [self.find(job_id)])[0]

    def page(self, filters: Filters, sort: Sort, cursors: Cursors, cursor: str | None, limit: int) -> Page[JobDocument]:
        """One page of the jobs.

        Raises:
            InvalidCursor: the cursor does not belong to this list.
        """
        after = _place(cursors.open(cursor)) if cursor else None
        as_of = after.as_of if after else now(self.session)
        shown, following = self._jobs.page(filters, sort, after, as_of, limit)
        cursor = None if following is None else cursors.seal(_payload(following))
        return Page[JobDocument](data=documents(self._jobs, shown), next_cursor=cursor)

    def children(self, job_id: str, limit: int) -> list[JobDocument]:
        """The newest jobs that are copies of one, or go on from it."""
        return documents(self._jobs, self._jobs.children(job_id, limit))

    def checkpoints(self, job_id: str) -> list[CheckpointDocument]:
        """The saved states of a job, newest first.

        Raises:
            NotFound: there is no such job.
        """
        found = checkpoints.of_job(self.session, self.find(job_id).id)
        return [CheckpointDocument.model_validate(one, from_attributes=True) for one in found]


def _payload(place: Place) -> dict[str, object]:
    return {"value": place.value, "id": place.id, "as_of": place.as_of.isoformat()}


def _place(payload: Mapping[str, Any]) -> Place:
    return Place(payload["value"], str(payload["id"]), datetime.fromisoformat(payload["as_of"]))
