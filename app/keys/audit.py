"""The trail of who did what: written in the transaction of the act, and into the log once that is committed."""

from __future__ import annotations

from typing import Any

import structlog
from sqlalchemy import event
from sqlalchemy.orm import Session

from app.core.security import Principal
from app.models.audit import AuditEntry

log = structlog.get_logger("app.audit")


def record(session: Session, principal: Principal, action: str, object_id: str | None = None, **details: Any) -> None:
    """Note an act.

    Args:
        session: the transaction that the act is part of.
        principal: who acts; the entry belongs to their tenant.
        action: such as ``job.cancelled``: the kind of what it was done to, and what was done.
        object_id: what it was done to.
        **details: more about it, as JSON; nothing secret.
    """
    entry = AuditEntry(
        tenant_id=principal.tenant_id,
        key_id=principal.key_id,
        address=principal.address,
        request_id=principal.request_id,
        action=action,
        object_id=object_id,
        details=details,
    )
    session.add(entry)
    told = {"action": action, "object": object_id, "tenant": principal.tenant_id, "key": principal.key_id}

    def tell(_: Session) -> None:
        log.info("audit", **told, address=principal.address, details=details)

    event.listen(session, "after_commit", tell, once=True)
