"""What can be done with studies. Nothing here commits, and nothing here knows HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from app.core.errors import IllegalTransition, NotFound, QuotaExceeded
from app.core.ids import new_id
from app.core.pagination import Cursors, Page
from app.core.security import Principal
from app.core.settings import Settings
from app.datasets.names import Names
from app.jobs import idempotency, quota
from app.jobs.assessment import Assessor
from app.jobs.repository import JobRepository
from app.jobs.submitting import Submitter
from app.keys import audit
from app.logs import repository as logs
from app.models.states import StudyState
from app.models.studies import Study
from app.studies import repository, trials, work
from app.studies.documents import documents
from app.studies.halving import expected_steps
from app.studies.planning import Plan, Planner
from app.studies.progress import advance
from app.studies.repository import StudyRepository
from app.studies.schemas import PlannedTrial, Refused, StudyDocument, StudyRequest, StudyValidation
from app.studies.states import VERBS, actions, transition


@dataclass(frozen=True)
class StudyService:
    """The studies of one principal, within one transaction."""

    session: Session
    principal: Principal
    settings: Settings

    @property
    def _studies(self) -> StudyRepository:
        return StudyRepository(self.session, self.principal)

    def get(self, study_id: str) -> StudyDocument:
        """One study.

        Raises:
            NotFound: there is none of that id, or it is somebody else's.
        """
        return documents(self.session, [self._find(study_id)])[0]

    def page(
        self, status: Sequence[StudyState], cursors: Cursors, cursor: str | None, limit: int
    ) -> Page[StudyDocument]:
        """One page of the studies, newest first.

        Raises:
            InvalidCursor: the cursor does not belong to this list.
        """
        after = cursors.decode(cursor) if cursor else None
        shown, following = self._studies.page(status, after, limit)
        cursor = None if following is None else cursors.encode(following)
        return Page[StudyDocument](data=documents(self.session, shown), next_cursor=cursor)

    def plan(self, request: StudyRequest) -> Plan:
        """What a request comes to.

        Raises:
            Invalid: it cannot be a study: with every reason.
        """
        names = Names.of(self.session, self.principal, self.settings)
        return Planner(request, names, Assessor(self.session, self.settings, names)).plan()

    def validate(self, plan: Plan) -> StudyValidation:
        """What a request would become; nothing is made.

        Raises:
            QuotaExceeded: the tenant would have more work unfinished than it may have.
        """
        refused = self.over(plan)
        if refused is not None:
            raise refused
        return self.foresee(plan)

    def over(self, plan: Plan) -> QuotaExceeded | None:
        """Why the quota has no room for the work of a study, if it has none."""
        return quota.work_of(self.session, self.principal, self.settings).refusal(work.asked(plan, self.settings))

    def foresee(self, plan: Plan) -> StudyValidation:
        """What a request would become, whatever the quota says."""
        request, seeds = plan.request, len(plan.request.seeds)
        iterations = [trial.iterations for trial in work.likely(plan)]
        expected = work.seconds(plan)
        return StudyValidation(
            spec=normalised(request),
            points=plan.points,
            jobs=plan.jobs,
            later=plan.later,
            trials=[
                PlannedTrial(
                    index=i, values=dict(t.values), title=t.title, iterations=t.iterations, minutes=t.price.minutes
                )
                for i, t in enumerate(plan.trials)
            ],
            rungs=[[plan.holds(trial)[rung] for trial in plan.trials] for rung in range(request.rungs)],
            steps=expected_steps(iterations, request.rungs, request.reduction) * seeds,
            full_grid_steps=sum(iterations) * seeds,
            minutes=None if expected is None else expected / 60,
            refused=[Refused(reason=reason, points=points) for reason, points in plan.refused.items()],
            warnings=list(plan.warnings),
        )

    def create(self, plan: Plan) -> StudyDocument:
        """Make a study with all its jobs, and queue them.

        Raises:
            QuotaExceeded: the tenant cannot have so many more unfinished jobs, or so much more work.
            Invalid: its set was deleted meanwhile.
        """
        request, asked = plan.request, work.asked(plan, self.settings)
        study = Study(
            id=new_id("study"),
            tenant_id=self.principal.tenant_id,
            name=request.name,
            labels=dict(request.labels),
            priority=request.priority,
            spec=normalised(request),
            refused=[{"reason": reason, "points": points} for reason, points in plan.refused.items()],
            status=StudyState.RUNNING,
            expected_s=asked.expected_s,
        )
        self.session.add(study)
        self.session.flush()
        submitter = Submitter(self.session, self.principal, self.settings)
        trials.add(self.session, submitter, study.id, plan, first=0, asked=asked)
        audit.record(self.session, self.principal, "study.submit", study.id, trials=len(plan.trials))
        advance(self.session, study.id, self.settings)
        return self.get(study.id)

    def act(self, verb: str, study_id: str) -> StudyDocument:
        """Pause, resume or cancel a study and, as far as it can be done at once, its jobs.

        Raises:
            NotFound: there is no such study.
            IllegalTransition: it is in a state in which that cannot be done.
        """
        study = self._find(study_id, lock=True)
        state = StudyState(study.status)
        if verb == "cancel" and state in (StudyState.CANCELLING, StudyState.CANCELLED):
            return self.get(study_id)
        to = VERBS[verb].get(state)
        if to is None or not transition(self.session, study, to):
            raise self._illegal(verb, state)
        audit.record(self.session, self.principal, f"study.{verb}", study_id)
        advance(self.session, study_id, self.settings)
        return self.get(study_id)

    def delete(self, study_id: str) -> None:
        """Remove an ended study with its jobs, their logs and files.

        Raises:
            NotFound: there is no such study.
            IllegalTransition: it has not ended.
        """
        study = self._find(study_id, lock=True)
        if not self._studies.bury(study_id):
            raise self._illegal("delete", StudyState(study.status))
        audit.record(self.session, self.principal, "study.delete", study_id)
        jobs = JobRepository(self.session, self.principal)
        for job in repository.jobs_of(self.session, [study_id])[study_id]:
            jobs.bury(job.id)
            logs.forget(self.session, job.id)
        idempotency.forget(self.session, self.principal, f"/v1/studies/{study_id}")

    def _illegal(self, verb: str, state: StudyState) -> IllegalTransition:
        legal = actions(state)
        return IllegalTransition(
            f"a study that is {state} cannot be told to {verb}; it can: {', '.join(legal)}", extra={"allowed": legal}
        )

    def _find(self, study_id: str, *, lock: bool = False) -> Study:
        study = self._studies.get(study_id, lock=lock)
        if study is None:
            raise NotFound(f"you have no study {study_id}")
        return study


def normalised(request: StudyRequest) -> dict[str, Any]:
    """The request with all defaults, as JSON."""
    return request.model_dump(mode="json", by_alias=True)
