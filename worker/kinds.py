"""Which work each kind of job is."""

from __future__ import annotations

from app.core.database import Database
from app.core.settings import Settings
from app.core.storage import ArtifactStore
from app.models.states import Kind
from app.queue.leases import Claim
from worker.scoring import Scoring
from worker.work import Distillation, Ingest, Work

_WORKS: dict[Kind, type[Distillation | Ingest | Scoring]] = {
    Kind.DISTILLATION: Distillation,
    Kind.INGEST: Ingest,
    Kind.SCORE: Scoring,
}


def work_of(claimed: Claim, settings: Settings, database: Database, store: ArtifactStore) -> Work:
    """The work that a claim is about."""
    return _WORKS[claimed.kind](claimed, settings, database, store)
