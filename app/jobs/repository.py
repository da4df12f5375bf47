"""SQL on jobs. Every statement starts from what the principal may see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import ColumnElement, Select, exists, func, or_, select, update
from sqlalchemy.orm import Session

from app.core.errors import InvalidParameter
from app.core.security import Principal
from app.core.tables import clock
from app.jobs.sorting import Place, Sort
from app.models.artifacts import Artifact
from app.models.jobs import Job
from app.models.metrics import MetricKey, MetricLast
from app.models.states import TERMINAL, Kind, State
from ddcore.spec.readings import HEADLINE, LOSS_BASE


@dataclass(frozen=True)
class Filters:
    """Which jobs a list shows; what is empty or ``None`` does not restrict."""

    kind: Kind = Kind.DISTILLATION
    status: tuple[State, ...] = ()
    method: str | None = None
    dataset: str | None = None
    study: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    search: str | None = None
    """Words that each stand somewhere in the job's name, identifier, dataset, method or labels."""
    created_after: datetime | None = None
    created_before: datetime | None = None

    @staticmethod
    def read_label(text: str) -> tuple[str, str]:
        """A label as lists are asked for it, ``name:value``.

        Raises:
            InvalidParameter: it is not written so.
        """
        name, colon, value = text.partition(":")
        if not colon or not name:
            raise InvalidParameter(f"label is '{text}', but must be name:value")
        return name, value


@dataclass(frozen=True)
class LastValue:
    """Last value of a metric; ``None`` where it was not finite."""

    step: int
    value: float | None


class JobRepository:
    """The jobs that a principal may see."""

    def __init__(self, session: Session, principal: Principal) -> None:
        self._session = session
        self._principal = principal

    def get(self, job_id: str) -> Job | None:
        """One job, as it is in the database now."""
        statement = self._visible().where(Job.id == job_id).execution_options(populate_existing=True)
        return self._session.scalars(statement).one_or_none()

    def page(
        self, filters: Filters, sort: Sort, after: Place | None, as_of: datetime, limit: int
    ) -> tuple[list[Job], Place | None]:
        """Jobs after a place, and the place after which the next ones come, if there are more.

        Args:
            filters: which jobs.
            sort: in which order.
            after: where the page begins; ``None`` for the first one.
            as_of: the time that the list is of.
            limit: how many, at most.
        """
        narrow = select(Job.id, sort.key(as_of)).where(*self._mine(), *self._conditions(filters))
        if after is not None:
            narrow = narrow.where(sort.after(after))
        # Only what decides the order is sorted; whole rows are many times as large.
        found = self._session.execute(narrow.order_by(*sort.order(as_of)).limit(limit + 1)).all()
        shown = found[:limit]
        whole = self._visible().where(Job.id.in_([id for id, _ in shown]))
        jobs = {job.id: job for job in self._session.scalars(whole)}
        following = Place(shown[-1][1], shown[-1][0], as_of) if len(found) > limit else None
        # One that was deleted between the two statements is gone.
        return [jobs[id] for id, _ in shown if id in jobs], following

    def amend(self, job_id: str, values: Mapping[str, Any], version: int | None) -> bool:
        """Change what the user may change at any time; ``False`` where the job's version is another."""
        statement = update(Job).where(*self._mine(), Job.id == job_id)
        if version is not None:
            statement = statement.where(Job.version == version)
        return self._changed(statement.values(**values, version=Job.version + 1))

    def bury(self, job_id: str) -> bool:
        """Hide an ended job and its files; ``False`` where it has not ended."""
        statement = update(Job).where(*self._mine(), Job.id == job_id, Job.status.in_(TERMINAL))
        buried = self._changed(statement.values(deleted_at=clock(), version=Job.version + 1))
        if buried:
            self._session.execute(
                update(Artifact)
                .where(Artifact.job_id == job_id)
                .values(state="deleted")
                .execution_options(synchronize_session=False)
            )
        return buried

    def last_metrics(self, jobs: Sequence[Job]) -> dict[int, dict[str, LastValue]]:
        """Last readings of the metrics that the job document shows, by job number and name."""
        rows = self._session.execute(
            select(MetricLast.job_number, MetricKey.name, MetricLast.step, MetricLast.value)
            .join(MetricKey, MetricKey.id == MetricLast.key_id)
            .where(MetricLast.job_number.in_([job.number for job in jobs]), MetricKey.name.in_((*HEADLINE, LOSS_BASE)))
        )
        found: dict[int, dict[str, LastValue]] = {}
        for number, name, step, value in rows:
            found.setdefault(number, {})[name] = LastValue(step, value)
        return found

    def children(self, job_id: str, limit: int) -> list[Job]:
        """Jobs that come from another one, newest first."""
        found = self._visible().where(Job.parent_id == job_id).order_by(Job.created_at.desc(), Job.id.desc())
        return list(self._session.scalars(found.limit(limit)))

    def _visible(self) -> Select[Job]:
        return select(Job).where(*self._mine())

    def _mine(self) -> tuple[ColumnElement[bool], ...]:
        return Job.tenant_id == self._principal.tenant_id, Job.deleted_at.is_(None)

    def _conditions(self, filters: Filters) -> list[ColumnElement[bool]]:
        conditions: list[ColumnElement[bool]] = [Job.kind == filters.kind]
        if filters.status:
            conditions.append(Job.status.in_(filters.status))
        if filters.method is not None:
            conditions.append(Job.method == filters.method)
        if filters.dataset is not None:
            # The bare name of a user's own set means all its versions.
            versions = Job.dataset.startswith(f"{filters.dataset}@", autoescape=True)
            conditions.append(or_(Job.dataset == filters.dataset, versions))
        if filters.study is not None:
            conditions.append(Job.study_id == filters.study)
        if filters.created_after is not None:
            conditions.append(Job.created_at > filters.created_after)
        if filters.created_before is not None:
            conditions.append(Job.created_at < filters.created_before)
        conditions.extend(self._has_label(name, value) for name, value in filters.labels)
        conditions.extend(self._says(word) for word in (filters.search or "").split())
        return conditions

    def _says(self, word: str) -> ColumnElement[bool]:
        """Whether a word stands in what people call a job by; a label counts as ``name:value``."""
        postgres = self._session.get_bind().dialect.name == "postgresql"
        entries = func.jsonb_each_text(Job.labels) if postgres else func.json_each(Job.labels)
        label = (
            entries.table_valued("key", "value").render_derived() if postgres else entries.table_valued("key", "value")
        )
        labelled = exists().where((label.c.key + ":" + label.c.value).icontains(word, autoescape=True))
        texts = (Job.name, Job.id, Job.dataset, Job.method)
        return or_(*(text.icontains(word, autoescape=True) for text in texts), labelled)

    def _has_label(self, name: str, value: str) -> ColumnElement[bool]:
        if self._session.get_bind().dialect.name == "postgresql":
            # Containment is what the column's GIN index answers.
            return Job.labels.bool_op("@>")({name: value})
        return cast(ColumnElement[bool], Job.labels[name].as_string() == value)

    def _changed(self, statement: Any) -> bool:
        returning = statement.returning(Job.id).execution_options(synchronize_session=False)
        return bool(self._session.execute(returning).all())
