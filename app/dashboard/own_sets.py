"""The users' own sets that jobs distil, deleted or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.core.security import Principal
from app.datasets.documents import facts
from app.datasets.repository import DatasetRepository
from app.jobs.schemas import JobDocument
from ddcore.spec import DatasetFacts


@dataclass(frozen=True)
class OwnSet:
    """What pages on jobs show of a user's own set."""

    id: str
    facts: DatasetFacts | None
    there: bool
    """Whether it still has a page."""


def of_jobs(session: Session, principal: Principal, jobs: Sequence[JobDocument]) -> Mapping[str | None, OwnSet]:
    """The own sets of some jobs, by ``dataset_id``; jobs on other sets have ``None`` there, which is no key."""
    found = DatasetRepository(session, principal).known({job.dataset_id for job in jobs if job.dataset_id})
    return {one.id: OwnSet(one.id, facts(one), one.deleted_at is None) for one in found}
