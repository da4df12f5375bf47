"""What a submission would cost, and whether it may be queued: read from the database once, judged by pure functions."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.core.errors import Invalid
from app.core.settings import Settings
from app.costs.forecasts import CLASSES, Forecaster
from app.datasets.names import Names
from app.jobs import capacity, submission
from app.jobs.capacity import Room
from app.jobs.estimate import Costing
from app.jobs.schemas import Validation
from app.jobs.submission import Submission
from app.queue import fleet
from ddcore.spec import parse


@dataclass(frozen=True)
class Assessment:
    """A submission beside what jobs have taken and what workers offer.

    Attributes:
        request: the submission.
        names: the datasets that it can name.
        costing: what it would cost.
        room: what it may take.
    """

    request: Submission
    names: Names
    costing: Costing
    room: Room

    @classmethod
    def of(cls, session: Session, settings: Settings, names: Names, request: Submission) -> Assessment:
        """Assess a submission, see :class:`Assessor`."""
        return Assessor(session, settings, names).of(request)

    def check(self) -> None:
        """Refuse what even at best takes too long, or more memory than any worker has, unless the user overrules it.

        Raises:
            Invalid: with the numbers, and what would fit.
        """
        if self.request.envelope.limits.ignore_estimate:
            return
        problems = capacity.refusals(self.costing, self.room, lambda body: parse(body, self.names.certain_facts))
        if problems:
            raise Invalid(problems)

    def validation(self) -> Validation:
        """What the submission would become."""
        spec = self.request.spec
        warnings = submission.warnings(spec, self.costing.facts)
        return Validation(
            spec=spec.model_dump(mode="json"),
            warnings=[*warnings, *capacity.warnings(self.costing, self.room)],
            plan=self.costing.plan(),
            estimate=self.costing.estimate(self.room.memory),
        )


class Assessor:
    """Assesses any number of submissions by the workers and the measurements of one moment.

    Args:
        session: any session.
        settings: the service's limits.
        names: the datasets that they can name.
    """

    def __init__(self, session: Session, settings: Settings, names: Names) -> None:
        self._settings, self._names = settings, names
        self.workers = fleet.live_workers(session, settings.lease_s)
        machines = {str(name): [each for worker in self.workers for each in worker.names(name)] for name in CLASSES}
        self._forecaster = Forecaster.of(session, machines)

    def of(self, request: Submission) -> Assessment:
        """Assess a submission."""
        room = Room.of(request.spec, self.workers, submission.max_runtime_s(request.envelope, self._settings))
        return Assessment(request, self._names, self.costing(request), room)

    def costing(self, request: Submission) -> Costing:
        """What a submission would cost."""
        own = self._names.own(request.spec.dataset) if request.dataset_id is not None else None
        identity = None if own is None else own.content_id
        return Costing(request.spec, self._names.facts(request.spec.dataset), self._forecaster, identity)
