"""Who is told what happens: webhooks and the messages sent to them; a part of :class:`ddclient.Client`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ddclient import calls
from ddclient.connection import Connection


class Webhooks(Connection):
    """The webhooks of the tenant; for admins."""

    def webhooks(self) -> list[dict[str, Any]]:
        """All of them."""
        return self._transport.send(calls.menu("webhooks"))

    def webhook(self, webhook_id: str) -> dict[str, Any]:
        """One of them."""
        return self._transport.send(calls.one("webhooks", webhook_id))

    def create_webhook(self, url: str, *, events: Sequence[str] | None = None, description: str = "") -> dict[str, Any]:
        """Have an address told what happens; ``secret`` of the answer is shown now and never again.

        Args:
            url: where messages are sent; https.
            events: names such as ``job.failed`` and patterns such as ``alert.*``. Default: ends of jobs, and alerts.
            description: for people.
        """
        fields: dict[str, Any] = {"url": url, "description": description}
        fields |= {} if events is None else {"events": list(events)}
        return self._transport.send(calls.make("webhooks", fields))

    def change_webhook(self, webhook_id: str, **fields: Any) -> dict[str, Any]:
        """Change a webhook's ``url``, ``events`` or ``description``, or whether it is ``disabled``."""
        return self._transport.send(calls.change("webhooks", webhook_id, fields))

    def delete_webhook(self, webhook_id: str) -> None:
        """Delete a webhook, with all that was sent to it or waits."""
        self._transport.send(calls.remove("webhooks", webhook_id))

    def rotate_webhook_secret(self, webhook_id: str, *, grace_s: int = 86_400) -> dict[str, Any]:
        """Give a webhook a new secret; ``secret`` of the answer is shown now and never again.

        Args:
            webhook_id: whose.
            grace_s: seconds for which messages are signed by the old one too, at most 30 days.
        """
        return self._transport.send(calls.make(f"webhooks/{webhook_id}:rotate", {"grace_s": grace_s}))

    def test_webhook(self, webhook_id: str) -> dict[str, Any]:
        """Send a webhook a message that says that nothing happened; the delivery."""
        return self._transport.send(calls.make(f"webhooks/{webhook_id}:test", {}))

    def deliveries(self, webhook_id: str, *, state: str | None = None) -> Iterator[dict[str, Any]]:
        """The messages to a webhook, the newest first, page by page.

        Args:
            webhook_id: whose.
            state: only those that are ``pending``, ``delivered`` or ``failed``.
        """
        query = {} if state is None else {"state": state}
        return self.pages(calls.listed(f"/v1/webhooks/{webhook_id}/deliveries", dict, query))

    def delivery(self, webhook_id: str, delivery_id: str) -> dict[str, Any]:
        """One message: what it says, and every attempt to deliver it."""
        return self._transport.send(calls.one(f"webhooks/{webhook_id}/deliveries", delivery_id))

    def redeliver(self, webhook_id: str, delivery_id: str) -> dict[str, Any]:
        """Send a message once more: the same bytes under the same ``webhook-id``."""
        return self._transport.send(calls.make(f"webhooks/{webhook_id}/deliveries/{delivery_id}:redeliver", {}))
