"""What routes, pages and uploads do with users' own sets, each in one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends

from app.core.database import Database
from app.core.dependencies import DatabaseDep, SettingsDep
from app.core.security import Principal
from app.core.settings import Settings
from app.core.storage import Blob
from app.datasets.schemas import DatasetDocument
from app.datasets.service import DatasetService
from app.keys.principals import JobReader, JobWriter
from app.queue import outbox
from ddcore.spec.ingest import IngestOptions


@dataclass(frozen=True)
class DatasetTransactions:
    """The sets of one principal, a transaction at a time."""

    principal: Principal
    database: Database
    settings: Settings

    @contextmanager
    def read(self) -> Iterator[DatasetService]:
        """A transaction that changes nothing."""
        with self.database.read() as session:
            yield DatasetService(session, self.principal, self.settings)

    @contextmanager
    def write(self) -> Iterator[DatasetService]:
        """A transaction that ends with the block, all of it or nothing."""
        with self.database.write() as session:
            yield DatasetService(session, self.principal, self.settings)

    def get(self, dataset_id: str) -> DatasetDocument:
        """One set, see :meth:`DatasetService.get`."""
        with self.read() as sets:
            return sets.get(dataset_id)

    def begin(self, dataset_id: str, start: int | None) -> tuple[int, int]:
        """Where an upload goes on, and its most bytes, see :meth:`DatasetService.begin`."""
        with self.write() as sets:
            return sets.begin(dataset_id, start)

    def add_part(self, dataset_id: str, start: int, blob: Blob) -> None:
        """Record a stored part, see :meth:`DatasetService.add_part`."""
        with self.write() as sets:
            sets.add_part(dataset_id, start, blob)

    def discard(self, dataset_id: str) -> None:
        """Forget an upload, see :meth:`DatasetService.discard`."""
        with self.write() as sets:
            sets.discard(dataset_id)

    def complete(self, dataset_id: str, total: int, sha256: str | None) -> DatasetDocument:
        """Take an upload in, see :meth:`DatasetService.complete`, and wake a worker."""
        with self.write() as sets:
            document = sets.complete(dataset_id, total, sha256)
        self.wake()
        return document

    def ingest(self, dataset_id: str, options: IngestOptions) -> DatasetDocument:
        """Take it in once more, see :meth:`DatasetService.ingest`, and wake a worker."""
        with self.write() as sets:
            document = sets.ingest(dataset_id, options)
        self.wake()
        return document

    def wake(self) -> None:
        """Ring the doorbells that are due."""
        outbox.publish_pending(self.database, self.settings, limit_s=self.settings.publish_limit_s)


def _reader(principal: JobReader, database: DatabaseDep, settings: SettingsDep) -> DatasetTransactions:
    return DatasetTransactions(principal, database, settings)


def _writer(principal: JobWriter, database: DatabaseDep, settings: SettingsDep) -> DatasetTransactions:
    return DatasetTransactions(principal, database, settings)


DatasetsToRead = Annotated[DatasetTransactions, Depends(_reader)]
DatasetsToWrite = Annotated[DatasetTransactions, Depends(_writer)]
