"""Who shares a service: tenants, members, what they did and used; a part of :class:`ddclient.Client`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from ddclient import calls
from ddclient.connection import Connection


class Teams(Connection):
    """Tenants and members of a service, its audit trail, and what a tenant uses."""

    def tenants(self) -> list[dict[str, Any]]:
        """All tenants; for operators."""
        return self._transport.send(calls.menu("tenants"))

    def tenant(self, tenant_id: str) -> dict[str, Any]:
        """One of them."""
        return self._transport.send(calls.one("tenants", tenant_id))

    def create_tenant(self, tenant_id: str, **fields: Any) -> dict[str, Any]:
        """Make a tenant; ``key`` of the answer holds the key of its first admin, shown now and never again.

        Args:
            tenant_id: 2 to 40 lower-case letters, digits and hyphens.
            **fields: ``name`` and limits: ``max_running``, ``max_queued``, ``max_dataset_bytes``,
                ``max_month_minutes``, ``max_work_hours``, ``weight``.
        """
        return self._transport.send(calls.make("tenants", {"id": tenant_id, **fields}))

    def change_tenant(self, tenant_id: str, **fields: Any) -> dict[str, Any]:
        """Change a tenant's name or limits, or whether it is ``disabled``."""
        return self._transport.send(calls.change("tenants", tenant_id, fields))

    def members(self) -> list[dict[str, Any]]:
        """The members of the tenant; for admins, as all that follows."""
        return self._transport.send(calls.menu("members"))

    def member(self, member_id: str) -> dict[str, Any]:
        """One of them."""
        return self._transport.send(calls.one("members", member_id))

    def add_member(self, email: str, **fields: Any) -> dict[str, Any]:
        """Add a member.

        Args:
            email: their address.
            **fields: ``name``, and ``role``: ``viewer``, ``member`` (default) or ``admin``.
        """
        return self._transport.send(calls.make("members", {"email": email, **fields}))

    def change_member(self, member_id: str, **fields: Any) -> dict[str, Any]:
        """Change a member's ``name`` or ``role``, or whether they are ``disabled``.

        ``unlink=True`` forgets with which account of the login provider they sign in, and ends those sessions.
        """
        return self._transport.send(calls.change("members", member_id, fields))

    def remove_member(self, member_id: str) -> None:
        """Remove a member, and revoke their keys and sessions."""
        self._transport.send(calls.remove("members", member_id))

    def audit(
        self, *, action: str | None = None, key: str | None = None, object_id: str | None = None,
        since: datetime | None = None, until: datetime | None = None,
    ) -> Iterator[dict[str, Any]]:  # fmt: skip
        """What was done in the tenant's name, the newest first, page by page.

        Args:
            action: only this act, such as ``job.cancel``.
            key: only acts of this key.
            object_id: only what was done to this.
            since: only acts from then on, with its time zone.
            until: only acts before then.
        """
        moments = {name: at and at.isoformat() for name, at in (("since", since), ("until", until))}
        query = {"action": action, "key": key, "object": object_id, **moments}
        cursor: str | None = None
        while True:
            page = self._transport.send(calls.page("audit", {**query, "cursor": cursor}))
            yield from page["data"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def usage(self, tenant_id: str | None = None) -> dict[str, Any]:
        """What the tenant uses, and may use; of another one for operators."""
        return self._transport.send(calls.usage(tenant_id))
