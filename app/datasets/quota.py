"""How many bytes a tenant's own sets and uploads may have."""

from __future__ import annotations

from app.core.settings import Settings
from app.models.keys import Tenant


def quota_of(tenant: Tenant, settings: Settings) -> int:
    """The tenant's own quota in bytes, or else the service's."""
    own = tenant.max_dataset_bytes
    return int(settings.dataset_quota_gb * 1e9) if own is None else own
