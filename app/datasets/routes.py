"""The REST resource ``/v1/datasets``."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from app.artifacts.downloads import FOREVER, ConditionsDep, Download, StoreDep, answers, serve
from app.core.dependencies import SignerDep
from app.core.errors import (
    DatasetInUse,
    DatasetTooLarge,
    IllegalTransition,
    Invalid,
    InvalidCursor,
    InvalidParameter,
    NoSpace,
    NotFound,
    Unavailable,
    UploadConflict,
)
from app.core.pagination import Cursors, Page
from app.core.paths import DatasetId
from app.core.problems import responses
from app.core.storage import Blob
from app.datasets.schemas import DatasetDocument, DatasetState, IngestRequest, NewDataset
from app.datasets.transactions import DatasetsToRead, DatasetsToWrite
from app.keys.principals import ArtifactReader
from app.uploads.receiving import BODY, ContentRange, Receiver, ReprDigest, digest_of, span_of
from ddcore.spec.ingest import DatasetReport

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])

SAMPLES = "samples.png"
UPLOAD: dict[int | str, dict[str, Any]] = {
    200: {"model": DatasetDocument, "description": "The bytes were taken, and more are missing."},
    **responses(InvalidParameter, NotFound, UploadConflict, DatasetTooLarge, NoSpace, Unavailable),
}


@router.get("", responses=responses(InvalidCursor))
def list_datasets(
    sets: DatasetsToRead,
    signer: SignerDep,
    name: Annotated[str | None, Query(max_length=100, description="Only sets of this name.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> Page[DatasetDocument]:
    """List the datasets that a job can name: your own, newest first, then those of this machine and the built-in ones.

    Sets that are still being uploaded or taken in are listed too, with their `state`.
    """
    cursors = Cursors(signer, {"datasets": name, "tenant": sets.principal.tenant_id})
    with sets.read() as service:
        return service.page(cursors, cursor, limit, name)


@router.post("", status_code=201, responses=responses(Invalid, DatasetTooLarge))
def announce(body: NewDataset, sets: DatasetsToWrite, response: Response) -> DatasetDocument:
    """Announce images of your own, whose bytes `PUT …/content` then sends."""
    with sets.write() as service:
        document = service.announce(body)
    response.headers["Location"] = document.links["self"]
    return document


@router.get("/{dataset_id:identifier}", responses=responses(NotFound))
def get_dataset(dataset_id: DatasetId, sets: DatasetsToRead) -> DatasetDocument:
    """Get a set of your own; `upload.received` is where an upload goes on."""
    return sets.get(dataset_id)


@router.put("/{dataset_id}/content", status_code=202, responses=UPLOAD, openapi_extra=BODY)
async def put_content(
    dataset_id: DatasetId,
    request: Request,
    response: Response,
    sets: DatasetsToWrite,
    store: StoreDep,
    content_range: ContentRange = None,
    repr_digest: ReprDigest = None,
) -> DatasetDocument:
    """Send the file, or the part of it that comes next.

    202 says that all is there and a worker takes it in, 200 that bytes are missing. An upload that was cut goes on at
    `upload.received`; 409 tells that too.
    """
    receiver = Receiver(sets, store, dataset_id, span_of(content_range), digest_of(repr_digest))
    document = await receiver.receive(request.stream())
    if document.state is DatasetState.RECEIVING:
        response.status_code = 200
    return document


@router.post("/{dataset_id}:ingest", status_code=202, responses=responses(NotFound, IllegalTransition, Invalid))
def ingest(dataset_id: DatasetId, body: IngestRequest, sets: DatasetsToWrite) -> DatasetDocument:
    """Take an upload in once more, with other options; its bytes need not be sent again."""
    return sets.ingest(dataset_id, body.options)


@router.get("/{dataset_id}/report", responses=responses(NotFound))
def get_report(dataset_id: DatasetId, sets: DatasetsToRead) -> DatasetReport:
    """Get what was found in the images: counts, sizes, duplicates, leaks, and what was converted or left out."""
    with sets.read() as service:
        return service.report(dataset_id)


@router.get("/{dataset_id}/samples.png", response_class=Response, responses=answers("image/png"))
def get_samples(
    dataset_id: DatasetId, _: ArtifactReader, sets: DatasetsToRead, store: StoreDep, conditions: ConditionsDep
) -> Response:
    """Look at some images of each class."""
    response = _file(dataset_id, SAMPLES, sets, store, conditions)
    response.headers["Content-Disposition"] = f'inline; filename="{SAMPLES}"'
    return response


@router.get("/{dataset_id}/files", responses=responses(NotFound))
def list_files(dataset_id: DatasetId, sets: DatasetsToRead) -> dict[str, dict[str, str | int]]:
    """List the files of a set that is ready, with their sizes and digests."""
    with sets.read() as service:
        return {file.name: {"size": file.size, "sha256": file.sha256} for file in service.files(dataset_id)}


@router.get(
    "/{dataset_id}/files/{name}", response_class=Response, responses=answers("application/octet-stream", "image/png")
)
def get_file(
    dataset_id: DatasetId,
    name: str,
    _: ArtifactReader,
    sets: DatasetsToRead,
    store: StoreDep,
    conditions: ConditionsDep,
) -> Response:
    """Download a file of a set that is ready: `train-images.npy` (N, C, H, W) and its like, or `dataset.json`."""
    return _file(dataset_id, name, sets, store, conditions)


@router.delete("/{dataset_id:identifier}", status_code=204, responses=responses(NotFound, DatasetInUse))
def delete(dataset_id: DatasetId, sets: DatasetsToWrite) -> None:
    """Delete a set that no unfinished job uses; its content is removed from the store a day later."""
    with sets.write() as service:
        service.delete(dataset_id)


def _file(dataset_id: str, name: str, sets: DatasetsToRead, store: StoreDep, conditions: ConditionsDep) -> Response:
    with sets.read() as service:
        found = service.file(dataset_id, name)
    media_type = "image/png" if name == SAMPLES else "application/octet-stream"
    damaged = f"the stored file {name} of the set {dataset_id} is damaged; upload its images again"
    return serve(Download(Blob(found.sha256, found.size), name, media_type, damaged), store, conditions, FOREVER)
