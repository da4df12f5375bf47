"""Processes of the service as the database sees them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from app.core.tables import Base, Id, Json, Timestamp, clock


class Worker(Base):
    """A worker that has announced itself; alive while its heartbeat is recent."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
    """Celery's node name."""
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int]
    device_class: Mapped[str] = mapped_column(String(16))
    facts: Mapped[dict[str, Any]] = mapped_column(Json)
    """Device, memory and versions of the libraries."""
    state: Mapped[str] = mapped_column(String(16))
    """``idle``, ``busy``, ``draining``, ``quarantined`` or ``stopped``."""
    wanted: Mapped[str] = mapped_column(String(8), default="run", server_default="run")
    """What the operator wants of it: ``run``, ``cordon`` (no more jobs) or ``drain`` (and none now)."""
    job_id: Mapped[str | None] = mapped_column(Id)
    losses: Mapped[list[dict[str, Any]]] = mapped_column(Json, default=list)
    """Jobs it lost lately (``job_id``, ``at_ms``); three different ones in ten minutes quarantine it."""
    started_at: Mapped[datetime] = mapped_column(Timestamp, default=clock())
    heartbeat_at: Mapped[datetime] = mapped_column(Timestamp, default=clock())


RECONCILING = "reconcile"
"""The duty of the reconciler."""


class Leader(Base):
    """Lease on a duty that one process does at a time, such as reconciling."""

    __tablename__ = "leaders"

    duty: Mapped[str] = mapped_column(String(40), primary_key=True)
    owner: Mapped[str] = mapped_column(Id)
    fence: Mapped[int] = mapped_column(BigInteger)
    lease_until: Mapped[datetime] = mapped_column(Timestamp)
