"""From submissions that were let through to jobs in the queue. Nothing here commits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.artifacts import repository as artifacts
from app.artifacts.service import PARENT_BUNDLE
from app.core.errors import Invalid
from app.core.security import Principal
from app.core.settings import Settings
from app.datasets.names import Names
from app.datasets.repository import DatasetRepository
from app.jobs import extensions, quota, submission
from app.jobs.admission import Admitted
from app.jobs.living import Extending
from app.jobs.lookup import JobLookup
from app.jobs.quota import Asked
from app.jobs.repository import JobRepository
from app.jobs.schemas import JobDocument
from app.jobs.submission import Submission
from app.keys import audit
from app.models.jobs import Job
from app.queue import checkpoints
from app.queue.queueing import enqueue, enqueue_all
from ddcore.spec import Problem


@dataclass(frozen=True)
class StudyPlace:
    """Where a job stands in a study.

    Attributes:
        study_id: the study.
        trial: index of the point that it tries.
        hold_at: steps after which it is held first.
    """

    study_id: str
    trial: int
    hold_at: int


@dataclass(frozen=True)
class Submitter:
    """Queues the jobs of one principal, within one transaction."""

    session: Session
    principal: Principal
    settings: Settings

    def submit(self, admitted: Admitted, parent_id: str | None = None) -> JobDocument:
        """Queue a new job: its row, its first event and the doorbell it owes, together.

        Args:
            admitted: the submission.
            parent_id: the job that it is a copy of, or goes on from.

        Raises:
            QuotaExceeded: the tenant has as many unfinished jobs, or as much work in them, as it may have.
            Invalid: its set was deleted meanwhile.
        """
        request, lookup = admitted.request, JobLookup(self.session, self.principal)
        self._check_set(request)
        quota.check(self.session, self.principal, self.settings, admitted.asked)
        kept = self._extending.bundle(request.spec, self.principal.tenant_id, parent_id)
        job = submission.new_job(request, self.principal, self.settings, parent_id or request.spec.extends)
        job.expected_s = admitted.asked.expected_s
        about = {"dataset": job.dataset, "method": job.method, "parent_id": job.parent_id}
        enqueue(self.session, job, about)
        audit.record(self.session, self.principal, "job.submit", job.id, **about)
        if kept is not None:
            artifacts.share(self.session, kept, job, PARENT_BUNDLE)
        if admitted.continues and parent_id is not None:
            self._go_on(job, lookup.find(parent_id))
        return lookup.get(job.id)

    def submit_of_study(
        self, requests: Sequence[Submission], places: Sequence[StudyPlace], asked: Asked | None
    ) -> None:
        """Queue the jobs of a study together.

        Args:
            requests: at least one, all on one dataset; they have been assessed.
            places: where each stands in the study.
            asked: what the quota must have room for: all that the study will have where it is made, ``None`` later.

        Raises:
            QuotaExceeded: the tenant cannot have so many more unfinished jobs, or so much more work.
            Invalid: their set was deleted meanwhile.
        """
        self._check_set(requests[0])
        if asked is not None:
            quota.check(self.session, self.principal, self.settings, asked)
        jobs, about = [], []
        for request, place in zip(requests, places, strict=True):
            job = submission.new_job(request, self.principal, self.settings, None)
            job.study_id, job.trial, job.hold_at = place.study_id, place.trial, place.hold_at
            jobs.append(job)
            about.append({"dataset": job.dataset, "method": job.method, "parent_id": None, "study_id": place.study_id})
        enqueue_all(self.session, jobs, about)

    def _check_set(self, request: Submission) -> None:
        """Refuse a set that was deleted since the submission was read; locked, it cannot be until the job is there."""
        if request.dataset_id is None:
            return
        if DatasetRepository(self.session, self.principal).get(request.dataset_id, lock=True) is None:
            detail = f"the set {request.spec.dataset} was deleted a moment ago; name another"
            raise Invalid([Problem("/dataset", "dataset_deleted", detail)])

    @property
    def _extending(self) -> Extending:
        names = Names.of(self.session, self.principal, self.settings)
        return Extending(self.session, JobRepository(self.session, self.principal), names)

    def _go_on(self, job: Job, parent: Job) -> None:
        """Let a new job begin with the last state of a finished one."""
        extensions.check_state(parent, checkpoints.inherit(self.session, parent.id, job))
        job.step = job.checkpoint_step = parent.total_steps
        self.session.flush()
