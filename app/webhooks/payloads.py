"""What a message says: the event, and the documents of what it is about, so that no second call is needed."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.security import Principal, Scope
from app.core.settings import Settings
from app.datasets.repository import DatasetRepository
from app.datasets.service import DatasetService
from app.events import alerts
from app.events.schemas import document as event_document
from app.jobs.documents import documents as job_documents
from app.jobs.repository import JobRepository
from app.models.events import Event
from app.models.states import Kind
from app.models.webhooks import Delivery
from app.scores import repository as scores
from app.scores.service import ScoreService
from app.studies.documents import documents as study_documents
from app.studies.repository import StudyRepository


def compose(session: Session, settings: Settings, delivery: Delivery) -> str:
    """The body of a message: JSON with ``type``, ``timestamp`` and ``data`` (Standard Webhooks 1.0).

    Job, study, set and score are as they are now, which is never before the event; null where they are deleted since.
    """
    data = _test(delivery) if delivery.job_id is None else _data(session, settings, delivery, delivery.job_id)
    message = {"type": delivery.event, "timestamp": delivery.created_at.isoformat(), "data": data}
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"))


def _test(delivery: Delivery) -> dict[str, Any]:
    return {"webhook_id": delivery.webhook_id, "message": "a test: nothing has happened"}


def _data(session: Session, settings: Settings, delivery: Delivery, job_id: str) -> dict[str, Any]:
    owner = Principal(delivery.tenant_id, None, frozenset(Scope))
    of_event = (Event.job_id == job_id, Event.seq == delivery.seq)
    event = session.scalars(select(Event).where(*of_event)).one_or_none()
    jobs = JobRepository(session, owner)
    job = jobs.get(job_id)
    study_id = None if event is None else alerts.study_of(event)
    study = None if study_id is None else StudyRepository(session, owner).get(study_id)
    taken_in = None if job is None or job.kind != Kind.INGEST else job.dataset_id
    known = taken_in is not None and DatasetRepository(session, owner).get(taken_in) is not None
    dataset = DatasetService(session, owner, settings).get(taken_in) if taken_in and known else None
    score = scores.of_job(session, job_id) if job is not None and job.kind == Kind.SCORE else None
    return {
        "job_id": job_id,
        "event": None if event is None else _json(event_document(event)),
        "job": None if job is None else _json(job_documents(jobs, [job])[0]),
        "study": None if study is None else _json(study_documents(session, [study])[0]),
        "dataset": None if dataset is None else _json(dataset),
        "score": None if score is None else _json(ScoreService(session, owner, settings).get(score.id)),
    }


def _json(document: BaseModel) -> dict[str, Any]:
    return document.model_dump(mode="json")
