"""A study, and the points of its space that it tries; their jobs are rows of ``jobs``."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.tables import Base, Id, Json, Timestamp, clock
from app.models.keys import Tenant


class Study(Base):
    """A search over jobs.

    ``status`` changes through :func:`app.studies.states.transition` only. Code that changes anything that the
    study's document shows also adds one to ``version``, which is the document's ETag.
    """

    __tablename__ = "studies"
    __table_args__ = (
        Index("ix_studies_listing", "tenant_id", "created_at", "id"),
        Index(
            "ix_studies_unfinished",
            "id",
            sqlite_where=text("finished_at IS NULL"),
            postgresql_where=text("finished_at IS NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Id, ForeignKey(Tenant.id))
    name: Mapped[str | None] = mapped_column(String(200))
    labels: Mapped[dict[str, str]] = mapped_column(Json)
    priority: Mapped[int]
    """Of its jobs, 0 to 9."""
    spec: Mapped[dict[str, Any]] = mapped_column(Json)
    """The normalised request, see :class:`app.studies.schemas.StudyRequest`."""
    refused: Mapped[list[dict[str, Any]]] = mapped_column(Json)
    """Why points of the space are no trials: ``reason`` and ``points``."""
    status: Mapped[str] = mapped_column(String(16))
    version: Mapped[int] = mapped_column(BigInteger, default=1)
    decided: Mapped[int] = mapped_column(default=0)
    """Rungs that are decided."""
    winner: Mapped[int | None]
    """Index of the trial that won, or is being evaluated to."""
    error: Mapped[dict[str, Any] | None] = mapped_column(Json)
    """``code`` and ``message``: why the study failed."""
    expected_s: Mapped[float | None]
    """Seconds of running, over all jobs, that were expected when it was made; ``None`` for studies older than this."""
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=clock())
    finished_at: Mapped[datetime | None] = mapped_column(Timestamp)
    updated_at: Mapped[datetime] = mapped_column(Timestamp, default=clock(), onupdate=clock())
    deleted_at: Mapped[datetime | None] = mapped_column(Timestamp)


class Trial(Base):
    """A point of a study's space."""

    __tablename__ = "trials"

    study_id: Mapped[str] = mapped_column(Id, ForeignKey(Study.id, ondelete="CASCADE"), primary_key=True)
    index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """0, 1, … in the order of the space; the lower one goes on where scores are equal."""
    values: Mapped[dict[str, Any]] = mapped_column(Json)
    """What it sets, by dotted path into the body of a job."""
    title: Mapped[str] = mapped_column(Text)
    iterations: Mapped[int] = mapped_column(BigInteger)
    """Steps that each of its jobs takes in all."""
    forecast: Mapped[dict[str, Any] | None] = mapped_column(Json)
    """Seconds that one of its jobs should take, as forecast when the study was made: the fields of
    :class:`app.studies.automatic.Forecast`, and ``minutes`` of the whole job."""
    stored_bytes: Mapped[int | None] = mapped_column(BigInteger)
    """Size of its images; ``None`` where that of the dataset's is not known."""
    status: Mapped[str] = mapped_column(String(16))
    rung: Mapped[int] = mapped_column(default=0)
    """The rung that it is in, or was in when it was dropped."""
    scores: Mapped[list[dict[str, Any]]] = mapped_column(Json)
    """One for each rung in which it was scored, see :class:`app.studies.schemas.RungScore`."""
    runtime_s: Mapped[float] = mapped_column(default=0.0)
    """Seconds that its jobs have run, as far as is recorded."""
    steps: Mapped[int] = mapped_column(BigInteger, default=0)
    """Steps that they have taken."""
    reason: Mapped[str | None] = mapped_column(Text)
    """Why it was dropped or failed."""
