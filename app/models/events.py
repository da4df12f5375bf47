"""What happened to a job."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.tables import Base, Id, Json, Timestamp, clock
from app.models.jobs import Job


class Event(Base):
    """One event; ``seq`` counts 1, 2, 3, … within a job, without gaps but for old events about progress."""

    __tablename__ = "events"
    __table_args__ = (Index(None, "tenant_id", "at"),)

    job_id: Mapped[str] = mapped_column(Id, ForeignKey(Job.id, ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    id: Mapped[str] = mapped_column(Id, unique=True)
    tenant_id: Mapped[str] = mapped_column(Id)
    type: Mapped[str] = mapped_column(String(40))
    """``job.created``, ``job.state_changed``, ``attempt.lost``, …"""
    level: Mapped[str] = mapped_column(String(8))
    """``info``, ``warning`` or ``error``."""
    at: Mapped[datetime] = mapped_column(Timestamp, default=clock())
    attempt: Mapped[int]
    message: Mapped[str] = mapped_column(Text)
    data: Mapped[dict[str, Any]] = mapped_column(Json)
