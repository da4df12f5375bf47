"""SQL on studies. What users ask for starts from what the principal may see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlalchemy.orm import Session

from app.core.pagination import Position
from app.core.security import Principal
from app.core.tables import clock
from app.models.events import Event
from app.models.jobs import Job
from app.models.metrics import MetricKey, MetricPoint
from app.models.states import STUDY_TERMINAL, TERMINAL, State, StudyState
from app.models.studies import Study, Trial
from ddcore.spec.readings import ACCURACY_DURING, deviation_of

ACCURACY = ACCURACY_DURING["validation"]
DEVIATION = deviation_of(ACCURACY)


@dataclass(frozen=True)
class ValidationAccuracy:
    """Accuracy of a job's images after a step, in percent; ``None`` where it was not finite."""

    accuracy: float | None = None
    deviation: float | None = None


class StudyRepository:
    """The studies that a principal may see."""

    def __init__(self, session: Session, principal: Principal) -> None:
        self._session = session
        self._principal = principal

    def get(self, study_id: str, *, lock: bool = False) -> Study | None:
        """One study, as it is in the database now."""
        statement = select(Study).where(*self._mine(), Study.id == study_id).execution_options(populate_existing=True)
        return self._session.scalars(statement.with_for_update() if lock else statement).one_or_none()

    def page(
        self, status: Sequence[StudyState], after: Position | None, limit: int
    ) -> tuple[list[Study], Position | None]:
        """Studies after a position, newest first, and the position after which more come, if any do."""
        statement = select(Study).where(*self._mine())
        if status:
            statement = statement.where(Study.status.in_(status))
        if after is not None:
            earlier = and_(Study.created_at == after.created_at, Study.id < after.id)
            statement = statement.where(or_(Study.created_at < after.created_at, earlier))
        ordered = statement.order_by(Study.created_at.desc(), Study.id.desc()).limit(limit + 1)
        found = list(self._session.scalars(ordered))
        shown = found[:limit]
        more = len(found) > limit
        return shown, Position(shown[-1].created_at, shown[-1].id) if more else None

    def bury(self, study_id: str) -> bool:
        """Hide an ended study; ``False`` where it has not ended."""
        statement = (
            update(Study)
            .where(*self._mine(), Study.id == study_id, Study.status.in_(STUDY_TERMINAL))
            .values(deleted_at=clock(), version=Study.version + 1)
            .returning(Study.id)
            .execution_options(synchronize_session=False)
        )
        return bool(self._session.execute(statement).all())

    def _mine(self) -> tuple[ColumnElement[bool], ...]:
        return Study.tenant_id == self._principal.tenant_id, Study.deleted_at.is_(None)


def unfinished(session: Session, limit: int = 1000) -> Sequence[str]:
    """Studies that have not ended, oldest first."""
    return list(session.scalars(select(Study.id).where(Study.finished_at.is_(None)).order_by(Study.id).limit(limit)))


def locked(session: Session, study_id: str) -> Study | None:
    """A study, its row locked until the transaction ends; ``None`` where another transaction holds it."""
    statement = select(Study).where(Study.id == study_id).execution_options(populate_existing=True)
    return session.scalars(statement.with_for_update(skip_locked=True)).one_or_none()


def trials_of(session: Session, study_ids: Sequence[str]) -> dict[str, list[Trial]]:
    """The trials of some studies, in order."""
    statement = select(Trial).where(Trial.study_id.in_(study_ids)).order_by(Trial.study_id, Trial.index)
    found: dict[str, list[Trial]] = {study_id: [] for study_id in study_ids}
    for trial in session.scalars(statement.execution_options(populate_existing=True)):
        found[trial.study_id].append(trial)
    return found


def jobs_of(session: Session, study_ids: Sequence[str]) -> dict[str, list[Job]]:
    """The jobs of some studies, in the order of their making."""
    statement = select(Job).where(Job.study_id.in_(study_ids)).order_by(Job.number)
    found: dict[str, list[Job]] = {study_id: [] for study_id in study_ids}
    for job in session.scalars(statement.execution_options(populate_existing=True)):
        found[str(job.study_id)].append(job)
    return found


def unfinished_jobs(session: Session, study_id: str) -> set[State]:
    """States of a study's jobs that have not ended, as they are now."""
    statement = select(Job.status).where(Job.study_id == study_id, Job.status.not_in(TERMINAL)).distinct()
    return {State(status) for status in session.scalars(statement)}


def readings(session: Session, jobs: Sequence[Job]) -> dict[int, dict[int, ValidationAccuracy]]:
    """Accuracy of each job's images on the validation images, by job number and step."""
    statement = (
        select(MetricPoint.job_number, MetricPoint.step, MetricKey.name, MetricPoint.value)
        .join(MetricKey, MetricKey.id == MetricPoint.key_id)
        .where(MetricPoint.job_number.in_([job.number for job in jobs]), MetricKey.name.in_((ACCURACY, DEVIATION)))
    )
    values: dict[tuple[int, int], dict[str, float | None]] = {}
    for number, step, name, value in session.execute(statement):
        values.setdefault((number, step), {})[name] = value
    found: dict[int, dict[int, ValidationAccuracy]] = {job.number: {} for job in jobs}
    for (number, step), named in values.items():
        if ACCURACY in named:
            found[number][step] = ValidationAccuracy(named[ACCURACY], named.get(DEVIATION))
    return found


def stopped_by_itself(session: Session, job_id: str) -> bool:
    """Whether a paused job was held by its worker, rather than paused because somebody asked for it."""
    newest = (
        select(Event.data)
        .where(Event.job_id == job_id, Event.type == "job.state_changed")
        .order_by(Event.seq.desc())
        .limit(1)
    )
    data = session.execute(newest).scalar_one_or_none() or {}
    return data.get("from") == State.RUNNING and data.get("to") == State.PAUSED
