"""SQL on users' own sets. Statements for routes start from what the principal may see."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.orm import Session, undefer

from app.models.datasets import Dataset, DatasetFile, DatasetPart
from app.models.jobs import Job
from app.models.states import TERMINAL, Kind
from app.uploads import repository as uploads
from app.uploads.repository import UploadRepository


class DatasetRepository(UploadRepository[Dataset]):
    """The sets that a principal may see."""

    row, part = Dataset, DatasetPart

    def with_report(self, dataset_id: str) -> Dataset | None:
        """One set with its report, which other statements leave aside."""
        statement = self._visible().where(Dataset.id == dataset_id).execution_options(populate_existing=True)
        return self._session.scalars(statement.options(undefer(Dataset.report))).one_or_none()

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

    def users(self, dataset_id: str, limit: int) -> Sequence[str]:
        """Some of the jobs that may still read a set."""
        statement = (
            select(Job.id)
            .where(
                Job.dataset_id == dataset_id,
                Job.kind != Kind.INGEST,
                Job.status.not_in(TERMINAL),
                Job.deleted_at.is_(None),
            )
            .order_by(Job.created_at)
        )
        return self._session.scalars(statement.limit(limit)).all()

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

    def _ready(self) -> tuple[ColumnElement[bool], ...]:
        return (*self._mine(), Dataset.content_id.is_not(None))


def drop_files(session: Session, dataset_id: str) -> None:
    """Let go of a set's files; the collector removes them."""
    gone = delete(DatasetFile).where(DatasetFile.dataset_id == dataset_id)
    session.execute(gone.execution_options(synchronize_session=False))


def files_of(session: Session, dataset_id: str) -> Sequence[DatasetFile]:
    """The files of a set, by name."""
    statement = select(DatasetFile).where(DatasetFile.dataset_id == dataset_id).order_by(DatasetFile.name)
    return session.scalars(statement).all()


def bury(session: Session, dataset_id: str) -> None:
    """Hide a set, and let go of its content."""
    drop_files(session, dataset_id)
    uploads.bury(session, Dataset, DatasetPart, dataset_id)
