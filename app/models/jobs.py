"""A job, the messages its submission owes to the broker, and the answers remembered for retries."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.tables import Base, Id, Json, Serial, Timestamp, clock
from app.models.keys import Tenant
from app.models.states import Kind


class Job(Base):
    """A job, which is also its own place in the queue.

    ``status`` changes through :func:`app.queue.states.transition` only. Code that changes anything
    that the job document shows also adds one to ``version``, which is the document's ETag.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_listing", "tenant_id", "created_at", "id"),
        Index("ix_jobs_status_listing", "tenant_id", "status", "created_at", "id"),
        Index(
            "ix_jobs_claim",
            "priority",
            "created_at",
            sqlite_where=text("status = 'queued'"),
            postgresql_where=text("status = 'queued'"),
        ),
        Index(
            "ix_jobs_lease",
            "lease_until",
            sqlite_where=text("lease_until IS NOT NULL"),
            postgresql_where=text("lease_until IS NOT NULL"),
        ),
        Index(
            "ix_jobs_dataset",
            "dataset_id",
            sqlite_where=text("dataset_id IS NOT NULL"),
            postgresql_where=text("dataset_id IS NOT NULL"),
        ),
        Index(
            "ix_jobs_parent",
            "parent_id",
            sqlite_where=text("parent_id IS NOT NULL"),
            postgresql_where=text("parent_id IS NOT NULL"),
        ),
        Index(
            "ix_jobs_study",
            "study_id",
            sqlite_where=text("study_id IS NOT NULL"),
            postgresql_where=text("study_id IS NOT NULL"),
        ),
        Index("ix_jobs_labels", "labels", postgresql_using="gin", info={"only": "postgresql"}),
        {"sqlite_autoincrement": True},
    )

    number: Mapped[int] = mapped_column(Serial, primary_key=True)
    """Small key for the tables with many rows (metric points); nobody outside sees it."""
    id: Mapped[str] = mapped_column(Id, unique=True)
    tenant_id: Mapped[str] = mapped_column(Id, ForeignKey(Tenant.id))
    parent_id: Mapped[str | None] = mapped_column(Id)
    """The job that this one is a copy of, or goes on from."""
    study_id: Mapped[str | None] = mapped_column(Id)
    """The study that it belongs to, which alone pauses, resumes and deletes it."""
    trial: Mapped[int | None]
    """Index of the point of the study's space that it tries."""
    kind: Mapped[str] = mapped_column(String(16), default=Kind.DISTILLATION, server_default=Kind.DISTILLATION)
    """What a worker does with it, see :class:`app.models.states.Kind`."""
    dataset_id: Mapped[str | None] = mapped_column(Id)
    """The user's own set that it distils, takes in or scores on; ``None`` for a set that workers know by its name."""
    name: Mapped[str | None] = mapped_column(String(200))
    labels: Mapped[dict[str, str]] = mapped_column(Json)
    priority: Mapped[int]
    """0 to 9; higher runs first."""
    spec: Mapped[dict[str, Any]] = mapped_column(Json)
    """The normalised :class:`ddcore.spec.JobSpec`; of an ingest, ``name``, ``file`` and ``options``; of
    a score, what :class:`app.models.scores.Score` has as ``request``, ``dataset`` and ``file``."""
    dataset: Mapped[str] = mapped_column(String(200))
    method: Mapped[str] = mapped_column(String(100))
    device_class: Mapped[str] = mapped_column(String(16))
    """Workers that may run it: ``any``, ``cpu`` or ``cuda``."""
    max_runtime_s: Mapped[float]
    max_queue_s: Mapped[float]
    expected_s: Mapped[float | None]
    """Seconds of running that were expected when it was submitted: at most ``max_runtime_s``, and as many where nothing
    could be estimated. ``None`` for an ingest, for a job of a study, which has its own, and for jobs older than this.
    """

    status: Mapped[str] = mapped_column(String(16))
    desired: Mapped[str] = mapped_column(String(16), default="run")
    """What the user wants of a running job: ``run``, ``pause`` or ``cancel``."""
    keep_result: Mapped[bool] = mapped_column(default=False)
    """Whether a cancelled job writes the images it has."""
    hold_at: Mapped[int | None] = mapped_column(BigInteger)
    """Steps after which it stops by itself, paused; once it may go on, a later step, or ``None`` for its end."""
    from_scratch: Mapped[bool] = mapped_column(default=False)
    """Whether the next attempt ignores the checkpoints; the claim that honours it clears it."""
    version: Mapped[int] = mapped_column(BigInteger, default=1)
    event_seq: Mapped[int] = mapped_column(BigInteger, default=0)
    """Number of the newest event."""

    fence: Mapped[int] = mapped_column(BigInteger, default=0)
    """Counts the claims and the expiries; a worker whose number is older may write nothing."""
    owner: Mapped[str | None] = mapped_column(Id)
    """The worker that holds the lease."""
    lease_until: Mapped[datetime | None] = mapped_column(Timestamp)
    heartbeat_at: Mapped[datetime | None] = mapped_column(Timestamp)
    not_before: Mapped[datetime | None] = mapped_column(Timestamp)
    """A failed job waits until then before it is tried again."""
    attempt: Mapped[int] = mapped_column(default=0)
    """Claims so far."""
    failures: Mapped[int] = mapped_column(default=0)
    """Lost leases and retryable errors since the last checkpoint: a job that advances between them goes on for ever.

    Drains and pauses are free.
    """
    max_attempts: Mapped[int]
    lost_step: Mapped[int | None] = mapped_column(BigInteger)
    """Checkpoint step at which the last attempt was lost; twice the same is no progress."""
    out_of_memory: Mapped[int] = mapped_column(default=0)
    """Attempts that ran out of memory; the next one takes smaller pieces."""

    phase: Mapped[str | None] = mapped_column(String(16))
    step: Mapped[int] = mapped_column(BigInteger, default=0)
    total_steps: Mapped[int] = mapped_column(BigInteger)
    """Steps of the distillation (progress while ``phase`` is ``distilling``)."""
    phase_done: Mapped[int] = mapped_column(BigInteger, default=0)
    """Units of work of the current phase that are finished."""
    phase_total: Mapped[int | None] = mapped_column(BigInteger)
    steps_per_s: Mapped[float | None]
    """Speed over the last seconds, in units of the current phase a second."""
    plan: Mapped[dict[str, Any] | None] = mapped_column(Json)
    """Of the current or last attempt: its phases with the seconds to expect, see :mod:`app.costs.plans`."""
    runtime_s: Mapped[float] = mapped_column(default=0.0)
    """Seconds spent running, over all finished attempts."""
    checkpoint_step: Mapped[int | None] = mapped_column(BigInteger)
    checkpoint_at: Mapped[datetime | None] = mapped_column(Timestamp)
    results: Mapped[dict[str, Any] | None] = mapped_column(Json)
    """:class:`ddcore.spec.results.Results` as JSON, as in the bundle's manifest."""
    error: Mapped[dict[str, Any] | None] = mapped_column(Json)
    """``code``, ``message``, ``param``, ``retryable`` and ``attempt`` of the last failure."""

    created_at: Mapped[datetime] = mapped_column(Timestamp, default=clock())
    queued_at: Mapped[datetime] = mapped_column(Timestamp, default=clock())
    claimed_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """When the current or last attempt began."""
    started_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """When the first attempt began."""
    finished_at: Mapped[datetime | None] = mapped_column(Timestamp)
    updated_at: Mapped[datetime] = mapped_column(Timestamp, default=clock(), onupdate=clock())
    deleted_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """Tombstone: the job is hidden at once and its artifacts are collected later."""
    thinned_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """When it lost the readings and events that are kept for some days only."""


class Outbox(Base):
    """A message that a committed change still owes to the broker."""

    __tablename__ = "outbox"
    __table_args__ = (Index(None, "available_at"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    kind: Mapped[str] = mapped_column(String(40))
    """What to send; ``doorbell`` wakes a worker."""
    payload: Mapped[dict[str, Any]] = mapped_column(Json)
    available_at: Mapped[datetime] = mapped_column(Timestamp, default=clock())
    tries: Mapped[int] = mapped_column(default=0)


class IdempotencyKey(Base):
    """The first answer to a request that carried an Idempotency-Key."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index(None, "expires_at"),)

    tenant_id: Mapped[str] = mapped_column(Id, ForeignKey(Tenant.id), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request_sha256: Mapped[str] = mapped_column(String(64))
    location: Mapped[str] = mapped_column(Text)
    body: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=clock())
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
