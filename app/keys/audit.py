"""The trail of who did what: written in the transaction of the act, and into the log once that is committed."""

from __future__ import annotations

from typing import Any

import structlog
from sqlalchemy import event, inspect
from sqlalchemy.orm import Session

from app.core.security import Principal
from app.models.audit import AuditEntry

_UNTOLD = "acts that are not in the log yet"

log = structlog.get_logger("app.audit")


def record(session: Session, principal: Principal, action: str, object_id: str | None = None, **details: Any) -> None:
    """Note an act.

    Args:
        session: the transaction that the act is part of.
        principal: who acts; the entry belongs to their tenant.
        action: such as ``job.cancel``: the kind of what it was done to, and what was done.
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
    session.info.setdefault(_UNTOLD, []).append(entry)
    if not event.contains(session, "after_commit", _tell):
        event.listen(session, "after_commit", _tell)


def _tell(session: Session) -> None:
    """Log what was recorded, once all of the transaction is committed and not only a savepoint of it."""
    if session.in_nested_transaction():
        return
    for entry in session.info.pop(_UNTOLD, ()):
        # One that was recorded after a savepoint that was taken back is gone with it.
        if inspect(entry).persistent:
            log.info(
                "audit", action=entry.action, object=entry.object_id, tenant=entry.tenant_id, key=entry.key_id,
                address=entry.address, details=entry.details,
            )  # fmt: skip
