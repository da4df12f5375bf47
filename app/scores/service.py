"""What can be done with scores. Nothing here commits, and nothing here knows HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.core.errors import IllegalTransition, Invalid
from app.core.pagination import Cursors, Page, Position
from app.datasets.names import Names
from app.datasets.repository import DatasetRepository
from app.jobs import quota
from app.jobs.repository import JobRepository
from app.jobs.schemas import CancelRequest
from app.jobs.verbs import JobVerbs
from app.keys import audit
from app.models.scores import Score
from app.models.states import TERMINAL, State
from app.queue.queueing import enqueue
from app.queue.states import VERBS, Actor, transition
from app.scores import announcing, repository
from app.scores.documents import document
from app.scores.repository import ScoreRepository
from app.scores.schemas import NewScore, ScoreDocument
from app.uploads.service import UploadService
from ddcore.spec import Problem


@dataclass(frozen=True)
class ScoreService(UploadService[Score, ScoreDocument]):
    """The scores of one principal, within one transaction."""

    noun = "score"

    @property
    def _uploads(self) -> ScoreRepository:
        return ScoreRepository(self.session, self.principal)

    @property
    def _names(self) -> Names:
        return Names.of(self.session, self.principal, self.settings)

    def get(self, identity: str) -> ScoreDocument:
        """One score.

        Raises:
            NotFound: there is none of that id, or it is somebody else's.
        """
        return self._show([self._find(identity)])[0]

    def page(self, cursors: Cursors, cursor: str | None, limit: int, dataset: str | None) -> Page[ScoreDocument]:
        """One page of the scores, newest first.

        Raises:
            InvalidCursor: the cursor does not belong to this list.
        """
        named = () if dataset is None else (Score.dataset == dataset,)
        found = self._uploads.page(cursors.decode(cursor) if cursor else None, limit + 1, *named)
        shown = self._show(found[:limit])
        last = found[limit - 1] if len(found) > limit else None
        following = None if last is None else cursors.encode(Position(last.created_at, last.id))
        return Page[ScoreDocument](data=shown, next_cursor=following)

    def announce(self, request: NewScore) -> ScoreDocument:
        """Make room for the file of a set.

        Raises:
            Invalid: it cannot be scored so.
            QuotaExceeded: the tenant would have more work unfinished than it may have.
            DatasetTooLarge: the file is known to be larger than there is room.
        """
        wanted = announcing.read(request, self._names)
        asked = wanted.assess(self.session, self.settings, self._names)
        refused = quota.work_of(self.session, self.principal, self.settings).refusal(asked)
        if refused is not None:
            raise refused
        self.check_room(request.size)
        made = self._uploads.add(announcing.new_score(request, wanted, self.principal))
        audit.record(self.session, self.principal, "score.announce", made.id, dataset=made.dataset, file=made.file)
        return self._show([made])[0]

    def cancel(self, score_id: str) -> ScoreDocument:
        """Stop scoring a set.

        Raises:
            NotFound: there is no such score.
            IllegalTransition: it has ended otherwise, or its file has not come.
        """
        found = self._find(score_id)
        if found.job_id is None:
            raise IllegalTransition(
                "bytes of its file are missing, so nothing is being scored; delete it", extra={"allowed": ["delete"]}
            )
        JobVerbs(self.session, self.principal, self.settings).cancel(found.job_id, CancelRequest())
        return self.get(score_id)

    def delete(self, score_id: str) -> None:
        """Delete a score, with its job and its place on the leaderboard; what is scoring it stops.

        Raises:
            NotFound: there is no such score.
        """
        # The job's row first, as the worker that ends it takes them: two in the other order wait for each other.
        self._uploads.lock_job(self._find(score_id))
        found = self._find(score_id, lock=True)
        job = self._uploads.jobs([found]).get(found.job_id or "")
        if job is not None and job.status not in TERMINAL:
            to = VERBS["cancel"].get(State(job.status))
            if to is not None:
                transition(self.session, job.id, to, Actor.API, message="cancelled: its score was deleted")
        if job is not None:
            JobRepository(self.session, self.principal).bury(job.id)  # one that a worker still holds stays
        audit.record(self.session, self.principal, "score.delete", score_id, dataset=found.dataset, file=found.file)
        repository.bury(self.session, score_id)

    def _begin_work(self, found: Score) -> ScoreDocument:
        wanted = announcing.again(found, self._names)
        asked = wanted.assess(self.session, self.settings, self._names)
        self._check_set(found)
        quota.check(self.session, self.principal, self.settings, asked)
        job = announcing.new_job(found, wanted, asked, self.principal, self.settings)
        enqueue(self.session, job, {"dataset": found.dataset, "score_id": found.id})
        self._uploads.change(found.id, {"job_id": job.id})
        return self.get(found.id)

    def _check_set(self, found: Score) -> None:
        """Refuse a set that was deleted since; locked, it cannot be until the job is there."""
        if found.dataset_id is None:
            return
        if DatasetRepository(self.session, self.principal).get(found.dataset_id, lock=True) is None:
            detail = f"the set {found.dataset} was deleted since; name another in a new score"
            raise Invalid([Problem("/dataset", "dataset_deleted", detail)])

    def _show(self, found: Sequence[Score]) -> list[ScoreDocument]:
        jobs, kept = self._uploads.jobs(found), self._uploads.kept(found)
        return [document(one, jobs.get(one.job_id or ""), kept.get(one.id, 0)) for one in found]
