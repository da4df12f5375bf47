"""What can be done with webhooks. Nothing here commits, and nothing here knows HTTP."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from sqlalchemy import update
from sqlalchemy.orm import Session

from app.core.errors import Invalid, NotFound, QuotaExceeded, WebhookDisabled
from app.core.ids import new_id
from app.core.pagination import Cursors
from app.core.security import Principal, Signer
from app.core.settings import Settings
from app.core.tables import clock
from app.events.topics import TEST
from app.keys import audit
from app.keys import repository as keys
from app.models.webhooks import PENDING, Delivery, DeliveryAttempt, Webhook
from app.webhooks import signing
from app.webhooks.network import SECURE_PORTS, Address, public
from app.webhooks.repository import WebhookRepository
from app.webhooks.schemas import NewWebhook, WebhookChange
from ddcore.spec import Problem

ASKED = "asked"


@dataclass(frozen=True)
class WebhookService:
    """The webhooks of one principal, within one transaction."""

    session: Session
    principal: Principal
    settings: Settings
    signer: Signer

    @property
    def _webhooks(self) -> WebhookRepository:
        return WebhookRepository(self.session, self.principal)

    def all(self) -> Sequence[Webhook]:
        """All webhooks of the tenant, the oldest first."""
        return self._webhooks.all()

    def get(self, webhook_id: str) -> Webhook:
        """One of them.

        Raises:
            NotFound: there is none.
        """
        return self._find(webhook_id)

    def create(self, request: NewWebhook) -> tuple[Webhook, str]:
        """Make a webhook, and its secret.

        Raises:
            Invalid: the address is none that could ever be reached.
            QuotaExceeded: the tenant has as many as it may.
        """
        self._check(request.url)
        keys.tenant(self.session, self.principal, lock=True)  # Two that come at once are counted one after the other.
        if self._webhooks.count() >= self.settings.max_webhooks:
            raise QuotaExceeded(
                f"you have {self.settings.max_webhooks} webhooks, as many as a tenant may have; delete one first"
            )
        webhook = Webhook(
            id=new_id("whk"), tenant_id=self.principal.tenant_id, url=request.url, description=request.description,
            events=list(dict.fromkeys(request.events)), sealed=signing.new_seal(self.signer),
        )  # fmt: skip
        self.session.add(webhook)
        self.session.flush()
        self.session.refresh(webhook)
        audit.record(self.session, self.principal, "webhook.create", webhook.id, url=webhook.url)
        return webhook, self._secret(webhook)

    def change(self, webhook_id: str, request: WebhookChange) -> Webhook:
        """Change what a webhook is told, where, and whether at all.

        Raises:
            NotFound: there is none.
            Invalid: the address is none that could ever be reached, or a field is null.
        """
        webhook = self._find(webhook_id, lock=True)
        asked = request.model_dump(exclude_unset=True)
        for name, value in asked.items():
            if value is None:
                raise Invalid([Problem(f"/{name}", "null", f"`{name}` cannot be null; leave it out to keep it")])
        if request.url is not None:
            self._check(request.url)
            webhook.url = request.url
        if request.events is not None:
            webhook.events = list(dict.fromkeys(request.events))
        if request.description is not None:
            webhook.description = request.description
        self.session.flush()
        if request.disabled is not None:
            self._switch(webhook, off=request.disabled)
        audit.record(self.session, self.principal, "webhook.change", webhook.id, **asked)
        return webhook

    def delete(self, webhook_id: str) -> None:
        """Delete a webhook and all that was, or would have been, sent to it.

        Raises:
            NotFound: there is none.
        """
        webhook = self._find(webhook_id, lock=True)
        audit.record(self.session, self.principal, "webhook.delete", webhook.id, url=webhook.url)
        self.session.delete(webhook)
        self.session.flush()

    def rotate(self, webhook_id: str, grace_s: int) -> tuple[Webhook, str]:
        """Give a webhook a new secret; for a while, messages are signed by both.

        Raises:
            NotFound: there is none.
        """
        webhook = self._find(webhook_id, lock=True)
        values = {
            "previous": webhook.sealed if grace_s else None,
            "previous_until": clock(grace_s) if grace_s else None,
            "sealed": signing.new_seal(self.signer),
        }
        self._set(webhook, values)
        audit.record(self.session, self.principal, "webhook.rotate", webhook.id, grace_s=grace_s)
        return webhook, self._secret(webhook)

    def test(self, webhook_id: str) -> Delivery:
        """Send a webhook a message that tells nothing.

        Raises:
            NotFound: there is none.
            WebhookDisabled: it is told nothing.
        """
        webhook = self._enabled(webhook_id)
        delivery = Delivery(id=new_id("dlv"), webhook_id=webhook.id, tenant_id=webhook.tenant_id, event=TEST)
        self.session.add(delivery)
        self.session.flush()
        self.session.refresh(delivery)
        audit.record(self.session, self.principal, "webhook.test", webhook.id, delivery=delivery.id)
        return delivery

    def deliveries(
        self, webhook_id: str, state: str | None, cursor: str | None, limit: int
    ) -> tuple[Sequence[Delivery], str | None]:
        """A page of the messages to a webhook, the newest first, and the cursor of the next one.

        Raises:
            NotFound: there is no such webhook.
            InvalidCursor: it is of another list, or of none.
        """
        self._find(webhook_id)
        cursors = Cursors(self.signer, {"list": "deliveries", "webhook": webhook_id, "state": state})
        before = int(cursors.open(cursor)["number"]) if cursor else None
        found = self._webhooks.deliveries(webhook_id, state, before, limit + 1)
        following = cursors.seal({"number": found[limit - 1].number}) if len(found) > limit else None
        return found[:limit], following

    def delivery(self, webhook_id: str, delivery_id: str) -> tuple[Delivery, Sequence[DeliveryAttempt]]:
        """One message, and the attempts to deliver it.

        Raises:
            NotFound: there is none.
        """
        found = self._message(webhook_id, delivery_id)
        return found, self._webhooks.attempts(found.id)

    def redeliver(self, webhook_id: str, delivery_id: str) -> Delivery:
        """Send a message once more, the same bytes under the same `webhook-id`; at once, if it waits.

        Raises:
            NotFound: there is none.
            WebhookDisabled: the webhook is told nothing.
        """
        self._enabled(webhook_id)
        found = self._message(webhook_id, delivery_id, lock=True)
        # One that waits may be under way at this moment: its time is not its sender's to lose.
        due = found.due_at if found.state == PENDING and found.tries == 0 else clock()
        again = update(Delivery).where(Delivery.number == found.number)
        self.session.execute(
            again.values(state=PENDING, tries=0, due_at=due, finished_at=None).execution_options(
                synchronize_session=False
            )
        )
        self.session.refresh(found)
        audit.record(self.session, self.principal, "webhook.redeliver", webhook_id, delivery=delivery_id)
        return found

    def _find(self, webhook_id: str, *, lock: bool = False) -> Webhook:
        found = self._webhooks.get(webhook_id, lock=lock)
        if found is None:
            raise NotFound(f"you have no webhook {webhook_id}; GET /v1/webhooks lists them")
        return found

    def _enabled(self, webhook_id: str) -> Webhook:
        webhook = self._find(webhook_id)
        if webhook.disabled_at is not None:
            enable = 'enable it first, by PATCH with {"disabled": false}'
            raise WebhookDisabled(f"{webhook_id} is disabled ({webhook.disabled_why}); {enable}")
        return webhook

    def _message(self, webhook_id: str, delivery_id: str, *, lock: bool = False) -> Delivery:
        found = self._webhooks.delivery(webhook_id, delivery_id, lock=lock)
        if found is None:
            raise NotFound(f"{webhook_id} has no delivery {delivery_id}; they are kept for some weeks")
        return found

    def _switch(self, webhook: Webhook, *, off: bool) -> None:
        if off == (webhook.disabled_at is not None):
            return
        if off:
            self._set(webhook, {"disabled_at": clock(), "disabled_why": ASKED})
        else:
            self._set(webhook, {"disabled_at": None, "disabled_why": None, "failing_since": None})

    def _set(self, webhook: Webhook, values: Mapping[str, object]) -> None:
        statement = update(Webhook).where(Webhook.id == webhook.id).values(values)
        self.session.execute(statement.execution_options(synchronize_session=False))
        self.session.refresh(webhook)

    def _secret(self, webhook: Webhook) -> str:
        """The secret that was sealed a moment ago."""
        secret = signing.secret_of(self.signer, webhook.sealed)
        if secret is None:
            raise LookupError(webhook.id)
        return secret

    def _check(self, url: str) -> None:
        """Refuse an address that could never be reached; what its name means is judged when it is sent to.

        Raises:
            Invalid: it is one.
        """
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        inside = [ipaddress.ip_network(network) for network in self.settings.webhook_networks]
        address = _literal(host)
        if address is None and inside:
            return  # A name may lead into the operator's own networks, by http and on any port.
        if address is not None and any(address in network for network in inside):
            return
        ports = " or ".join(map(str, SECURE_PORTS))
        if parts.scheme != "https" or port not in SECURE_PORTS:
            raise Invalid([Problem("/url", "address", f"`url` is '{url}'; it must be https, on port {ports}")])
        if address is not None and not public(address):
            detail = f"`url` is '{url}', which is no public address; the operator can allow its network"
            raise Invalid([Problem("/url", "address", f"{detail} (DD_WEBHOOK_NETWORKS)")])


def _literal(host: str) -> Address | None:
    """The address that a host is written as; ``None`` for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
