"""What workers do with users' own sets: fetch uploads and sets, and record that one was taken in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.artifacts.repository import keep
from app.core.database import now
from app.core.settings import Settings
from app.core.storage import Blob
from app.datasets import repository
from app.datasets.documents import as_json
from app.models.datasets import Dataset, DatasetFile, DatasetPart
from app.models.keys import Tenant
from app.uploads import repository as uploads
from app.uploads.quota import bytes_stored, quota_of
from app.uploads.repository import StoredFile
from ddcore.spec.ingest import DatasetReport


@dataclass(frozen=True)
class StoredUpload:
    """An upload that is complete.

    Attributes:
        content: its file.
        room: bytes that the set made of it may have.
    """

    content: StoredFile
    room: int


@dataclass(frozen=True)
class StoredFiles:
    """A set in the store.

    Attributes:
        content_id: its identity, ``ds_…``.
        files: its files by name.
    """

    content_id: str
    files: Mapping[str, Blob]


def upload_of(session: Session, settings: Settings, dataset_id: str) -> StoredUpload | None:
    """The upload of a set that is to be taken in; ``None`` where it was deleted."""
    dataset = _living(session, dataset_id)
    if dataset is None:
        return None
    content = uploads.stored(session, dataset, DatasetPart)
    return StoredUpload(content, _room(session, settings, dataset.tenant_id))


def files_of(session: Session, dataset_id: str) -> StoredFiles | None:
    """The files of a set that is ready; ``None`` where it was deleted."""
    dataset = _living(session, dataset_id)
    if dataset is None or dataset.content_id is None:
        return None
    files = {file.name: Blob(file.sha256, file.size) for file in repository.files_of(session, dataset_id)}
    return StoredFiles(dataset.content_id, files)


def complete(
    session: Session, dataset_id: str, job_id: str, report: DatasetReport, files: Mapping[str, Blob]
) -> Dataset | None:
    """Make a set ready: its files are in the store. Call it in the transaction that ends its ingest.

    Returns:
        The set, with its version; ``None`` where it was deleted, or is being taken in otherwise by now.
    """
    known = _living(session, dataset_id)
    if known is None:
        return None
    # The tenant's row is locked so that two sets of one name cannot get the same version; before the set's own, as
    # uploads do.
    session.execute(select(Tenant.id).where(Tenant.id == known.tenant_id).with_for_update())
    dataset = _living(session, dataset_id, lock=True)
    if dataset is None or dataset.job_id != job_id:
        return None
    namesakes = (Dataset.tenant_id == dataset.tenant_id, Dataset.name == dataset.name)
    newest = session.execute(select(func.max(Dataset.version)).where(*namesakes)).scalar_one()
    for name, blob in files.items():
        keep(session, blob.sha256, blob.size)
        session.add(DatasetFile(dataset_id=dataset_id, name=name, sha256=blob.sha256, size=blob.size))
    uploads.drop_parts(session, DatasetPart, dataset_id)
    dataset.version = (newest or 0) + 1
    dataset.content_id = report.id
    dataset.report = report.model_dump(mode="json")
    dataset.facts = as_json(report.facts)
    dataset.stored = sum(blob.size for blob in files.values())
    dataset.ready_at = now(session)
    session.flush()
    return dataset


def expire_uploads(session: Session, keep_s: float) -> int:
    """Delete sets whose upload stayed incomplete, or was not taken in, for ``keep_s`` seconds; how many."""
    found = uploads.stale(session, Dataset, keep_s)
    for dataset_id in found:
        repository.bury(session, dataset_id)
    return len(found)


def _living(session: Session, dataset_id: str, *, lock: bool = False) -> Dataset | None:
    living = select(Dataset).where(Dataset.id == dataset_id, Dataset.deleted_at.is_(None))
    statement = living.execution_options(populate_existing=True)
    return session.scalars(statement.with_for_update() if lock else statement).one_or_none()


def _room(session: Session, settings: Settings, tenant_id: str) -> int:
    tenant = session.execute(select(Tenant).where(Tenant.id == tenant_id)).scalar_one()
    # The upload goes when the set is there, so it does not count twice.
    return max(0, quota_of(tenant, settings) - bytes_stored(session, tenant_id))
