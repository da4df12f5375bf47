"""How many bytes a tenant's own sets and uploads may have."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core.settings import Settings
from app.models.datasets import Dataset, DatasetPart
from app.models.keys import Tenant
from app.models.scores import Score, ScorePart

_KEPT = ((Dataset, DatasetPart), (Score, ScorePart))


def quota_of(tenant: Tenant, settings: Settings) -> int:
    """The tenant's own quota in bytes, or else the service's."""
    own = tenant.max_dataset_bytes
    return int(settings.dataset_quota_gb * 1e9) if own is None else own


def bytes_used(session: Session, tenant_id: str) -> int:
    """Bytes of a tenant's sets and of all its uploads."""
    return bytes_stored(session, tenant_id) + sum(_uploaded(session, tenant_id, *kept) for kept in _KEPT)


def bytes_stored(session: Session, tenant_id: str) -> int:
    """Bytes of a tenant's sets."""
    stored = select(func.coalesce(func.sum(Dataset.stored), 0))
    return int(session.scalar(stored.where(Dataset.tenant_id == tenant_id, Dataset.deleted_at.is_(None))) or 0)


def _uploaded(session: Session, tenant_id: str, row: type[Dataset | Score], part: type[DatasetPart | ScorePart]) -> int:
    kept = select(func.coalesce(func.sum(part.size), 0)).join(row, row.id == part.owner_id)
    return int(session.scalar(kept.where(row.tenant_id == tenant_id, row.deleted_at.is_(None))) or 0)
