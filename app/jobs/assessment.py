"""What a submission would cost, and whether it may be queued: read from the database once, judged by pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from app.core.errors import Invalid, QuotaExceeded
from app.core.settings import Settings
from app.costs.forecasts import CLASSES, Forecaster
from app.datasets.names import Names
from app.jobs import capacity, fitting, submission
from app.jobs.capacity import Room
from app.jobs.estimate import Costing
from app.jobs.quota import Asked, Work
from app.jobs.schemas import Validation
from app.jobs.submission import Submission
from app.queue import fleet
from ddcore.spec import JobSpec, parse


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
        problems = capacity.refusals(self.costing, self.room, self._parse)
        if problems:
            raise Invalid(problems)

    @property
    def asked(self) -> Asked:
        """What the submission wants of its tenant's quota.

        A job is ended at its longest running time, so that it counts no more than that. One whose dataset is not
        known beforehand counts all of it: if it counted nothing, jobs on such sets would have no bound.
        """
        longest, device = self.room.runtime_s, self.costing.likely_device(self.room.memory)
        if device is None:
            why = " (`limits.max_runtime_s`, since the size of its dataset is not known yet)"
            return Asked(longest, why=why, smaller=("set a smaller `limits.max_runtime_s`",))
        return Asked(min(self.costing.predicted[device].total.expected, longest))

    def over(self, work: Work) -> QuotaExceeded | None:
        """What to say where the tenant has no room for the work of the submission, with what would fit."""
        return work.refusal(self.asked, self._fitting)

    def _fitting(self, room_s: float) -> str:
        """The nearest changes with which the job takes so many seconds at most, in words."""
        device = self.costing.likely_device(self.room.memory)
        classes = list(self.room.memory) or ([] if device is None else [device])
        return fitting.nearest(self.costing, classes, self._parse, lambda each: each.total.expected <= room_s)

    def _parse(self, body: Mapping[str, Any]) -> JobSpec:
        return parse(body, self.names.certain_facts)

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
