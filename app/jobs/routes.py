"""The REST resource ``/v1/jobs``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Header, Query, Response

from app.core.dependencies import SignerDep
from app.core.errors import (
    Gone,
    IdempotencyMismatch,
    IllegalTransition,
    Invalid,
    InvalidCursor,
    InvalidParameter,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
    QuotaExceeded,
)
from app.core.moments import MomentOrUtc
from app.core.pagination import Cursors, Page
from app.core.parameters import chosen
from app.core.paths import JobId
from app.core.problems import responses
from app.core.versions import IfNoneMatch, KnownVersion, Wait, answer, changed, unless_known
from app.jobs import idempotency
from app.jobs.answering import respond
from app.jobs.repository import Filters
from app.jobs.schemas import (
    CancelRequest,
    CheckpointDocument,
    CloneRequest,
    ExtendRequest,
    JobDocument,
    PatchRequest,
    RetryRequest,
    Validation,
)
from app.jobs.sorting import COLUMNS, Sort
from app.jobs.transactions import JobsToRead, JobsToWrite, JobTransactions, Wanted
from app.keys.principals import Turn
from app.models.states import Kind, State

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

DIGITS = 18
"""Of a version, at most: beyond it no database has one."""
REFUSALS = responses(NotFound, IllegalTransition)
REPLAYED: dict[int | str, dict[str, Any]] = {
    200: {"model": JobDocument, "description": "The first answer to this Idempotency-Key, once more."}
}

Submitted = Annotated[
    dict[str, Any],
    Body(
        description="A job specification in its short or full spelling, or `preset` with overrides; beside it "
        "`name`, `labels`, `priority` and `limits`.",
        examples=[{"dataset": "digits", "ipc": 10, "method": "dm", "regularizers": {"mim": {"relative": 1.0}}}],
    ),
]
IdempotencyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="Any text unique to this submission; repeating it returns the first answer.",
    ),
]


@router.post(
    "",
    status_code=201,
    response_model=JobDocument,
    responses={**REPLAYED, **responses(Invalid, Gone, IdempotencyMismatch, QuotaExceeded)},
    dependencies=[Turn],
)
def submit(
    body: Submitted,
    jobs: JobsToWrite,
    key: IdempotencyHeader = None,
) -> Response:
    """Submit a job."""
    return _create(jobs, key, "submit", body, lambda reader: reader.read(body))


@router.post(":validate", response_model=Validation, responses=responses(Invalid, QuotaExceeded), dependencies=[Turn])
def validate(body: Submitted, jobs: JobsToRead) -> Validation:
    """Check a submission, and say what it would do and cost; nothing is queued."""
    return jobs.validate(body)


@router.get("", response_model=Page[JobDocument], responses=responses(InvalidParameter, InvalidCursor))
def list_jobs(
    jobs: JobsToRead,
    signer: SignerDep,
    kind: Annotated[Kind, Query(description="Jobs that distil, take users' own sets in, or score others' sets.")] = (
        Kind.DISTILLATION
    ),
    status: Annotated[str | None, Query(description="One or more states, separated by commas.")] = None,
    method: Annotated[str | None, Query(max_length=100)] = None,
    dataset: Annotated[str | None, Query(max_length=200)] = None,
    study: Annotated[str | None, Query(max_length=40, description="Only the jobs of this study, `study_…`.")] = None,
    label: Annotated[list[str] | None, Query(max_length=32, description="`name:value`; may be repeated.")] = None,
    created_after: MomentOrUtc | None = None,
    created_before: MomentOrUtc | None = None,
    search: Annotated[
        str | None,
        Query(max_length=200, description="Words that stand in name, identifier, dataset, method or labels."),
    ] = None,
    sort: Annotated[
        str | None, Query(max_length=32, description=f"`-` before it: largest first. One of: {', '.join(COLUMNS)}.")
    ] = None,
    order: Annotated[
        Literal["created_desc", "created_asc"] | None, Query(description="As `sort` by `-created` or `created`.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> Page[JobDocument]:
    """List jobs, newest first unless sorted otherwise."""
    if sort is not None and order is not None:
        raise InvalidParameter("`sort` and `order` both say how to sort; leave `order` out")
    by = Sort.read(sort or {"created_asc": "created"}.get(order or "", "-created"))
    filters = Filters(
        kind=kind,
        status=chosen(State, status),
        method=method,
        dataset=dataset,
        study=study,
        labels=tuple(Filters.read_label(text) for text in label or ()),
        search=search,
        created_after=created_after,
        created_before=created_before,
    )
    cursors = Cursors(signer, {**vars(filters), "sort": str(by), "tenant": jobs.principal.tenant_id})
    with jobs.read() as lookup:
        return lookup.page(filters, by, cursors, cursor, limit)


@router.get(
    "/{job_id:identifier}",
    response_model=JobDocument,
    responses={**responses(NotFound), 304: {"description": "The job still has that ETag."}},
)
async def get_job(
    job_id: JobId,
    jobs: JobsToRead,
    wait: Wait = 0,
    version: KnownVersion = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Get a job, at once or when it changes."""
    document = await changed(lambda: jobs.get(job_id), version, wait)
    return unless_known(document, if_none_match)


@router.get("/{job_id}/checkpoints", responses=responses(NotFound))
def list_checkpoints(job_id: JobId, jobs: JobsToRead) -> Page[CheckpointDocument]:
    """List the saved states of a job, newest first: what it goes on from when it is resumed, retried or extended."""
    with jobs.read() as lookup:
        return Page[CheckpointDocument](data=lookup.checkpoints(job_id))


@router.patch(
    "/{job_id:identifier}",
    response_model=JobDocument,
    responses=responses(NotFound, PreconditionFailed, PreconditionRequired, Invalid),
)
def amend(
    job_id: JobId,
    body: PatchRequest,
    jobs: JobsToWrite,
    if_match: Annotated[str | None, Header(description="Change nothing unless this is the job's ETag.")] = None,
) -> Response:
    """Change a job's name, labels or priority."""
    if if_match is None and jobs.settings.require_if_match:
        raise PreconditionRequired(
            "this service changes a job only if `If-Match` names its ETag (DD_REQUIRE_IF_MATCH), so that nobody undoes "
            "what another has just changed; read it, and send the ETag"
        )
    with jobs.write() as verbs:
        document = verbs.amend(job_id, body, _version(if_match))
    return answer(document)


@router.delete("/{job_id:identifier}", status_code=204, responses=responses(NotFound, IllegalTransition))
def delete(job_id: JobId, jobs: JobsToWrite) -> None:
    """Delete a job that has ended, with its files."""
    with jobs.write() as verbs:
        verbs.delete(job_id)


@router.post(
    "/{job_id}:cancel",
    status_code=202,
    response_model=JobDocument,
    responses={200: {"model": JobDocument, "description": "The job has ended."}, **REFUSALS},
)
def cancel(
    job_id: JobId,
    jobs: JobsToWrite,
    body: CancelRequest | None = None,
) -> Response:
    """Cancel a job, keeping the images made so far if asked to. 202 while its worker still has to stop."""
    document = jobs.act(lambda verbs: verbs.cancel(job_id, body or CancelRequest()))
    return answer(document, 200 if document.status is State.CANCELLED else 202)


@router.post("/{job_id}:pause", status_code=202, response_model=JobDocument, responses=REFUSALS)
def pause(job_id: JobId, jobs: JobsToWrite) -> Response:
    """Pause a job: it saves its state and frees its worker."""
    return answer(jobs.act(lambda verbs: verbs.pause(job_id)), 202)


@router.post("/{job_id}:resume", status_code=202, response_model=JobDocument, responses=REFUSALS)
def resume(job_id: JobId, jobs: JobsToWrite) -> Response:
    """Resume a paused job from its checkpoint."""
    return answer(jobs.act(lambda verbs: verbs.resume(job_id)), 202)


@router.post(
    "/{job_id}:retry",
    status_code=202,
    response_model=JobDocument,
    responses={**REFUSALS, **responses(QuotaExceeded)},
)
def retry(job_id: JobId, jobs: JobsToWrite, body: RetryRequest | None = None) -> Response:
    """Try a failed or expired job again, from its last good checkpoint unless told otherwise."""
    return answer(jobs.act(lambda verbs: verbs.retry(job_id, body or RetryRequest())), 202)


@router.post(
    "/{job_id}:clone",
    status_code=201,
    response_model=JobDocument,
    responses={**REPLAYED, **responses(NotFound, Invalid, Gone, IdempotencyMismatch, QuotaExceeded)},
    dependencies=[Turn],
)
def clone(
    job_id: JobId,
    jobs: JobsToWrite,
    body: CloneRequest | None = None,
    key: IdempotencyHeader = None,
) -> Response:
    """Submit a copy of a job, with changes."""
    overrides = body.overrides if body else {}
    return _create(
        jobs, key, f"clone {job_id}", overrides, lambda reader: reader.copy(job_id, overrides), parent_id=job_id
    )


@router.post(
    "/{job_id}:rerun",
    status_code=201,
    response_model=JobDocument,
    responses={**REPLAYED, **responses(NotFound, IllegalTransition, Invalid, Gone, IdempotencyMismatch, QuotaExceeded)},
    dependencies=[Turn],
)
def rerun(job_id: JobId, jobs: JobsToWrite, key: IdempotencyHeader = None) -> Response:
    """Make the result of an ended job once more, as a new job with the same specification, seed, set and limits."""
    return _create(jobs, key, f"rerun {job_id}", {}, lambda reader: reader.again(job_id), parent_id=job_id)


@router.post(
    "/{job_id}:extend",
    status_code=201,
    response_model=JobDocument,
    responses={**REPLAYED, **responses(NotFound, IllegalTransition, Invalid, Gone, IdempotencyMismatch, QuotaExceeded)},
    dependencies=[Turn],
)
def extend(job_id: JobId, jobs: JobsToWrite, body: ExtendRequest, key: IdempotencyHeader = None) -> Response:
    """Submit a job that goes on where a finished one has ended, by so many more steps."""
    return _create(
        jobs, key, f"extend {job_id}", body.model_dump(), lambda reader: reader.longer(job_id, body), parent_id=job_id
    )


def _create(
    jobs: JobTransactions, key: str | None, operation: str, body: object, wanted: Wanted, parent_id: str | None = None
) -> Response:
    digest = idempotency.request_digest(operation, body)
    return respond(jobs.create(wanted, key, digest, parent_id))


def _version(if_match: str | None) -> int | None:
    if if_match is None or if_match.strip() == "*":
        return None
    text = if_match.strip().strip('"')
    if not (text.isascii() and text.isdigit() and len(text) <= DIGITS):
        raise InvalidParameter(f'If-Match is {if_match}, but must be the job\'s ETag, such as "3"')
    return int(text)
