"""The REST resource ``/v1/scores``."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from app.artifacts.downloads import StoreDep
from app.core.dependencies import SignerDep
from app.core.errors import (
    DatasetTooLarge,
    IllegalTransition,
    Invalid,
    InvalidCursor,
    InvalidParameter,
    NoSpace,
    NotFound,
    QuotaExceeded,
    Unavailable,
    UploadConflict,
)
from app.core.pagination import Cursors, Page
from app.core.paths import ScoreId
from app.core.problems import responses
from app.keys.principals import Turn
from app.scores.schemas import NewScore, ScoreDocument
from app.scores.transactions import ScoresToRead, ScoresToWrite
from app.uploads.receiving import BODY, ContentRange, Receiver, ReprDigest, digest_of, span_of

router = APIRouter(prefix="/v1/scores", tags=["scores"])

UPLOAD: dict[int | str, dict[str, Any]] = {
    200: {"model": ScoreDocument, "description": "The bytes were taken, and more are missing."},
    **responses(
        InvalidParameter, NotFound, UploadConflict, DatasetTooLarge, Invalid, QuotaExceeded, NoSpace, Unavailable
    ),
}


@router.get("", responses=responses(InvalidCursor))
def list_scores(
    scores: ScoresToRead,
    signer: SignerDep,
    dataset: Annotated[str | None, Query(max_length=200, description="Only scores on this dataset.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> Page[ScoreDocument]:
    """List the sets of others that were sent to be scored, newest first."""
    cursors = Cursors(signer, {"scores": dataset, "tenant": scores.principal.tenant_id})
    with scores.read() as service:
        return service.page(cursors, cursor, limit, dataset)


@router.post("", status_code=201, responses=responses(Invalid, QuotaExceeded, DatasetTooLarge), dependencies=[Turn])
def announce_score(body: NewScore, scores: ScoresToWrite, response: Response) -> ScoreDocument:
    """Announce a distilled set that others made, whose file `PUT …/content` then sends; a worker scores it after that.

    Read are `.pt` lists of tensors, `.npz`, `.safetensors`, parquet, and archives of images by class; see
    docs/scoring.md. No code of a file is ever run.
    """
    with scores.write() as service:
        document = service.announce(body)
    response.headers["Location"] = document.links["self"]
    return document


@router.get("/{score_id:identifier}", responses=responses(NotFound))
def get_score(score_id: ScoreId, scores: ScoresToRead) -> ScoreDocument:
    """Get a score: how far it is, then accuracy, controls, and the recipe."""
    return scores.get(score_id)


@router.put("/{score_id}/content", status_code=202, responses=UPLOAD, openapi_extra=BODY)
async def put_score_content(
    score_id: ScoreId,
    request: Request,
    response: Response,
    scores: ScoresToWrite,
    store: StoreDep,
    content_range: ContentRange = None,
    repr_digest: ReprDigest = None,
) -> ScoreDocument:
    """Send the file, or the part of it that comes next; as of datasets.

    202 says that all is there and a worker scores it, 200 that bytes are missing.
    """
    receiver = Receiver(scores, store, score_id, span_of(content_range), digest_of(repr_digest))
    document = await receiver.receive(request.stream())
    if document.status == "receiving":
        response.status_code = 200
    return document


@router.post("/{score_id}:cancel", status_code=202, responses=responses(NotFound, IllegalTransition))
def cancel_score(score_id: ScoreId, scores: ScoresToWrite) -> ScoreDocument:
    """Stop scoring a set."""
    with scores.write() as service:
        return service.cancel(score_id)


@router.delete("/{score_id:identifier}", status_code=204, responses=responses(NotFound))
def delete_score(score_id: ScoreId, scores: ScoresToWrite) -> None:
    """Delete a score, its file and its place on the leaderboard; one that is being made stops."""
    with scores.write() as service:
        service.delete(score_id)
