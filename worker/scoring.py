"""What is special about a score: a stranger's file is read apart, and what was found in it is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from app.queue import endings
from app.queue.retries import Failure
from app.scores import scoring
from worker.protocol import Finish, Scored
from worker.run_folder import RunFolder
from worker.work import Base, Ending, OwnSet, Proceed, UnfitError, put_together

_DELETED = Failure("score_deleted", "its score was deleted; announce and send the file again", retryable=False)


class Scoring(Base):
    """A set that others made is scored; a user's own set that it stands for is brought into the cache first."""

    @property
    def module(self) -> str:
        """The scoring process, which has another one read the file."""
        return "worker.score_main"

    def spec(self) -> Mapping[str, Any]:
        """What to score, how, and within which limits."""
        limits = {
            "memory_bytes": int(self._settings.ingest_memory_gb * 1e9),
            "unpacked_bytes": int(self._settings.upload_limit_gb * 1e9),
        }
        return {**self._claim.spec, "dataset": self._own_set.named, "limits": limits}

    def fetch(self, folder: RunFolder, proceed: Proceed) -> None:
        """Bring here the file, and the user's own set into the cache, unless it is there."""
        with self._database.read() as session:
            found = scoring.file_of(session, self._claim.job_id)
        if found is None or not found.parts:
            raise UnfitError(_DELETED)
        put_together(self._store, found, folder, proceed)
        self._own_set.fetch(proceed)

    def collect(self, folder: RunFolder, done: Finish, *, cancelled: bool) -> Ending:  # noqa: ARG002 - as all kinds
        """Nothing is stored but numbers."""
        if not isinstance(done, Scored):
            raise UnfitError(Failure("no_score", "the process left no score", retryable=True))
        scored = done

        def end(session: Session) -> bool:
            origin = scored.results.origin
            sha256 = None if origin is None else origin.sha256
            if scoring.complete(session, self._claim.job_id, scored.spec, sha256) is None:
                return endings.fail(session, self._claim, _DELETED, 0.0) is not None
            values = {"results": scored.results.model_dump(mode="json")}
            return endings.succeed(session, self._claim, "scored", values)

        return end

    def afterwards(self, folder: RunFolder) -> None:
        """Nothing."""

    @property
    def _own_set(self) -> OwnSet:
        return OwnSet(self._claim, self._settings, self._database, self._store)
