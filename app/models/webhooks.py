"""Receivers of messages about what happened, and what was sent to them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.core.tables import Base, Id, Json, Serial, Timestamp, clock
from app.models.keys import Tenant

PENDING = "pending"
DELIVERED = "delivered"
FAILED = "failed"


class Webhook(Base):
    """An address of a tenant's that hears of events."""

    __tablename__ = "webhooks"
    __table_args__ = (Index(None, "tenant_id", "created_at"),)

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Id, ForeignKey(Tenant.id))
    url: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(String(200))
    events: Mapped[list[str]] = mapped_column(Json)
    """Names and patterns of the events to tell, such as ``job.succeeded`` and ``alert.*``."""
    sealed: Mapped[str] = mapped_column(Text)
    """What its secret is made from, see :mod:`app.webhooks.signing`; the secret itself is never stored."""
    previous: Mapped[str | None] = mapped_column(Text)
    """What its last secret was made from."""
    previous_until: Mapped[datetime | None] = mapped_column(Timestamp)
    """Until when messages carry a signature by the last secret too."""
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=clock())
    failing_since: Mapped[datetime | None] = mapped_column(Timestamp)
    """When an attempt failed first since one succeeded."""
    disabled_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """Since when nothing is sent."""
    disabled_why: Mapped[str | None] = mapped_column(String(16))
    """``asked``, ``failing`` or ``gone``."""


class Delivery(Base):
    """One message to one address. Its bytes are recorded before they are sent for the first time."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        UniqueConstraint("id"),
        Index(None, "webhook_id", "number"),
        Index(None, "state", "due_at"),
        {"sqlite_autoincrement": True},
    )

    number: Mapped[int] = mapped_column(Serial, primary_key=True)
    id: Mapped[str] = mapped_column(Id)
    """Also the message's ``webhook-id``, by which receivers know one that they have had."""
    webhook_id: Mapped[str] = mapped_column(Id, ForeignKey(Webhook.id, ondelete="CASCADE"))
    tenant_id: Mapped[str] = mapped_column(Id)
    event: Mapped[str] = mapped_column(String(40))
    """Such as ``job.succeeded``, see :mod:`app.events.topics`."""
    job_id: Mapped[str | None] = mapped_column(Id)
    """The job that it is about, which may be gone since; ``None`` for a test."""
    seq: Mapped[int | None] = mapped_column(BigInteger)
    """Number of the event within the job."""
    state: Mapped[str] = mapped_column(String(12), default=PENDING)
    due_at: Mapped[datetime] = mapped_column(Timestamp, default=clock())
    """When it may be sent; while it is being sent, when it may be sent again if nothing is heard of that."""
    tries: Mapped[int] = mapped_column(default=0)
    """Failed attempts since it was last asked for."""
    attempts: Mapped[int] = mapped_column(default=0)
    """All attempts."""
    payload: Mapped[str | None] = mapped_column(Text)
    """The message's body; ``None`` before the first attempt."""
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=clock())
    finished_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """When it was delivered or given up."""


class DeliveryAttempt(Base):
    """One request with a message, and what came of it."""

    __tablename__ = "webhook_attempts"

    delivery_id: Mapped[str] = mapped_column(Id, ForeignKey(Delivery.id, ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(Timestamp, default=clock())
    """When it ended."""
    seconds: Mapped[float]
    status: Mapped[int | None]
    """The answer's status; ``None`` where there was no answer."""
    error: Mapped[str | None] = mapped_column(Text)
    """Why it failed, in words; ``None`` where it did not."""
    response: Mapped[str | None] = mapped_column(Text)
    """Beginning of the answer's body."""
