"""HTTP of artifacts."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import RedirectResponse

from app.artifacts import repository
from app.artifacts.downloads import (
    ASK_AGAIN,
    FOREVER,
    Conditions,
    ConditionsDep,
    Download,
    StoreDep,
    answers,
    serve,
)
from app.artifacts.schemas import PICTURES, SHEETS, ArtifactList, document
from app.artifacts.service import Kind, content_of
from app.core.dependencies import DatabaseDep
from app.core.errors import NotFound
from app.core.paths import ArtifactId, JobId
from app.core.problems import responses
from app.core.storage import ArtifactStore
from app.keys import ownership
from app.keys.principals import ArtifactReader
from app.models.artifacts import Artifact

router = APIRouter(prefix="/v1", tags=["artifacts"])

SIGNED_S = 300
_ANY_FILE: dict[int | str, dict[str, Any]] = {
    **answers("*/*"),
    307: {"description": "The file is in the object store, at the address in `Location`, for five minutes."},
}


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
@router.get("/artifacts/{artifact_id}/content", response_class=Response, responses=_ANY_FILE)
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
@router.get("/jobs/{job_id}/bundle.zip", response_class=Response, responses=answers("application/zip"))
def get_bundle(
    job_id: JobId, principal: ArtifactReader, database: DatabaseDep, store: StoreDep, conditions: ConditionsDep
) -> Response:
    """Download a job's bundle: the distilled set, its manifest, previews and loading instructions."""
    with database.read() as session:
        artifact = repository.latest(session, principal.tenant_id, job_id, "bundle")
    if artifact is None:
        raise NotFound(f"job {job_id} has no bundle; a job writes one when it succeeds")
    return _serve(artifact, store, conditions, ASK_AGAIN)


@router.get("/artifacts/{artifact_id}/preview.png", response_class=Response, responses=answers("image/png"))
def get_preview(
    artifact_id: ArtifactId,
    principal: ArtifactReader,
    database: DatabaseDep,
    store: StoreDep,
    conditions: ConditionsDep,
) -> Response:
    """Look at a picture: the synthetic images, a row of tiles for each class, or some beside their real neighbours."""
    with database.read() as session:
        artifact = repository.get(session, principal.tenant_id, artifact_id)
    if artifact is None:
        raise NotFound(f"there is no artifact {artifact_id}")
    return _picture(artifact, store, conditions, FOREVER)


@router.get("/jobs/{job_id}/preview.png", response_class=Response, responses=answers("image/png"))
def get_job_preview(
    job_id: JobId, principal: ArtifactReader, database: DatabaseDep, store: StoreDep, conditions: ConditionsDep
) -> Response:
    """Look at the newest picture of a job's synthetic images."""
    with database.read() as session:
        found = [repository.latest(session, principal.tenant_id, job_id, kind) for kind in sorted(SHEETS)]
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
    job = artifact.job_id
    again = f"POST /v1/jobs/{job}:rerun (`ddctl rerun {job}`) makes it again, of the same specification and seed"
    damaged = f"the stored content of artifact {artifact.id} is damaged; {again}"
    download = Download(content_of(artifact), artifact.name, artifact.media_type, damaged)
    return serve(download, store, conditions, caching)
