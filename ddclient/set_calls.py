"""The requests of the REST API about datasets; see :mod:`ddclient.calls`."""

from __future__ import annotations

from typing import Any

import httpx

from ddclient.calls import PAGE, Call, Page, listed, nothing
from ddclient.models import DatasetDocument
from ddclient.packing import Content
from ddcore.spec.ingest import DatasetReport, IngestOptions


def announce(name: str, content: Content, options: IngestOptions) -> Call[DatasetDocument]:
    """Say that bytes will be sent, and how images are to be taken in from them."""
    body = {"name": name, "file": content.name, "size": content.size, "options": options.model_dump(mode="json")}
    return Call("POST", "/v1/datasets", _set, json=body)


def sets(name: str | None) -> Call[Page[DatasetDocument]]:
    """The sets that a job can name, or those of one name; the user's own first, newest first."""
    return listed("/v1/datasets", DatasetDocument.model_validate, {"name": name, "limit": PAGE})


def one(identity: str) -> Call[DatasetDocument]:
    """One set of the user's own."""
    return Call("GET", f"/v1/datasets/{identity}", _set)


def ingest(identity: str, options: IngestOptions) -> Call[DatasetDocument]:
    """Take an upload in once more."""
    body = {"options": options.model_dump(mode="json")}
    return Call("POST", f"/v1/datasets/{identity}:ingest", _set, json=body)


def report(identity: str) -> Call[DatasetReport]:
    """What was found in the images."""
    return Call("GET", f"/v1/datasets/{identity}/report", lambda answer: DatasetReport.model_validate(answer.json()))


def files(identity: str) -> Call[dict[str, Any]]:
    """The files of a set that is ready, with size and digest."""
    return Call("GET", f"/v1/datasets/{identity}/files", lambda answer: dict(answer.json()))


def stop(job_id: str) -> Call[None]:
    """Stop the job that takes a set in."""
    return Call("POST", f"/v1/jobs/{job_id}:cancel", nothing, json={})


def remove(identity: str) -> Call[None]:
    """Delete a set."""
    return Call("DELETE", f"/v1/datasets/{identity}", nothing)


def _set(answer: httpx.Response) -> DatasetDocument:
    return DatasetDocument.model_validate(answer.json())
