"""What can be done with a job that there is. Nothing here commits, and nothing here knows HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from app.core.errors import Invalid, PreconditionFailed
from app.core.security import Principal
from app.core.settings import Settings
from app.datasets.repository import DatasetRepository
from app.jobs import idempotency, quota, refusals
from app.jobs.lookup import JobLookup
from app.jobs.quota import Asked
from app.jobs.repository import JobRepository
from app.jobs.schemas import CancelRequest, JobDocument, PatchRequest, RetryRequest
from app.keys import audit
from app.logs import repository as logs
from app.models.jobs import Job
from app.models.states import Kind, State
from app.queue import outbox
from app.queue.states import VERBS, Actor, actions, transition
from ddcore.spec import Problem

_RACES = 3
"""Times a verb is tried when the job changes between looking and acting."""


@dataclass(frozen=True)
class JobVerbs:
    """Acts on the jobs of one principal, within one transaction."""

    session: Session
    principal: Principal
    settings: Settings

    @property
    def _lookup(self) -> JobLookup:
        return JobLookup(self.session, self.principal)

    def cancel(self, job_id: str, request: CancelRequest) -> JobDocument:
        """End a job early; a job that is cancelled, or about to be, stays so.

        Raises:
            NotFound: there is no such job.
            IllegalTransition: it has ended otherwise; or it is to keep a result that only a running job can write.
        """
        job = self._lookup.find(job_id)
        if job.status in (State.CANCELLING, State.CANCELLED):
            return self._lookup.get(job_id)
        if request.keep_result and _holds_images(job):
            raise refusals.result_not_written(job)
        about = {"reason": request.reason, "keep_result": request.keep_result}
        return self._apply("cancel", job_id, {"keep_result": request.keep_result}, about)

    def pause(self, job_id: str) -> JobDocument:
        """Stop a job so that it can go on later.

        Raises:
            NotFound: there is no such job.
            IllegalTransition: it is not queued or running, or belongs to a study.
        """
        _check_alone("pause", self._lookup.find(job_id))
        return self._apply("pause", job_id, {}, {})

    def resume(self, job_id: str) -> JobDocument:
        """Let a paused job go on.

        Raises:
            NotFound: there is no such job.
            IllegalTransition: it is not paused or about to be, or belongs to a study.
        """
        _check_alone("resume", self._lookup.find(job_id))
        return self._apply("resume", job_id, {}, {})

    def retry(self, job_id: str, request: RetryRequest) -> JobDocument:
        """Queue a failed job again, with a new budget of attempts.

        Raises:
            NotFound: there is no such job.
            IllegalTransition: it has not failed, or belongs to a study.
            Invalid: its set was deleted, or was taken in otherwise.
            QuotaExceeded: the tenant would have more work unfinished than it may have.
        """
        about = {"from_scratch": request.from_scratch, "attempts_renewed": True}
        job = self._lookup.find(job_id)
        _check_alone("retry", job)
        self._check_set(job)
        self._check_work(job)
        return self._apply("retry", job_id, {"from_scratch": request.from_scratch}, about)

    def amend(self, job_id: str, request: PatchRequest, version: int | None) -> JobDocument:
        """Change a job's name, labels or priority.

        Raises:
            NotFound: there is no such job.
            Invalid: a field that cannot be empty is null.
            PreconditionFailed: the job has another version.
        """
        job = self._lookup.find(job_id)
        values = request.model_dump(exclude_unset=True)
        for name in ("labels", "priority"):
            if name in values and values[name] is None:
                raise Invalid([Problem(f"/{name}", "null", f"`{name}` cannot be null; leave it out to keep it")])
        if values and not JobRepository(self.session, self.principal).amend(job_id, values, version):
            raise PreconditionFailed(
                f"If-Match names version {version}, but the job is at {job.version}; read it again"
            )
        if values:
            audit.record(self.session, self.principal, "job.amend", job_id, **values)
        return self._lookup.get(job_id)

    def delete(self, job_id: str) -> None:
        """Remove an ended job, its log and its files.

        Raises:
            NotFound: there is no such job.
            IllegalTransition: it has not ended, takes a set in or scores one, or belongs to a study.
        """
        job = self._lookup.find(job_id)
        _check_alone("delete", job)
        if job.kind != Kind.DISTILLATION or not JobRepository(self.session, self.principal).bury(job_id):
            raise refusals.illegal("delete", job)
        audit.record(self.session, self.principal, "job.delete", job_id, method=job.method, dataset=job.dataset)
        logs.forget(self.session, job_id)
        idempotency.forget(self.session, self.principal, f"/v1/jobs/{job_id}")

    def _apply(self, verb: str, job_id: str, values: Mapping[str, Any], about: Mapping[str, Any]) -> JobDocument:
        for _ in range(_RACES):
            job = self._lookup.find(job_id)
            to = VERBS[verb].get(State(job.status))
            if to is None:
                break
            if transition(self.session, job_id, to, Actor.API, values=values, data={"verb": verb, **about}):
                if to is State.QUEUED:
                    outbox.add(self.session, job.device_class)
                audit.record(self.session, self.principal, f"job.{verb}", job_id, **about)
                return self._lookup.get(job_id)
        raise refusals.illegal(verb, self._lookup.find(job_id))

    def _check_set(self, job: Job) -> None:
        """Refuse a job that cannot go on because of its set."""
        if job.dataset_id is None or not _can_retry(job):
            return
        found = DatasetRepository(self.session, self.principal).get(job.dataset_id, lock=True)
        if found is None:
            raise Invalid([Problem("/dataset", "dataset_deleted", f"its set {job.dataset} was deleted since")])
        if job.kind == Kind.INGEST and found.job_id != job.id:
            detail = f"{job.dataset} is, or was, taken in otherwise by {found.job_id}"
            raise Invalid([Problem("/dataset", "superseded", detail)])

    def _check_work(self, job: Job) -> None:
        """Refuse a job that there is no room for any more; its time begins anew, and so does what is expected of it."""
        if job.kind == Kind.INGEST or not _can_retry(job):
            return
        expected = job.max_runtime_s if job.expected_s is None else job.expected_s
        asked = Asked(expected, smaller=("clone it with fewer steps",))
        quota.check_again(self.session, self.principal, self.settings, asked)


def _check_alone(verb: str, job: Job) -> None:
    """Refuse what only the study of a job does with it."""
    if job.study_id is not None:
        raise refusals.of_study(verb, job)


def _can_retry(job: Job) -> bool:
    """Whether its state lets it be retried; one that cannot be is refused for that, whatever else there is."""
    return "retry" in actions(State(job.status), Kind(job.kind))


def _holds_images(job: Job) -> bool:
    """Whether a job that no worker is at, or soon will not be, has images that somebody may want to keep."""
    saved = job.status in (State.PAUSED, State.QUEUED) and job.checkpoint_step is not None
    return saved or job.status == State.PAUSING
