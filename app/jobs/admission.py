"""Whether a submission may be queued: what it would cost beside what there is, and beside what its tenant may have.

Nothing here is written; what is admitted is counted once more where it is queued.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.core.errors import QuotaExceeded
from app.core.security import Principal
from app.core.settings import Settings
from app.datasets.names import Names
from app.jobs import quota
from app.jobs.assessment import Assessment
from app.jobs.extensions import Longer
from app.jobs.quota import Asked
from app.jobs.schemas import Validation
from app.jobs.submission import Submission


@dataclass(frozen=True)
class Admitted:
    """A submission that fits what it may take; see :meth:`Admission.admit`.

    Attributes:
        request: the submission.
        asked: what it wants of the quota; of a job that goes on, what it has to do itself.
        continues: whether the job goes on where its parent has ended.
    """

    request: Submission
    asked: Asked
    continues: bool = False


@dataclass(frozen=True)
class Admission:
    """Judges the submissions of one principal, within one transaction."""

    session: Session
    principal: Principal
    settings: Settings

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
        assessment = self._assessed(request)
        return assessment.validation(), self._over(assessment)

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
        assessment = self._assessed(work)
        refused = self._over(assessment)
        if refused is not None:
            raise refused
        return Admitted(whole, assessment.asked, continues)

    def _assessed(self, request: Submission) -> Assessment:
        names = Names.of(self.session, self.principal, self.settings)
        assessment = Assessment.of(self.session, self.settings, names, request)
        assessment.check()
        return assessment

    def _over(self, assessment: Assessment) -> QuotaExceeded | None:
        return assessment.over(quota.work_of(self.session, self.principal, self.settings))
