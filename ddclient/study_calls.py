"""The requests about studies, as :mod:`ddclient.calls` has those about jobs."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from ddclient.calls import LONG_POLL_S, PAGE, Call, Page, body_of, listed, nothing
from ddclient.study_models import StudyDocument


def submit(request: Mapping[str, Any], idempotency_key: str | None) -> Call[StudyDocument]:
    """Begin a study; without a key of the caller's, only the repeats of this very call are one study."""
    headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
    return Call("POST", "/v1/studies", _study, json=body_of(request), headers=headers)


def validate(request: Mapping[str, Any]) -> Call[dict[str, Any]]:
    """Check a study and say what it should cost."""
    return Call("POST", "/v1/studies:validate", lambda answer: dict(answer.json()), json=body_of(request))


def study(study_id: str) -> Call[StudyDocument]:
    """One study."""
    return Call("GET", f"/v1/studies/{study_id}", _study)


def news(document: StudyDocument, seconds: float) -> Call[StudyDocument]:
    """A study once its version changes, or after some seconds."""
    query = {"wait": min(int(seconds) or 1, LONG_POLL_S), "version": document.version}
    return Call("GET", f"/v1/studies/{document.id}", _study, query)


def studies(status: str | Sequence[str] | None) -> Call[Page[StudyDocument]]:
    """Studies in a status, newest first."""
    statuses = status if status is None or isinstance(status, str) else ",".join(status)
    return listed("/v1/studies", StudyDocument.model_validate, {"status": statuses, "limit": PAGE})


def verb(study_id: str, name: str) -> Call[StudyDocument]:
    """Pause, resume or cancel a study."""
    return Call("POST", f"/v1/studies/{study_id}:{name}", _study, json={})


def delete(study_id: str) -> Call[None]:
    """Remove an ended study with its jobs."""
    return Call("DELETE", f"/v1/studies/{study_id}", nothing)


def _study(answer: httpx.Response) -> StudyDocument:
    return StudyDocument.model_validate(answer.json())
