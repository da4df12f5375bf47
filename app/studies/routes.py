"""The REST resource ``/v1/studies``."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from app.core.dependencies import SignerDep
from app.core.errors import (
    Gone,
    IdempotencyMismatch,
    IllegalTransition,
    Invalid,
    InvalidCursor,
    InvalidParameter,
    NotFound,
    QuotaExceeded,
)
from app.core.pagination import Cursors, Page
from app.core.parameters import chosen
from app.core.paths import StudyId
from app.core.problems import responses
from app.core.versions import IfNoneMatch, KnownVersion, Wait, answer, changed, unless_known
from app.jobs import idempotency
from app.jobs.answering import respond
from app.jobs.routes import IdempotencyHeader
from app.keys.principals import Turn
from app.models.states import STUDY_TERMINAL, StudyState
from app.studies.schemas import StudyDocument, StudyRequest, StudyValidation
from app.studies.transactions import StudiesToRead, StudiesToWrite

router = APIRouter(prefix="/v1/studies", tags=["studies"])

REFUSALS = responses(NotFound, IllegalTransition)
REPLAYED: dict[int | str, dict[str, Any]] = {
    200: {"model": StudyDocument, "description": "The first answer to this Idempotency-Key, once more."}
}


@router.post(
    "",
    status_code=201,
    response_model=StudyDocument,
    responses={**REPLAYED, **responses(Invalid, Gone, IdempotencyMismatch, QuotaExceeded)},
    dependencies=[Turn],
)
def create(body: StudyRequest, studies: StudiesToWrite, key: IdempotencyHeader = None) -> Response:
    """Begin a study: its jobs are queued at once, and the best of them go on by themselves."""
    digest = idempotency.request_digest("study", body.model_dump(mode="json", by_alias=True))
    return respond(studies.create(lambda service: service.plan(body), key, digest))


@router.post(
    ":validate", response_model=StudyValidation, responses=responses(Invalid, QuotaExceeded), dependencies=[Turn]
)
def validate(body: StudyRequest, studies: StudiesToRead) -> StudyValidation:
    """Check a study, and say what it would try and cost; nothing is made."""
    with studies.read() as service:
        return service.validate(service.plan(body))


@router.get("", response_model=Page[StudyDocument], responses=responses(InvalidParameter, InvalidCursor))
def list_studies(
    studies: StudiesToRead,
    signer: SignerDep,
    status: Annotated[str | None, Query(description="One or more states, separated by commas.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> Page[StudyDocument]:
    """List studies, newest first."""
    wanted = chosen(StudyState, status)
    cursors = Cursors(signer, {"list": "studies", "status": wanted, "tenant": studies.principal.tenant_id})
    with studies.read() as service:
        return service.page(wanted, cursors, cursor, limit)


@router.get(
    "/{study_id:identifier}",
    response_model=StudyDocument,
    responses={**responses(NotFound), 304: {"description": "The study still has that ETag."}},
)
async def get_study(
    study_id: StudyId,
    studies: StudiesToRead,
    wait: Wait = 0,
    version: KnownVersion = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Get a study, at once or when it changes."""
    document = await changed(lambda: studies.get(study_id), version, wait)
    return unless_known(document, if_none_match)


@router.delete("/{study_id:identifier}", status_code=204, responses=REFUSALS)
def delete(study_id: StudyId, studies: StudiesToWrite) -> None:
    """Delete a study that has ended, with its jobs and their files."""
    with studies.write() as service:
        service.delete(study_id)


@router.post(
    "/{study_id}:cancel",
    status_code=202,
    response_model=StudyDocument,
    responses={200: {"model": StudyDocument, "description": "The study has ended."}, **REFUSALS},
)
def cancel(study_id: StudyId, studies: StudiesToWrite) -> Response:
    """Cancel a study and all its jobs. 202 while workers still have to stop."""
    document = studies.act("cancel", study_id)
    return answer(document, 200 if document.status in STUDY_TERMINAL else 202)


@router.post("/{study_id}:pause", status_code=202, response_model=StudyDocument, responses=REFUSALS)
def pause(study_id: StudyId, studies: StudiesToWrite) -> Response:
    """Pause a study: its jobs save their state and free their workers."""
    return answer(studies.act("pause", study_id), 202)


@router.post("/{study_id}:resume", status_code=202, response_model=StudyDocument, responses=REFUSALS)
def resume(study_id: StudyId, studies: StudiesToWrite) -> Response:
    """Resume a paused study."""
    return answer(studies.act("resume", study_id), 202)
