"""The state of the service as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field


class WorkerDocument(BaseModel):
    """A worker that is alive."""

    id: str
    object: Literal["worker"] = "worker"
    name: str
    host: str
    pid: int
    device_class: str
    facts: dict[str, Any]
    state: str = Field(description="idle, busy, draining or quarantined.")
    wanted: str = Field(
        description="What its operator wants: run, cordon (no more jobs) or drain (hand back its job too)."
    )
    job_id: str | None = Field(description="The job it runs, where that is yours.")
    started_at: datetime
    heartbeat_at: datetime


class Health(BaseModel):
    """A sign of life."""

    status: Literal["ok"] = "ok"
    version: str


class Readiness(BaseModel):
    """Whether the service can do its work."""

    status: Literal["ready", "degraded", "unavailable"] = Field(
        description="degraded: jobs are accepted, but not all that should happen to them does; `checks` say what."
    )
    checks: dict[str, str] = Field(description="What was looked at, and how it is.")


class ProblemKind(BaseModel):
    """A kind of problem that a request can end in."""

    code: str
    title: str
    status: int
    description: str
