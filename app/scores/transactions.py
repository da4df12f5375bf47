"""What routes and uploads do with scores, each in one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from sqlalchemy.orm import Session

from app.core.dependencies import DatabaseDep, SettingsDep
from app.keys.principals import JobReader, JobWriter
from app.scores.schemas import ScoreDocument
from app.scores.service import ScoreService
from app.uploads.transactions import UploadTransactions


@dataclass(frozen=True)
class ScoreTransactions(UploadTransactions[ScoreService, ScoreDocument]):
    """The scores of one principal, a transaction at a time."""

    def _service(self, session: Session) -> ScoreService:
        return ScoreService(session, self.principal, self.settings)


async def _reader(principal: JobReader, database: DatabaseDep, settings: SettingsDep) -> ScoreTransactions:
    return ScoreTransactions(principal, database, settings)


async def _writer(principal: JobWriter, database: DatabaseDep, settings: SettingsDep) -> ScoreTransactions:
    return ScoreTransactions(principal, database, settings)


ScoresToRead = Annotated[ScoreTransactions, Depends(_reader)]
ScoresToWrite = Annotated[ScoreTransactions, Depends(_writer)]
