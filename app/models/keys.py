"""Who may do what: tenants, their members and API keys, and one-time login links."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, String, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column

from app.core.tables import Base, Id, Json, Timestamp, clock


class Tenant(Base):
    """An owner of jobs; nobody sees another tenant's."""

    __tablename__ = "tenants"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    max_running: Mapped[int | None]
    """Jobs that may run at once; ``None``: as many as there are workers."""
    max_queued: Mapped[int | None]
    """Unfinished jobs; ``None``: the service's setting."""
    max_dataset_bytes: Mapped[int | None] = mapped_column(BigInteger)
    """Bytes of the tenant's own sets and uploads; ``None``: the service's setting."""
    max_month_minutes: Mapped[int | None]
    """Minutes of workers in a calendar month; ``None`` for any number."""
    max_work_hours: Mapped[float | None]
    """Hours of workers that its unfinished jobs may still need; ``None``: the service's setting."""
    weight: Mapped[float] = mapped_column(default=1.0, server_default="1")
    """Share of the workers: of two tenants with jobs, one of weight 2 gets twice as many."""
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=clock())
    disabled_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """Since when its keys do not work."""


class Member(Base):
    """A person who works for a tenant; keys can be theirs, and then may do no more than their role allows."""

    __tablename__ = "members"
    __table_args__ = (
        UniqueConstraint("tenant_id", "email"),
        Index(None, "oidc_subject", "oidc_issuer", "tenant_id", unique=True),
        Index(None, "email"),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Id, ForeignKey(Tenant.id))
    email: Mapped[str] = mapped_column(String(254))
    """In lower case."""
    name: Mapped[str] = mapped_column(String(200))
    role: Mapped[str] = mapped_column(String(16))
    """``viewer``, ``member`` or ``admin``, see :class:`app.core.security.Role`."""
    oidc_issuer: Mapped[str | None] = mapped_column(String(255))
    """The OpenID Connect provider that they signed in with; ``None`` before the first time."""
    oidc_subject: Mapped[str | None] = mapped_column(String(255))
    """Who they are there. It outlasts a change of their address, which another person may have next."""
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=clock())
    disabled_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """Since when their keys do not work."""

    @property
    def linked(self) -> bool:
        """Whether they have signed in at a provider."""
        return self.oidc_subject is not None


class ApiKey(Base):
    """An API key; the key itself is shown once and never stored, only its keyed digest."""

    __tablename__ = "api_keys"
    __table_args__ = (Index(None, "tenant_id", "created_at"),)

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    """``key_`` and the eight characters that the key itself names."""
    tenant_id: Mapped[str] = mapped_column(Id, ForeignKey(Tenant.id))
    member_id: Mapped[str | None] = mapped_column(Id)
    """The member whose key it is; ``None`` for one of the tenant itself."""
    name: Mapped[str] = mapped_column(String(200))
    digest: Mapped[str] = mapped_column(String(64))
    """HMAC-SHA256 of the whole key under the server's pepper, hexadecimal."""
    scopes: Mapped[list[str]] = mapped_column(Json)
    sign_in: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Whether it only stands for the sessions that its member began at a provider; nobody has its text."""
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=clock())
    expires_at: Mapped[datetime | None] = mapped_column(Timestamp)
    last_used_at: Mapped[datetime | None] = mapped_column(Timestamp)
    revoked_at: Mapped[datetime | None] = mapped_column(Timestamp)


class EndedSession(Base):
    """A session of the dashboard that was logged out, or a sign-in that was used: its cookie is worth nothing since."""

    __tablename__ = "ended_sessions"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
    """When the cookie ends by itself, and this row with it."""


class LoginToken(Base):
    """A login link that has not been used yet."""

    __tablename__ = "login_tokens"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    """HMAC-SHA256 of the token under the server's pepper, hexadecimal."""
    key_id: Mapped[str] = mapped_column(Id, ForeignKey(ApiKey.id, ondelete="CASCADE"))
    """The key that asked for the link, on whose behalf the session acts."""
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
