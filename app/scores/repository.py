"""SQL on scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models.scores import Score, ScorePart
from app.uploads import repository as uploads
from app.uploads.repository import UploadRepository


class ScoreRepository(UploadRepository[Score]):
    """The scores that a principal may see."""

    row, part = Score, ScorePart


def of_job(session: Session, job_id: str, *, lock: bool = False) -> Score | None:
    """The score that a job works for; ``None`` where it was deleted."""
    living = select(Score).where(Score.job_id == job_id, Score.deleted_at.is_(None))
    statement = living.execution_options(populate_existing=True)
    return session.scalars(statement.with_for_update() if lock else statement).one_or_none()


def finish(session: Session, score: Score, values: Mapping[str, Any]) -> None:
    """Record what was found in a file, which is not read again."""
    for name, value in values.items():
        setattr(score, name, value)
    uploads.drop_parts(session, ScorePart, score.id)
    session.flush()


def bury(session: Session, score_id: str) -> None:
    """Hide a score, and let go of its file."""
    uploads.bury(session, Score, ScorePart, score_id)


def expire_uploads(session: Session, keep_s: float) -> int:
    """Delete scores whose file stayed incomplete, or could not be scored, for ``keep_s`` seconds; how many."""
    found = uploads.stale(session, Score, keep_s)
    for score_id in found:
        bury(session, score_id)
    return len(found)
