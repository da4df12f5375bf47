"""Documents of the service as the client reads them.

Unknown fields are kept, so that a client works with a newer service.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ddcore.spec.ingest import IngestOptions
from ddcore.spec.results import Results

TERMINAL = frozenset({"succeeded", "failed", "cancelled", "expired"})
"""Statuses that a job does not leave by itself."""


class Document(BaseModel):
    """Base of what the service sends: frozen, open to new fields."""

    model_config = ConfigDict(frozen=True, extra="allow")


class PhaseAhead(Document):
    """A phase of a job under way: its share of the whole and how much is done (0 to 1), and the seconds that remain."""

    phase: str
    share: float
    done: float
    remaining_s: float | None = None


class Plan(Document):
    """All phases of a job under way: ``done`` is 0 to 1, ``remaining_s`` is ``None`` where it cannot be told."""

    phases: tuple[PhaseAhead, ...] = ()
    done: float = 0.0
    remaining_s: float | None = None


class JobProgress(Document):
    """How far a job is.

    ``step`` of ``total_steps`` count the distillation, ``phase_done`` of ``phase_total`` the work of the
    current phase, which ends in ``eta_s`` seconds at its present speed; ``fraction`` is 0 to 1. ``plan`` is that of the
    whole job, while it runs.
    """

    step: int = 0
    total_steps: int | None = None
    fraction: float | None = None
    eta_s: float | None = None
    steps_per_s: float | None = None
    phase_done: int = 0
    phase_total: int | None = None
    plan: Plan | None = None


class Failure(Document):
    """Why a job failed."""

    code: str
    message: str
    retryable: bool = False


class JobDocument(Document):
    """A job as ``GET /v1/jobs/{id}`` shows it."""

    id: str
    status: str
    version: int = 0
    name: str | None = None
    phase: str | None = None
    spec: dict[str, Any] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)
    priority: int = 0
    attempt: int = 0
    progress: JobProgress | None = None
    last_metrics: dict[str, Any] | None = None
    results: Results | None = None
    error: Failure | None = None
    actions: tuple[str, ...] = ()
    parent_id: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    runtime_s: float | None = None

    @property
    def finished(self) -> bool:
        """Whether the job has reached a terminal status."""
        return self.status in TERMINAL


class Event(Document):
    """Something that happened to a job; ``seq`` counts from 1, and old events about progress are removed."""

    seq: int
    job_id: str
    type: str
    level: str = "info"
    attempt: int = 0
    at: datetime | None = None
    message: str = ""
    data: dict[str, Any] = Field(default_factory=dict)


class Alert(Document):
    """What a user should hear of.

    ``rule`` is ``diverging``, ``plateau``, ``eta_slipping``, ``below_random`` or ``finished``; of a study,
    ``study_finished``, ``no_trial_scored``, ``budget_nearly_spent`` or ``below_best_coreset``. ``study_id`` is ``None``
    where it is about the job.
    """

    id: str
    job_id: str
    study_id: str | None = None
    rule: str
    level: str = "warning"
    at: datetime
    message: str = ""
    data: dict[str, Any] = Field(default_factory=dict)


class Artifact(Document):
    """A file that a job made; ``sha256`` is the digest of its ``size`` bytes, known once it is ``ready``."""

    id: str
    kind: str
    name: str
    media_type: str
    state: str
    size: int | None = None
    sha256: str | None = None
    step: int | None = None
    created_at: datetime | None = None


class UploadState(Document):
    """What has come of the bytes of a set: ``received`` of ``size``; while ``kept``, they can be taken in again."""

    file: str
    size: int | None = None
    received: int = 0
    kept: bool = False


class Ingest(Document):
    """The job that takes a set in: ``done`` of ``total`` images."""

    id: str
    status: str
    phase: str | None = None
    done: int = 0
    total: int | None = None


class DatasetDocument(Document):
    """A dataset as ``GET /v1/datasets`` shows it.

    ``id`` is ``None`` where it is built in or lies in the service's data root. ``shape`` is (C, H, W).
    """

    id: str | None = None
    name: str
    version: int | None = None
    reference: str
    state: str = "ready"
    builtin: bool = False
    local: bool = True
    content_id: str | None = None
    shape: tuple[int, int, int] | None = None
    classes: tuple[str, ...] | None = None
    train_size: int | None = None
    test_size: int | None = None
    smallest_class: int | None = None
    bytes: int | None = None
    upload: UploadState | None = None
    options: IngestOptions | None = None
    job: Ingest | None = None
    error: Failure | None = None
    actions: tuple[str, ...] = ()
    created_at: datetime | None = None
    ready_at: datetime | None = None

    @property
    def complete(self) -> bool:
        """Whether no byte of its upload is missing."""
        return self.state != "receiving"

    @property
    def finished(self) -> bool:
        """Whether it stays in its state by itself."""
        return self.state in {"ready", "failed", "cancelled"}


class MetricPoint(Document):
    """Readings of one metric over the steps ``step_min`` to ``step_max``.

    ``n`` counts the finite and ``nonfinite`` the other readings; ``min``, ``max``, ``mean`` and ``last``
    are ``None`` where no reading was finite.
    """

    step_min: int
    step_max: int
    n: int = 1
    min: float | None = None
    max: float | None = None
    mean: float | None = None
    last: float | None = None
    nonfinite: int = 0


Series = Sequence[MetricPoint]
"""One metric of one job, in the order of its steps."""
