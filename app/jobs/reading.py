"""What is asked for, read as a submission: the body of a request, or another job to copy, to repeat or to go on from.

Nothing here is written, and nothing is judged by what it costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from app.core.security import Principal
from app.core.settings import Settings
from app.datasets.names import Names
from app.jobs import extensions, refusals, submission
from app.jobs.extensions import Longer
from app.jobs.living import Extending
from app.jobs.lookup import JobLookup
from app.jobs.repository import JobRepository
from app.jobs.schemas import ExtendRequest
from app.jobs.submission import Submission
from app.models.states import Kind, State
from app.queue.states import actions


@dataclass(frozen=True)
class SubmissionReader:
    """Reads the submissions of one principal, within one transaction."""

    session: Session
    principal: Principal
    settings: Settings

    @property
    def _names(self) -> Names:
        return Names.of(self.session, self.principal, self.settings)

    @property
    def _lookup(self) -> JobLookup:
        return JobLookup(self.session, self.principal)

    def read(self, body: Mapping[str, Any]) -> Submission:
        """Read a submission.

        Raises:
            Invalid: with every fault of it.
        """
        names = self._names
        request = submission.read(body, names)
        Extending(self.session, JobRepository(self.session, self.principal), names).check(request)
        return request

    def copy(self, job_id: str, overrides: Mapping[str, Any]) -> Submission:
        """The submission of a copy of a job with some fields changed.

        Raises:
            NotFound: there is no such job.
            IllegalTransition: it is none that distils.
            Invalid: the changed submission is not valid.
        """
        job = self._lookup.find(job_id)
        if "clone" not in actions(State(job.status), Kind(job.kind), in_study=job.study_id is not None):
            raise refusals.illegal("clone", job)
        return self.read(submission.amended(job, overrides))

    def again(self, job_id: str) -> Submission:
        """The submission that makes the result of an ended job once more.

        Estimates do not refuse it: the job was let through before, and has shown since what it takes.

        Raises:
            NotFound: there is no such job.
            IllegalTransition: it has not ended, or is none that distils.
            Invalid: its set, or the job that it extends, is gone.
        """
        job = self._lookup.find(job_id)
        if "rerun" not in actions(State(job.status), Kind(job.kind)):
            raise refusals.illegal("rerun", job)
        return self.read(submission.once_more(job))

    def longer(self, job_id: str, request: ExtendRequest) -> Longer:
        """The submission of a job that takes more steps from where a finished one has ended.

        Raises:
            NotFound: there is no such job.
            IllegalTransition: it has not succeeded.
            Invalid: its steps depend on how many there are, or there would be too many.
        """
        job = self._lookup.find(job_id)
        if job.kind != Kind.DISTILLATION or job.status != State.SUCCEEDED:
            raise refusals.not_finished(job)
        return extensions.longer(job, submission.read(submission.resubmission(job), self._names), request.iterations)
