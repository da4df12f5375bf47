"""A second wall between tenants: PostgreSQL itself shows a request the rows of its tenant alone.

The first wall is that every query starts from a principal. Where one of them forgets that, the database still refuses:
the transactions of a request run as a role for which each table with a ``tenant_id`` has a policy (migration 0015).
Workers, the reconciler and operators are not bound, and SQLite has no such means.
"""

from __future__ import annotations

from contextvars import ContextVar

import structlog
from sqlalchemy import Connection, text

ROLE = "ddservice_tenant"
SETTING = "ddservice.tenant"
"""What the policies compare with."""
_BIND = text("SELECT set_config('role', :role, true), set_config(:setting, :tenant, true)")
_MAY_BIND = text(
    "SELECT COALESCE((SELECT pg_has_role(current_user, oid, 'MEMBER') FROM pg_roles WHERE rolname = :role), false)"
)

_tenant: ContextVar[str | None] = ContextVar("tenant", default=None)

log = structlog.get_logger(__name__)


def act_for(tenant_id: str | None) -> None:
    """Bind the transactions that follow in this request to a tenant; ``None`` binds them to nobody."""
    _tenant.set(tenant_id)


class Wall:
    """Binds the transactions of one database.

    Args:
        wanted: ``on`` refuses to work without the wall, ``auto`` says once that there is none, ``off`` builds none.
    """

    def __init__(self, wanted: str) -> None:
        self._wanted = wanted
        self._stands: bool | None = False if wanted == "off" else None

    def bind(self, connection: Connection) -> None:
        """Bind the transaction that has just begun, if it is a request's.

        Raises:
            NoWallError: there is none, and the settings demand one.
        """
        tenant_id = _tenant.get()
        if tenant_id is None:
            return
        if self._stands is None:
            self._stands = self._found(connection)
        if self._stands:
            # Of this transaction alone: a pooler may hand the session on to anybody.
            connection.execute(_BIND, {"role": ROLE, "setting": SETTING, "tenant": tenant_id})

    def _found(self, connection: Connection) -> bool:
        try:
            demand(connection)
        except NoWallError as error:
            if self._wanted == "on":
                raise
            log.warning("no row-level security", reason=str(error))
            return False
        return True


class NoWallError(ValueError):
    """The database does not keep tenants apart by itself."""


def demand(connection: Connection) -> None:
    """Check that requests can be bound.

    Raises:
        NoWallError: they cannot.
    """
    if connection.dialect.name != "postgresql":
        raise NoWallError("DD_ROW_SECURITY needs PostgreSQL; SQLite cannot keep tenants apart by itself")
    if not connection.execute(_MAY_BIND, {"role": ROLE}).scalar_one():
        raise NoWallError(f"the database's user may not act as {ROLE}; docs/operations.md says how to allow it")
