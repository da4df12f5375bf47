"""What can be done with jobs. Nothing here commits, and nothing here knows HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from app.artifacts import repository as artifacts
from app.artifacts.service import PARENT_BUNDLE
from app.core.database import now
from app.core.errors import IllegalTransition, Invalid, NotFound, PreconditionFailed, QuotaExceeded
from app.core.pagination import Cursors, Page
from app.core.security import Principal
from app.core.settings import Settings
from app.datasets.names import Names
from app.datasets.repository import DatasetRepository
from app.jobs import extensions, idempotency, quota, submission
from app.jobs.assessment import Assessment
from app.jobs.documents import documents
from app.jobs.extensions import Longer
from app.jobs.living import Extending
from app.jobs.quota import Asked, Work
from app.jobs.repository import Filters, JobRepository
from app.jobs.schemas import (
    CancelRequest,
    CheckpointDocument,
    ExtendRequest,
    JobDocument,
    PatchRequest,
    RetryRequest,
    Validation,
)
from app.jobs.sorting import Place, Sort
from app.jobs.submission import Submission
from app.keys import audit
from app.keys import repository as keys
from app.logs import repository as logs
from app.models.jobs import Job
from app.models.states import Kind, State
from app.queue import checkpoints, outbox
from app.queue.queueing import enqueue, enqueue_all
from app.queue.states import VERBS, Actor, actions, transition
from ddcore.spec import Problem

_RACES = 3
"""Times a verb is tried when the job changes between looking and acting."""


@dataclass(frozen=True)
class Admitted:
    """A submission that fits what it may take; see :meth:`JobService.admit`.

    Attributes:
        request: the submission.
        asked: what it wants of the quota; of a job that goes on, what it has to do itself.
        continues: whether the job goes on where its parent has ended.
    """

    request: Submission
    asked: Asked
    continues: bool = False


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
class JobService:
    """The jobs of one principal, within one transaction."""

    session: Session
    principal: Principal
    settings: Settings

    @property
    def _sets(self) -> DatasetRepository:
        return DatasetRepository(self.session, self.principal)

    @property
    def _jobs(self) -> JobRepository:
        return JobRepository(self.session, self.principal)

    def get(self, job_id: str) -> JobDocument:
        """One job.

        Raises:
            NotFound: there is none of that id, or it is somebody else's.
        """
        return self._show(self._find(job_id))

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

    @property
    def names(self) -> Names:
        """The datasets that a job can name."""
        return Names(self._sets, self.settings.data_root)

    def read(self, body: Mapping[str, Any]) -> Submission:
        """Read a submission.

        Raises:
            Invalid: with every fault of it.
        """
        names = self.names
        request = submission.read(body, names)
        self._extending(names).check(request)
        return request

    def validate(self, request: Submission) -> Validation:
        """What a submission would become, and what it should cost.

        Raises:
            Invalid: it would take longer than it may, or more memory than there is.
            QuotaExceeded: the tenant would have more work unfinished than it may have.
        """
        validation, refused = self.foresee(request)
        if refused is not None:
            raise refused
        return validation

    def foresee(self, request: Submission) -> tuple[Validation, QuotaExceeded | None]:
        """What a submission would become, and why the quota has no room for its work, if it has none.

        Raises:
            Invalid: it would take longer than it may, or more memory than there is.
        """
        assessment = Assessment.of(self.session, self.settings, self.names, request)
        assessment.check()
        return assessment.validation(), assessment.over(self.work)

    @property
    def work(self) -> Work:
        """The work that the tenant has unfinished, and may have."""
        return Work.of(self.session, keys.tenant(self.session, self.principal), self.settings)

    def admit(self, request: Submission | Longer) -> Admitted:
        """Let a submission through that fits what it may take.

        Where one does not, hundreds of others are predicted to find what would: call it where nobody waits for the
        end of the transaction.

        Raises:
            Invalid: it would take longer than it may, or more memory than there is.
            QuotaExceeded: the tenant would have more work unfinished than it may have.
        """
        continues = isinstance(request, Longer)
        whole, work = (request.whole, request.rest) if isinstance(request, Longer) else (request, request)
        assessment = Assessment.of(self.session, self.settings, self.names, work)
        assessment.check()
        refused = assessment.over(self.work)
        if refused is not None:
            raise refused
        return Admitted(whole, assessment.asked, continues)

    def submit(self, admitted: Admitted, parent_id: str | None = None) -> JobDocument:
        """Queue a new job: its row, its first event and the doorbell it owes, together.

        Args:
            admitted: the submission.
            parent_id: the job that it is a copy of, or goes on from.

        Raises:
            QuotaExceeded: the tenant has as many unfinished jobs, or as much work in them, as it may have.
            Invalid: its set was deleted meanwhile.
        """
        request = admitted.request
        self._check_set(request)
        quota.check(self.session, self.principal, self.settings, admitted.asked)
        kept = self._extending(self.names).bundle(request.spec, self.principal.tenant_id, parent_id)
        job = submission.new_job(request, self.principal, self.settings, parent_id or request.spec.extends)
        job.expected_s = admitted.asked.expected_s
        about = {"dataset": job.dataset, "method": job.method, "parent_id": job.parent_id}
        enqueue(self.session, job, about)
        audit.record(self.session, self.principal, "job.submit", job.id, **about)
        if kept is not None:
            artifacts.share(self.session, kept, job, PARENT_BUNDLE)
        if admitted.continues and parent_id is not None:
            self._go_on(job, self._find(parent_id))
        return self.get(job.id)

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

    def copy(self, job_id: str, overrides: Mapping[str, Any]) -> Submission:
        """The submission of a copy of a job with some fields changed.

        Raises:
            NotFound: there is no such job.
            IllegalTransition: it is none that distils.
            Invalid: the changed submission is not valid.
        """
        job = self._find(job_id)
        if "clone" not in actions(State(job.status), Kind(job.kind), in_study=job.study_id is not None):
            raise self._illegal("clone", job)
        return self.read(submission.amended(job, overrides))

    def again(self, job_id: str) -> Submission:
        """The submission that makes the result of an ended job once more.

        Estimates do not refuse it: the job was let through before, and has shown since what it takes.

        Raises:
            NotFound: there is no such job.
            IllegalTransition: it has not ended, or is none that distils.
            Invalid: its set, or the job that it extends, is gone.
        """
        job = self._find(job_id)
        if "rerun" not in actions(State(job.status), Kind(job.kind)):
            raise self._illegal("rerun", job)
        return self.read(submission.once_more(job))

    def longer(self, job_id: str, request: ExtendRequest) -> Longer:
        """The submission of a job that takes more steps from where a finished one has ended.

        Raises:
            NotFound: there is no such job.
            IllegalTransition: it has not succeeded.
            Invalid: its steps depend on how many there are, or there would be too many.
        """
        job = self._find(job_id)
        if job.kind != Kind.DISTILLATION or job.status != State.SUCCEEDED:
            raise self._not_finished(job)
        return extensions.longer(job, submission.read(submission.resubmission(job), self.names), request.iterations)

    def checkpoints(self, job_id: str) -> list[CheckpointDocument]:
        """The saved states of a job, newest first.

        Raises:
            NotFound: there is no such job.
        """
        found = checkpoints.of_job(self.session, self._find(job_id).id)
        return [CheckpointDocument.model_validate(one, from_attributes=True) for one in found]

    def cancel(self, job_id: str, request: CancelRequest) -> JobDocument:
        """End a job early; a job that is cancelled, or about to be, stays so.

        Raises:
            NotFound: there is no such job.
            IllegalTransition: it has ended otherwise; or it is to keep a result that only a running job can write.
        """
        job = self._find(job_id)
        if job.status in (State.CANCELLING, State.CANCELLED):
            return self.get(job_id)
        if request.keep_result and _holds_images(job):
            raise IllegalTransition(
                f"`keep_result` is true, but only a running job can write its images, and this one is {job.status}; "
                "resume it and cancel it with `keep_result` once it runs, or cancel it without",
                extra={"allowed": actions(State(job.status), Kind(job.kind), in_study=job.study_id is not None)},
            )
        about = {"reason": request.reason, "keep_result": request.keep_result}
        return self._apply("cancel", job_id, {"keep_result": request.keep_result}, about)

    def pause(self, job_id: str) -> JobDocument:
        """Stop a job so that it can go on later.

        Raises:
            NotFound: there is no such job.
            IllegalTransition: it is not queued or running, or belongs to a study.
        """
        self._check_alone("pause", self._find(job_id))
        return self._apply("pause", job_id, {}, {})

    def resume(self, job_id: str) -> JobDocument:
        """Let a paused job go on.

        Raises:
            NotFound: there is no such job.
            IllegalTransition: it is not paused or about to be, or belongs to a study.
        """
        self._check_alone("resume", self._find(job_id))
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
        self._check_alone("retry", self._find(job_id))
        self._check_set_of(self._find(job_id))
        self._check_work_of(self._find(job_id))
        return self._apply("retry", job_id, {"from_scratch": request.from_scratch}, about)

    def amend(self, job_id: str, request: PatchRequest, version: int | None) -> JobDocument:
        """Change a job's name, labels or priority.

        Raises:
            NotFound: there is no such job.
            Invalid: a field that cannot be empty is null.
            PreconditionFailed: the job has another version.
        """
        job = self._find(job_id)
        values = request.model_dump(exclude_unset=True)
        for name in ("labels", "priority"):
            if name in values and values[name] is None:
                raise Invalid([Problem(f"/{name}", "null", f"`{name}` cannot be null; leave it out to keep it")])
        if values and not self._jobs.amend(job_id, values, version):
            raise PreconditionFailed(
                f"If-Match names version {version}, but the job is at {job.version}; read it again"
            )
        if values:
            audit.record(self.session, self.principal, "job.amend", job_id, **values)
        return self.get(job_id)

    def delete(self, job_id: str) -> None:
        """Remove an ended job, its log and its files.

        Raises:
            NotFound: there is no such job.
            IllegalTransition: it has not ended, takes a set in, or belongs to a study.
        """
        job = self._find(job_id)
        self._check_alone("delete", job)
        if job.kind != Kind.DISTILLATION or not self._jobs.bury(job_id):
            raise self._illegal("delete", job)
        audit.record(self.session, self.principal, "job.delete", job_id, method=job.method, dataset=job.dataset)
        logs.forget(self.session, job_id)
        idempotency.forget(self.session, self.principal, f"/v1/jobs/{job_id}")

    def _apply(self, verb: str, job_id: str, values: Mapping[str, Any], about: Mapping[str, Any]) -> JobDocument:
        for _ in range(_RACES):
            job = self._find(job_id)
            to = VERBS[verb].get(State(job.status))
            if to is None:
                break
            if transition(self.session, job_id, to, Actor.API, values=values, data={"verb": verb, **about}):
                if to is State.QUEUED:
                    outbox.add(self.session, job.device_class)
                audit.record(self.session, self.principal, f"job.{verb}", job_id, **about)
                return self.get(job_id)
        raise self._illegal(verb, self._find(job_id))

    def _go_on(self, job: Job, parent: Job) -> None:
        """Let a new job begin with the last state of a finished one."""
        extensions.check_state(parent, checkpoints.inherit(self.session, parent.id, job))
        job.step = job.checkpoint_step = parent.total_steps
        self.session.flush()

    def _not_finished(self, job: Job) -> IllegalTransition:
        """Say why a job cannot be extended yet, and how it comes to be."""
        if job.kind != Kind.DISTILLATION:
            return self._illegal("extend", job)
        legal = actions(State(job.status), Kind(job.kind))
        way = {
            State.PAUSED: "resume it, and extend it once it has succeeded",
            State.FAILED: "retry it, and extend it once it has succeeded",
            State.EXPIRED: "retry it, and extend it once it has succeeded",
            State.CANCELLED: "clone it with as many `method.iterations` as you want",
        }.get(State(job.status), "wait until it has succeeded, or pause it and clone it with more `method.iterations`")
        return IllegalTransition(
            f"only a job that has succeeded can be extended, and this one is {job.status}; {way}",
            extra={"allowed": legal},
        )

    def _illegal(self, verb: str, job: Job) -> IllegalTransition:
        legal = actions(State(job.status), Kind(job.kind), in_study=job.study_id is not None)
        return IllegalTransition(
            f"a job that is {job.status} cannot be told to {verb}; it can: {', '.join(legal)}", extra={"allowed": legal}
        )

    def _check_alone(self, verb: str, job: Job) -> None:
        """Refuse what only the study of a job does with it."""
        if job.study_id is None:
            return
        legal = actions(State(job.status), Kind(job.kind), in_study=True)
        instead = "delete the study, and its jobs go with it" if verb == "delete" else f"{verb} the study"
        instead = "clone it, and the copy stands alone" if verb == "retry" else instead
        raise IllegalTransition(
            f"{job.id} belongs to {job.study_id}, which decides when its jobs go on; {instead}",
            extra={"allowed": legal, "study_id": job.study_id},
        )

    def _check_set(self, request: Submission) -> None:
        """Refuse a set that was deleted since the submission was read; locked, it cannot be until the job is there."""
        if request.dataset_id is not None and self._sets.get(request.dataset_id, lock=True) is None:
            detail = f"the set {request.spec.dataset} was deleted a moment ago; name another"
            raise Invalid([Problem("/dataset", "dataset_deleted", detail)])

    def _check_set_of(self, job: Job) -> None:
        """Refuse a job that cannot go on because of its set."""
        if job.dataset_id is None or "retry" not in actions(State(job.status), Kind(job.kind)):
            return
        found = self._sets.get(job.dataset_id, lock=True)
        if found is None:
            raise Invalid([Problem("/dataset", "dataset_deleted", f"its set {job.dataset} was deleted since")])
        if job.kind == Kind.INGEST and found.job_id != job.id:
            detail = f"{job.dataset} is, or was, taken in otherwise by {found.job_id}"
            raise Invalid([Problem("/dataset", "superseded", detail)])

    def _check_work_of(self, job: Job) -> None:
        """Refuse a job that there is no room for any more; its time begins anew, and so does what is expected of it."""
        if job.kind != Kind.DISTILLATION or "retry" not in actions(State(job.status), Kind(job.kind)):
            return
        expected = job.max_runtime_s if job.expected_s is None else job.expected_s
        asked = Asked(expected, smaller=("clone it with fewer steps",))
        quota.check_again(self.session, self.principal, self.settings, asked)

    def _extending(self, names: Names) -> Extending:
        return Extending(self.session, self._jobs, names)

    def _find(self, job_id: str) -> Job:
        job = self._jobs.get(job_id)
        if job is None:
            raise NotFound(f"you have no job {job_id}")
        return job

    def _show(self, job: Job) -> JobDocument:
        return documents(self._jobs, [job])[0]


def _holds_images(job: Job) -> bool:
    """Whether a job that no worker is at, or soon will not be, has images that somebody may want to keep."""
    saved = job.status in (State.PAUSED, State.QUEUED) and job.checkpoint_step is not None
    return saved or job.status == State.PAUSING


def _payload(place: Place) -> dict[str, object]:
    return {"value": place.value, "id": place.id, "as_of": place.as_of.isoformat()}


def _place(payload: Mapping[str, Any]) -> Place:
    return Place(payload["value"], str(payload["id"]), datetime.fromisoformat(payload["as_of"]))
