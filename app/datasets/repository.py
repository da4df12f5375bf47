"""SQL on users' own sets. Statements for routes start from what the principal may see."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, delete, func, or_, select, tuple_, update
from sqlalchemy.orm import Session, undefer

from app.artifacts.repository import keep
from app.core.pagination import Position
from app.core.security import Principal
from app.core.storage import Blob
from app.core.tables import clock
from app.models.datasets import Dataset, DatasetFile, DatasetPart
from app.models.jobs import Job
from app.models.states import TERMINAL, Kind, State


class DatasetRepository:
    """The sets that a principal may see."""

    def __init__(self, session: Session, principal: Principal) -> None:
        self._session = session
        self._principal = principal

    @property
    def session(self) -> Session:
        """The transaction."""
        return self._session

    def get(self, dataset_id: str, *, lock: bool = False, report: bool = False) -> Dataset | None:
        """One set, as it is in the database now.

        Args:
            dataset_id: its identifier.
            lock: whether nobody else may change it until the transaction ends.
            report: whether its report is wanted too.
        """
        statement = self._visible().where(Dataset.id == dataset_id).execution_options(populate_existing=True)
        statement = statement.options(undefer(Dataset.report)) if report else statement
        return self._session.scalars(statement.with_for_update() if lock else statement).one_or_none()

    def page(self, after: Position | None, limit: int, name: str | None) -> Sequence[Dataset]:
        """Sets before a position, newest first."""
        statement = self._visible()
        if name is not None:
            statement = statement.where(Dataset.name == name)
        if after is not None:
            last = tuple_(after.created_at, after.id, types=[Dataset.created_at.type, Dataset.id.type])
            statement = statement.where(tuple_(Dataset.created_at, Dataset.id) < last)
        return self._session.scalars(
            statement.order_by(Dataset.created_at.desc(), Dataset.id.desc()).limit(limit)
        ).all()

    def versions(self, name: str) -> Sequence[int]:
        """Versions of a name that jobs can use, ascending."""
        ready = select(Dataset.version).where(*self._ready(), Dataset.name == name).order_by(Dataset.version)
        return [version for version in self._session.scalars(ready) if version is not None]

    def named(self, name: str, version: int | None = None) -> Dataset | None:
        """A set that is ready, the newest of its name unless a version is given."""
        statement = select(Dataset).where(*self._ready(), Dataset.name == name)
        if version is not None:
            statement = statement.where(Dataset.version == version)
        return self._session.scalars(statement.order_by(Dataset.version.desc()).limit(1)).one_or_none()

    def of_content(self, content_id: str) -> Dataset | None:
        """The newest set with some content."""
        statement = select(Dataset).where(*self._ready(), Dataset.content_id == content_id)
        return self._session.scalars(statement.order_by(Dataset.created_at.desc()).limit(1)).one_or_none()

    def newest(self, name: str) -> Dataset | None:
        """The set of a name that was announced last, ready or not."""
        statement = self._visible().where(Dataset.name == name)
        return self._session.scalars(
            statement.order_by(Dataset.created_at.desc(), Dataset.id.desc()).limit(1)
        ).one_or_none()

    def known(self, ids: Collection[str]) -> Sequence[Dataset]:
        """Sets by their identifiers, deleted ones too: jobs outlive the sets that they were made from."""
        mine = (Dataset.tenant_id == self._principal.tenant_id, Dataset.id.in_(ids))
        return self._session.scalars(select(Dataset).where(*mine)).all() if ids else ()

    def ready_names(self) -> set[str]:
        """Names that jobs can use."""
        return set(self._session.scalars(select(Dataset.name).where(*self._ready()).distinct()))

    def add(self, dataset: Dataset) -> Dataset:
        """Insert a set; its defaults are filled in."""
        self._session.add(dataset)
        self._session.flush()
        self._session.refresh(dataset)
        return dataset

    def bytes_used(self) -> int:
        """Bytes of the tenant's sets and uploads."""
        mine = (Dataset.tenant_id == self._principal.tenant_id, Dataset.deleted_at.is_(None))
        stored = select(func.coalesce(func.sum(Dataset.stored), 0)).where(*mine)
        uploaded = (
            select(func.coalesce(func.sum(DatasetPart.size), 0))
            .join(Dataset, Dataset.id == DatasetPart.dataset_id)
            .where(*mine)
        )
        return int(self._session.scalar(stored) or 0) + int(self._session.scalar(uploaded) or 0)

    def add_part(self, dataset_id: str, start: int, blob: Blob) -> bool:
        """Record a piece of an upload; ``False`` where it does not come next, or nothing is awaited any more."""
        come = (
            update(Dataset)
            .where(*self._mine(), Dataset.id == dataset_id, Dataset.received == start, Dataset.job_id.is_(None))
            .values(received=start + blob.size)
            .returning(Dataset.id)
            .execution_options(synchronize_session=False)
        )
        if self._session.execute(come).first() is None:
            return False
        keep(self._session, blob.sha256, blob.size)
        self._session.add(DatasetPart(dataset_id=dataset_id, start=start, sha256=blob.sha256, size=blob.size))
        self._session.flush()
        return True

    def forget_upload(self, dataset_id: str) -> None:
        """Let go of what was received of a set."""
        drop_parts(self._session, dataset_id)
        self.change(dataset_id, {"received": 0})

    def change(self, dataset_id: str, values: Mapping[str, Any]) -> None:
        """Set columns of a set."""
        statement = update(Dataset).where(*self._mine(), Dataset.id == dataset_id).values(**values)
        self._session.execute(statement.execution_options(synchronize_session=False))

    def users(self, dataset_id: str, limit: int) -> Sequence[str]:
        """Some of the jobs that may still read a set."""
        statement = (
            select(Job.id)
            .where(
                Job.dataset_id == dataset_id,
                Job.kind == Kind.DISTILLATION,
                Job.status.not_in(TERMINAL),
                Job.deleted_at.is_(None),
            )
            .order_by(Job.created_at)
        )
        return self._session.scalars(statement.limit(limit)).all()

    def lock_ingest(self, dataset: Dataset) -> None:
        """Let nobody else change the newest ingest of a set until the transaction ends."""
        if dataset.job_id is not None:
            self._session.execute(select(Job.id).where(Job.id == dataset.job_id).with_for_update())

    def ingests(self, datasets: Sequence[Dataset]) -> Mapping[str, Job]:
        """The newest ingest of each set that has one, by its identifier."""
        ids = [dataset.job_id for dataset in datasets if dataset.job_id is not None]
        fresh = select(Job).where(Job.id.in_(ids)).execution_options(populate_existing=True)
        return {job.id: job for job in self._session.scalars(fresh)} if ids else {}

    def kept(self, datasets: Sequence[Dataset]) -> Mapping[str, int]:
        """Bytes of the uploads that are kept, by set."""
        ids = [dataset.id for dataset in datasets]
        sums = select(DatasetPart.dataset_id, func.sum(DatasetPart.size)).where(DatasetPart.dataset_id.in_(ids))
        return {row[0]: int(row[1]) for row in self._session.execute(sums.group_by(DatasetPart.dataset_id))}

    def file(self, dataset_id: str, name: str) -> DatasetFile | None:
        """A file of a set that is ready."""
        statement = (
            select(DatasetFile)
            .join(Dataset, Dataset.id == DatasetFile.dataset_id)
            .where(*self._mine(), DatasetFile.dataset_id == dataset_id, DatasetFile.name == name)
        )
        return self._session.scalars(statement).one_or_none()

    def files(self, dataset_id: str) -> Sequence[DatasetFile]:
        """All files of a set that is ready, by name."""
        return files_of(self._session, dataset_id)

    def _visible(self) -> Select[Dataset]:
        return select(Dataset).where(*self._mine())

    def _mine(self) -> tuple[ColumnElement[bool], ...]:
        return Dataset.tenant_id == self._principal.tenant_id, Dataset.deleted_at.is_(None)

    def _ready(self) -> tuple[ColumnElement[bool], ...]:
        return (*self._mine(), Dataset.content_id.is_not(None))


def drop_parts(session: Session, dataset_id: str) -> None:
    """Let go of an upload's bytes; the collector removes them."""
    gone = delete(DatasetPart).where(DatasetPart.dataset_id == dataset_id)
    session.execute(gone.execution_options(synchronize_session=False))


def drop_files(session: Session, dataset_id: str) -> None:
    """Let go of a set's files; the collector removes them."""
    gone = delete(DatasetFile).where(DatasetFile.dataset_id == dataset_id)
    session.execute(gone.execution_options(synchronize_session=False))


def parts_of(session: Session, dataset_id: str) -> Sequence[DatasetPart]:
    """The pieces of an upload, in their order."""
    statement = select(DatasetPart).where(DatasetPart.dataset_id == dataset_id).order_by(DatasetPart.start)
    return session.scalars(statement).all()


def files_of(session: Session, dataset_id: str) -> Sequence[DatasetFile]:
    """The files of a set, by name."""
    statement = select(DatasetFile).where(DatasetFile.dataset_id == dataset_id).order_by(DatasetFile.name)
    return session.scalars(statement).all()


def stale(session: Session, age_s: float, limit: int = 100) -> Sequence[str]:
    """Sets whose upload nobody has gone on with, or taken in, for ``age_s`` seconds."""
    ended = and_(Job.status.in_(TERMINAL), Job.status != State.SUCCEEDED)
    statement = (
        select(Dataset.id)
        .outerjoin(Job, Job.id == Dataset.job_id)
        .where(
            Dataset.deleted_at.is_(None),
            Dataset.content_id.is_(None),
            Dataset.updated_at < clock(-age_s),
            or_(Dataset.job_id.is_(None), ended),
        )
        .order_by(Dataset.updated_at)
        .limit(limit)
    )
    return session.scalars(statement).all()


def bury(session: Session, dataset_id: str) -> None:
    """Hide a set, and let go of its content."""
    drop_parts(session, dataset_id)
    drop_files(session, dataset_id)
    gone = update(Dataset).where(Dataset.id == dataset_id, Dataset.deleted_at.is_(None))
    session.execute(gone.values(deleted_at=clock()).execution_options(synchronize_session=False))
