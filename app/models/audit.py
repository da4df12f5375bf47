"""Who did what, and how much of the machines a tenant used."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.core.tables import Base, Id, Json, Serial, Timestamp, clock


class AuditEntry(Base):
    """One act, recorded in the transaction that it was part of; it outlives what it is about."""

    __tablename__ = "audit_entries"
    __table_args__ = (Index(None, "tenant_id", "number"), {"sqlite_autoincrement": True})

    number: Mapped[int] = mapped_column(Serial, primary_key=True)
    at: Mapped[datetime] = mapped_column(Timestamp, default=clock())
    tenant_id: Mapped[str] = mapped_column(Id)
    key_id: Mapped[str | None] = mapped_column(Id)
    """The key that acted; ``None`` where there are none, and on the machine of the database."""
    address: Mapped[str | None] = mapped_column(String(64))
    """Where the request came from; ``None`` for an act on the machine of the database."""
    request_id: Mapped[str | None] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(40))
    """Such as ``job.cancel``."""
    object_id: Mapped[str | None] = mapped_column(String(64))
    """What it was done to."""
    details: Mapped[dict[str, Any]] = mapped_column(Json)


class UsedTime(Base):
    """Seconds that a tenant's jobs held workers of a kind of device, in a month of UTC."""

    __tablename__ = "used_time"

    tenant_id: Mapped[str] = mapped_column(Id, primary_key=True)
    month: Mapped[str] = mapped_column(String(7), primary_key=True)
    """``2026-11``."""
    device_class: Mapped[str] = mapped_column(String(16), primary_key=True)
    seconds: Mapped[float]
