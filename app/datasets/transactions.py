"""What routes, pages and uploads do with users' own sets, each in one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from sqlalchemy.orm import Session

from app.core.dependencies import DatabaseDep, SettingsDep
from app.datasets.schemas import DatasetDocument
from app.datasets.service import DatasetService
from app.keys.principals import JobReader, JobWriter
from app.uploads.transactions import UploadTransactions
from ddcore.spec.ingest import IngestOptions


@dataclass(frozen=True)
class DatasetTransactions(UploadTransactions[DatasetService, DatasetDocument]):
    """The sets of one principal, a transaction at a time."""

    def _service(self, session: Session) -> DatasetService:
        return DatasetService(session, self.principal, self.settings)

    def ingest(self, dataset_id: str, options: IngestOptions) -> DatasetDocument:
        """Take it in once more, see :meth:`DatasetService.ingest`, and wake a worker."""
        with self.write() as sets:
            document = sets.ingest(dataset_id, options)
        self.wake()
        return document


async def _reader(principal: JobReader, database: DatabaseDep, settings: SettingsDep) -> DatasetTransactions:
    return DatasetTransactions(principal, database, settings)


async def _writer(principal: JobWriter, database: DatabaseDep, settings: SettingsDep) -> DatasetTransactions:
    return DatasetTransactions(principal, database, settings)


DatasetsToRead = Annotated[DatasetTransactions, Depends(_reader)]
DatasetsToWrite = Annotated[DatasetTransactions, Depends(_writer)]
