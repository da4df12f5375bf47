"""From rows to the score document."""

from __future__ import annotations

from typing import cast

from app.jobs.schemas import JobError
from app.models.jobs import Job
from app.models.scores import Score
from app.models.states import Kind, State
from app.queue.states import actions
from app.scores.schemas import ScoreDocument, ScoringDocument, Status
from app.uploads.schemas import UploadDocument
from ddcore.spec.results import Results


def document(score: Score, job: Job | None, kept: int) -> ScoreDocument:
    """A score.

    Args:
        score: its row.
        job: that scores it, once no byte of its file is missing.
        kept: bytes of its file that are still there.
    """
    links = {"self": f"/v1/scores/{score.id}", "content": f"/v1/scores/{score.id}/content"}
    if job is not None:
        links |= {"job": f"/v1/jobs/{job.id}", "events": f"/v1/jobs/{job.id}/events:stream"}
    return ScoreDocument(
        id=score.id,
        name=score.name,
        status="receiving" if job is None else cast(Status, job.status),
        dataset=score.dataset,
        ipc=score.ipc,
        upload=UploadDocument(file=score.file, size=score.size, received=score.received, kept=kept > 0),
        sha256=score.sha256,
        recipe=score.request["recipe"],
        values=score.request["values"],
        spec=score.spec,
        results=None if job is None or job.results is None else Results.model_validate(job.results),
        job=None if job is None else _scoring(job),
        error=None if job is None or job.error is None else JobError.model_validate(job.error),
        actions=_actions(job),
        key_id=score.key_id,
        created_at=score.created_at,
        finished_at=None if job is None else job.finished_at,
        links=links,
    )


def _scoring(job: Job) -> ScoringDocument:
    return ScoringDocument(
        id=job.id, status=job.status, phase=job.phase, done=job.phase_done, total=job.phase_total, attempt=job.attempt
    )


def _actions(job: Job | None) -> list[str]:
    verbs = [] if job is None else actions(State(job.status), Kind.SCORE)
    return [*(verb for verb in verbs if verb == "cancel"), "delete"]
