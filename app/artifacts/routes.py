"""HTTP of artifacts."""

from __future__ import annotations

import base64
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse

from app.artifacts import repository
from app.artifacts.ranges import Unsatisfiable, matches, parse_range
from app.artifacts.schemas import PICTURES, ArtifactList, document
from app.artifacts.service import Kind, content_of
from app.core.dependencies import DatabaseDep
from app.core.errors import ChecksumMismatch, NotFound, RangeNotSatisfiable, Unavailable
from app.core.paths import ArtifactId, JobId
from app.core.problems import responses
from app.core.storage import (
    ArtifactStore,
    Blob,
    BlobMissingError,
    ChecksumMismatchError,
    StorageError,
    iter_verified,
    read_verified,
)
from app.keys import ownership
from app.keys.principals import ArtifactReader
from app.models.artifacts import Artifact

router = APIRouter(prefix="/v1", tags=["artifacts"])

VERIFIED_BELOW = 16 << 20
"""Content up to this size is checked before its first byte is sent; larger content before its last."""
SIGNED_S = 300
FOREVER = "private, max-age=86400, immutable"
ASK_AGAIN = "private, no-cache"

_BINARY = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
CONTENT: dict[int | str, dict[str, Any]] = {
    200: {"description": "The whole file.", **_BINARY},
    206: {"description": "The range asked for.", **_BINARY},
    304: {"description": "The client has it already."},
    **responses(NotFound, RangeNotSatisfiable, ChecksumMismatch, Unavailable),
}


async def get_store(request: Request) -> ArtifactStore:
    """Where contents live."""
    return cast(ArtifactStore, request.app.state.store)


StoreDep = Annotated[ArtifactStore, Depends(get_store)]


class Conditions:
    """The headers by which a client asks for less than the whole file."""

    def __init__(
        self,
        request: Request,
        range: Annotated[str | None, Header(description="One range of bytes.")] = None,
        if_range: Annotated[str | None, Header(description="The range counts only for this ETag.")] = None,
        if_none_match: Annotated[str | None, Header(description="Send nothing for these ETags.")] = None,
    ) -> None:
        self.head = request.method == "HEAD"
        self.range = range
        self.if_range = if_range
        self.if_none_match = if_none_match

    def span(self, tag: str, size: int) -> tuple[int, int] | None:
        """The range of bytes to send, or ``None`` for all.

        Raises:
            RangeNotSatisfiable: no byte of the file is in the range.
        """
        if self.range is None or self.head or (self.if_range is not None and self.if_range.strip() != tag):
            return None
        try:
            return parse_range(self.range, size)
        except Unsatisfiable as error:
            detail = f"`Range` is {self.range!r}, but the file has {size} bytes: ask for bytes below {size}"
            raise RangeNotSatisfiable(detail, headers={"Content-Range": f"bytes */{size}"}) from error


ConditionsDep = Annotated[Conditions, Depends()]


@router.get("/jobs/{job_id}/artifacts", responses=responses(NotFound))
def list_artifacts(
    job_id: JobId,
    principal: ArtifactReader,
    database: DatabaseDep,
    kind: Annotated[list[Kind] | None, Query(description="Only these kinds; repeat it.")] = None,
) -> ArtifactList:
    """List the files that a job has made so far."""
    with database.read() as session:
        ownership.check(session, principal.tenant_id, job_id)
        found = repository.of_job(session, principal.tenant_id, job_id, kind)
    return ArtifactList(data=[document(artifact) for artifact in found])


@router.head("/artifacts/{artifact_id}/content", include_in_schema=False, response_class=Response)
@router.get("/artifacts/{artifact_id}/content", response_class=Response, responses=CONTENT)
def get_content(
    artifact_id: ArtifactId,
    principal: ArtifactReader,
    database: DatabaseDep,
    store: StoreDep,
    conditions: ConditionsDep,
    redirect: Annotated[bool, Query(description="Answer 307 to the object store, where there is one.")] = False,
) -> Response:
    """Download a file, whole or in part."""
    with database.read() as session:
        artifact = repository.get(session, principal.tenant_id, artifact_id)
    if artifact is None:
        raise NotFound(f"there is no artifact {artifact_id}")
    url = store.sign_url(content_of(artifact).sha256, SIGNED_S) if redirect else None
    return RedirectResponse(url, 307) if url else _serve(artifact, store, conditions, FOREVER)


@router.head("/jobs/{job_id}/bundle.zip", include_in_schema=False, response_class=Response)
@router.get("/jobs/{job_id}/bundle.zip", response_class=Response, responses=CONTENT)
def get_bundle(
    job_id: JobId, principal: ArtifactReader, database: DatabaseDep, store: StoreDep, conditions: ConditionsDep
) -> Response:
    """Download a job's bundle: the distilled set, its manifest, previews and loading instructions."""
    with database.read() as session:
        artifact = repository.latest(session, principal.tenant_id, job_id, "bundle")
    if artifact is None:
        raise NotFound(f"job {job_id} has no bundle; a job writes one when it succeeds")
    return _serve(artifact, store, conditions, ASK_AGAIN)


@router.get("/artifacts/{artifact_id}/preview.png", response_class=Response, responses=CONTENT)
def get_preview(
    artifact_id: ArtifactId,
    principal: ArtifactReader,
    database: DatabaseDep,
    store: StoreDep,
    conditions: ConditionsDep,
) -> Response:
    """Look at a picture of the synthetic images, one row of tiles for each class."""
    with database.read() as session:
        artifact = repository.get(session, principal.tenant_id, artifact_id)
    if artifact is None:
        raise NotFound(f"there is no artifact {artifact_id}")
    return _picture(artifact, store, conditions, FOREVER)


@router.get("/jobs/{job_id}/preview.png", response_class=Response, responses=CONTENT)
def get_job_preview(
    job_id: JobId, principal: ArtifactReader, database: DatabaseDep, store: StoreDep, conditions: ConditionsDep
) -> Response:
    """Look at the newest picture of a job's synthetic images."""
    with database.read() as session:
        found = [repository.latest(session, principal.tenant_id, job_id, kind) for kind in sorted(PICTURES)]
    pictures = [artifact for artifact in found if artifact is not None]
    if not pictures:
        raise NotFound(f"job {job_id} has no picture yet; the first comes with its first snapshot")
    return _picture(max(pictures, key=lambda artifact: artifact.created_at), store, conditions, ASK_AGAIN)


def _picture(artifact: Artifact, store: ArtifactStore, conditions: Conditions, caching: str) -> Response:
    if artifact.kind not in PICTURES or artifact.media_type != "image/png":
        raise NotFound(f"artifact {artifact.id} is a {artifact.kind}, not a picture; download its content instead")
    response = _serve(artifact, store, conditions, caching)
    response.headers["Content-Disposition"] = f'inline; filename="{artifact.name}"'
    return response


def _serve(artifact: Artifact, store: ArtifactStore, conditions: Conditions, caching: str) -> Response:
    blob = content_of(artifact)
    tag = f'"{blob.sha256}"'
    headers = {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Cache-Control": caching,
        "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(blob.sha256)).decode()}:",
        "Content-Disposition": f'attachment; filename="{artifact.name}"',
        "X-Content-Type-Options": "nosniff",
    }
    if conditions.if_none_match is not None and matches(conditions.if_none_match, tag):
        return Response(status_code=304, headers=headers)
    span = conditions.span(tag, blob.size)
    start, end = span or (0, blob.size)
    headers["Content-Length"] = str(end - start)
    if span is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{blob.size}"
    status = 200 if span is None else 206
    if conditions.head:
        return Response(None, status, headers, artifact.media_type)
    try:
        return _content(store, blob, span, status, headers, artifact.media_type)
    except (ChecksumMismatchError, BlobMissingError) as error:
        raise ChecksumMismatch(f"the stored content of artifact {artifact.id} is damaged; run the job again") from error
    except StorageError as error:
        raise Unavailable("the artifact store cannot be reached; try again shortly") from error


def _content(
    store: ArtifactStore,
    blob: Blob,
    span: tuple[int, int] | None,
    status: int,
    headers: dict[str, str],
    media_type: str,
) -> Response:
    if blob.size <= VERIFIED_BELOW:
        data = read_verified(store, blob)
        return Response(data if span is None else data[slice(*span)], status, headers, media_type)
    # A file that has lost its length is refused while a problem document can still be sent.
    if store.head(blob.sha256) != blob:
        raise ChecksumMismatchError(f"sha256:{blob.sha256} does not have {blob.size} bytes")
    chunks = iter_verified(store, blob) if span is None else store.iter_range(blob.sha256, *span)
    return StreamingResponse(chunks, status, headers, media_type)
