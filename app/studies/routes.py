"""The REST resource ``/v1/studies``."""

from __future__ import annotations

from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Header, Query, Response
from starlette.concurrency import run_in_threadpool

from app.core.dependencies import SignerDep
from app.core.errors import (
    IdempotencyMismatch,
    IllegalTransition,
    Invalid,
    InvalidCursor,
    InvalidParameter,
    NotFound,
    QuotaExceeded,
)
from app.core.pagination import Cursors, Page
from app.core.paths import StudyId
from app.core.problems import responses
from app.jobs import idempotency
from app.jobs.routes import WAIT_EVERY_S, IdempotencyHeader
from app.models.states import STUDY_TERMINAL, StudyState
from app.studies.schemas import StudyDocument, StudyRequest, StudyValidation
from app.studies.transactions import StudiesToRead, StudiesToWrite
from ddcore.spec import did_you_mean

router = APIRouter(prefix="/v1/studies", tags=["studies"])

REFUSALS = responses(NotFound, IllegalTransition)
REPLAYED: dict[int | str, dict[str, Any]] = {
    200: {"model": StudyDocument, "description": "The first answer to this Idempotency-Key, once more."}
}


@router.post(
    "",
    status_code=201,
    response_model=StudyDocument,
    responses={**REPLAYED, **responses(Invalid, IdempotencyMismatch, QuotaExceeded)},
)
def create(body: StudyRequest, studies: StudiesToWrite, key: IdempotencyHeader = None) -> Response:
    """Begin a study: its jobs are queued at once, and the best of them go on by themselves."""
    with studies.read() as service:
        plan = service.plan(body)
    digest = idempotency.request_digest("study", body.model_dump(mode="json", by_alias=True))
    made = studies.create(lambda service: service.create(plan), _first_answer, key, digest)
    if isinstance(made, idempotency.Answer):
        headers = {"Location": made.location, "Idempotent-Replayed": "true"}
        return Response(made.body, 200, headers, "application/json")
    response = _answer(made, 201)
    response.headers["Location"] = made.links["self"]
    return response


@router.post(":validate", response_model=StudyValidation, responses=responses(Invalid))
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
    wanted = _states(status)
    cursors = Cursors(signer, {"list": "studies", "status": wanted, "tenant": studies.principal.tenant_id})
    with studies.read() as service:
        return service.page(wanted, cursors, cursor, limit)


@router.get(
    "/{study_id}",
    response_model=StudyDocument,
    responses={**responses(NotFound), 304: {"description": "The study still has that ETag."}},
)
async def get_study(
    study_id: StudyId,
    studies: StudiesToRead,
    wait: Annotated[float, Query(ge=0, le=30, description="Seconds to wait for a version other than `version`.")] = 0,
    version: Annotated[int | None, Query(ge=0, description="The version that is already known.")] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Get a study, at once or when it changes."""
    deadline = anyio.current_time() + wait
    while True:
        document = await run_in_threadpool(studies.get, study_id)
        left = deadline - anyio.current_time()
        if document.version != version or left <= 0:
            break
        await anyio.sleep(min(WAIT_EVERY_S, left))
    etag = _etag(document)
    if if_none_match is not None and etag in {part.strip().removeprefix("W/") for part in if_none_match.split(",")}:
        return Response(status_code=304, headers={"ETag": etag})
    return _answer(document)


@router.delete("/{study_id}", status_code=204, responses=REFUSALS)
def delete(study_id: StudyId, studies: StudiesToWrite) -> None:
    """Delete a study that has ended, with its jobs and their files."""
    with studies.write() as service:
        service.delete(study_id)


@router.post("/{study_id}:cancel", status_code=202, response_model=StudyDocument, responses=REFUSALS)
def cancel(study_id: StudyId, studies: StudiesToWrite) -> Response:
    """Cancel a study and all its jobs. 202 while workers still have to stop."""
    document = studies.act("cancel", study_id)
    return _answer(document, 200 if document.status in STUDY_TERMINAL else 202)


@router.post("/{study_id}:pause", status_code=202, response_model=StudyDocument, responses=REFUSALS)
def pause(study_id: StudyId, studies: StudiesToWrite) -> Response:
    """Pause a study: its jobs save their state and free their workers."""
    return _answer(studies.act("pause", study_id), 202)


@router.post("/{study_id}:resume", status_code=202, response_model=StudyDocument, responses=REFUSALS)
def resume(study_id: StudyId, studies: StudiesToWrite) -> Response:
    """Resume a paused study."""
    return _answer(studies.act("resume", study_id), 202)


def _first_answer(document: StudyDocument) -> idempotency.Answer:
    return idempotency.Answer(document.links["self"], bytes(_answer(document, 201).body))


def _answer(document: StudyDocument, status: int = 200) -> Response:
    return Response(document.model_dump_json(), status, {"ETag": _etag(document)}, "application/json")


def _etag(document: StudyDocument) -> str:
    return f'"{document.version}"'


def _states(text: str | None) -> tuple[StudyState, ...]:
    known = {str(state): state for state in StudyState}
    names = sorted({name.strip() for name in text.split(",")}) if text is not None else []
    for name in names:
        if name not in known:
            raise InvalidParameter(f"unknown status '{name}'{did_you_mean(name, known)}; known: {', '.join(known)}")
    return tuple(known[name] for name in names)
