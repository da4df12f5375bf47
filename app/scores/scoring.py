"""What workers do with scores: fetch files, and record what came of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from app.models.scores import Score, ScorePart
from app.scores import repository
from app.uploads import repository as uploads
from app.uploads.repository import StoredFile


def file_of(session: Session, job_id: str) -> StoredFile | None:
    """The file that a job is to score; ``None`` where the score was deleted."""
    score = repository.of_job(session, job_id)
    return None if score is None else uploads.stored(session, score, ScorePart)


def complete(session: Session, job_id: str, spec: Mapping[str, Any], sha256: str | None) -> Score | None:
    """Record how a set was scored, in the transaction that ends its job.

    Args:
        session: a ``write()`` session.
        job_id: the job.
        spec: of a job that scores alike.
        sha256: of the file, as it was read.

    Returns:
        The score; ``None`` where it was deleted.
    """
    score = repository.of_job(session, job_id, lock=True)
    if score is None:
        return None
    named = {**spec, "dataset": score.dataset}
    repository.finish(session, score, {"spec": named, "ipc": spec["ipc"], "sha256": score.sha256 or sha256})
    return score
