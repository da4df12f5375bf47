"""Files that jobs leave behind, and the content they point to."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.core.tables import Base, Id, Json, Timestamp, clock
from app.models.jobs import Job
from app.models.keys import Tenant


class Blob(Base):
    """Content in the store under its own digest; kept while an artifact points to it."""

    __tablename__ = "blobs"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=clock())


class Artifact(Base):
    """A file of a job. One of a fence that never finished stays ``writing``, unseen, and is collected."""

    __tablename__ = "artifacts"
    __table_args__ = (
        Index(None, "job_id", "state", "kind"),
        Index(None, "sha256"),
        Index(None, "state", "created_at"),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Id, ForeignKey(Tenant.id))
    job_id: Mapped[str] = mapped_column(Id, ForeignKey(Job.id, ondelete="CASCADE"))
    attempt: Mapped[int]
    fence: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(String(40))
    """``bundle``, ``synthetic_images``, ``manifest``, ``preview``, ``snapshot``, ``checkpoint``, ``log``, …"""
    name: Mapped[str] = mapped_column(String(255))
    """File name offered for its download."""
    media_type: Mapped[str] = mapped_column(String(100))
    sha256: Mapped[str | None] = mapped_column(String(64), ForeignKey(Blob.sha256))
    size: Mapped[int | None] = mapped_column(BigInteger)
    shape: Mapped[list[int] | None] = mapped_column(Json)
    dtype: Mapped[str | None] = mapped_column(String(16))
    step: Mapped[int | None] = mapped_column(BigInteger)
    data: Mapped[dict[str, Any] | None] = mapped_column(Json)
    """Facts that only this kind has."""
    state: Mapped[str] = mapped_column(String(8))
    """``writing``, ``ready`` or ``deleted``."""
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=clock())


class Checkpoint(Base):
    """The saved state of a job after some steps, from which another worker can go on."""

    __tablename__ = "checkpoints"
    __table_args__ = (Index(None, "job_id", "step"),)

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    job_id: Mapped[str] = mapped_column(Id, ForeignKey(Job.id, ondelete="CASCADE"))
    artifact_id: Mapped[str | None] = mapped_column(Id, ForeignKey(Artifact.id, ondelete="CASCADE"))
    step: Mapped[int] = mapped_column(BigInteger)
    attempt: Mapped[int]
    fence: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInteger)
    metrics: Mapped[dict[str, float | None]] = mapped_column(Json)
    """Readings at that step."""
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=clock())
