"""From rows to documents."""

from __future__ import annotations

import json
from collections.abc import Sequence

from app.models.webhooks import PENDING, Delivery, DeliveryAttempt, Webhook
from app.webhooks.schemas import AttemptDocument, DeliveryDetails, DeliveryDocument, WebhookDocument


def webhook_document(webhook: Webhook) -> WebhookDocument:
    """A webhook, without its secret."""
    return WebhookDocument.model_validate(webhook)


def delivery_document(delivery: Delivery) -> DeliveryDocument:
    """A message, without what it says."""
    document = DeliveryDocument.model_validate(delivery)
    return document if delivery.state == PENDING else document.model_copy(update={"due_at": None})


def delivery_details(delivery: Delivery, attempts: Sequence[DeliveryAttempt]) -> DeliveryDetails:
    """A message, what it says, and the attempts to deliver it."""
    return DeliveryDetails(
        **delivery_document(delivery).model_dump(),
        payload=None if delivery.payload is None else json.loads(delivery.payload),
        history=[AttemptDocument.model_validate(attempt) for attempt in attempts],
    )
