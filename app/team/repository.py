"""SQL on tenants, members and the audit trail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.artifacts.repository import READY
from app.core.tables import clock
from app.models.artifacts import Artifact
from app.models.audit import AuditEntry
from app.models.jobs import Job
from app.models.keys import Member, Tenant
from app.models.states import HELD


@dataclass(frozen=True)
class AuditFilters:
    """Which acts are asked for; ``None`` for any."""

    action: str | None = None
    key_id: str | None = None
    object_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def tenants(session: Session) -> Sequence[Tenant]:
    """All of them, the oldest first."""
    return session.scalars(select(Tenant).order_by(Tenant.created_at, Tenant.id)).all()


def tenant(session: Session, tenant_id: str) -> Tenant | None:
    """A tenant, if there is one of that identifier."""
    return session.get(Tenant, tenant_id)


def change(session: Session, row: Tenant | Member, values: Mapping[str, Any], disabled: bool | None) -> None:
    """Set columns of a tenant or member, and whether they are disabled."""
    if disabled is not None:
        values = {**values, "disabled_at": clock() if disabled else None}
    if values:
        table = type(row)
        session.execute(
            update(table).where(table.id == row.id).values(**values).execution_options(synchronize_session=False)
        )
    session.refresh(row)


def members(session: Session, tenant_id: str) -> Sequence[Member]:
    """The members of a tenant by their addresses, disabled ones included."""
    return session.scalars(select(Member).where(Member.tenant_id == tenant_id).order_by(Member.email)).all()


def remove(session: Session, member: Member) -> None:
    """Remove a member; their keys have to be revoked."""
    session.delete(member)
    session.flush()


def acts(
    session: Session, tenant_id: str, filters: AuditFilters, before: int | None, limit: int
) -> Sequence[AuditEntry]:
    """What was done in a tenant's name, the newest first."""
    statement = select(AuditEntry).where(AuditEntry.tenant_id == tenant_id)
    for column, value in (
        (AuditEntry.action, filters.action),
        (AuditEntry.key_id, filters.key_id),
        (AuditEntry.object_id, filters.object_id),
    ):
        if value is not None:
            statement = statement.where(column == value)
    if filters.since is not None:
        statement = statement.where(AuditEntry.at >= filters.since)
    if filters.until is not None:
        statement = statement.where(AuditEntry.at < filters.until)
    if before is not None:
        statement = statement.where(AuditEntry.number < before)
    return session.scalars(statement.order_by(AuditEntry.number.desc()).limit(limit)).all()


def running_jobs(session: Session, tenant_id: str) -> int:
    """Jobs of a tenant that hold a worker."""
    statement = select(func.count()).select_from(Job).where(Job.tenant_id == tenant_id, Job.status.in_(HELD))
    return session.execute(statement).scalar_one()


def artifact_bytes(session: Session, tenant_id: str) -> int:
    """Bytes of a tenant's files in the store, each as often as a job has it."""
    statement = select(func.sum(Artifact.size)).where(Artifact.tenant_id == tenant_id, Artifact.state == READY)
    return int(session.execute(statement).scalar_one() or 0)
