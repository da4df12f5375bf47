"""HTTP of webhooks."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response

from app.core.dependencies import DatabaseDep, SettingsDep, SignerDep
from app.core.errors import Invalid, InvalidCursor, NotFound, QuotaExceeded, WebhookDisabled
from app.core.ids import pattern
from app.core.pagination import Page
from app.core.problems import responses
from app.keys.principals import Admin
from app.keys.routes import NO_STORE
from app.models.webhooks import Webhook
from app.webhooks.documents import delivery_details, delivery_document, webhook_document
from app.webhooks.schemas import (
    DeliveryDetails,
    DeliveryDocument,
    DeliveryState,
    NewWebhook,
    NewWebhookDocument,
    RotateSecret,
    WebhookChange,
    WebhookDocument,
)
from app.webhooks.transactions import WebhookTransactions

router = APIRouter(prefix="/v1", tags=["webhooks"])

WebhookId = Annotated[str, Path(pattern=pattern("whk"))]
DeliveryId = Annotated[str, Path(pattern=pattern("dlv"))]


async def _of_admin(
    principal: Admin, database: DatabaseDep, settings: SettingsDep, signer: SignerDep
) -> WebhookTransactions:
    return WebhookTransactions(principal, database, settings, signer)


Webhooks = Annotated[WebhookTransactions, Depends(_of_admin)]


@router.post(
    "/webhooks", status_code=201, response_model=NewWebhookDocument, responses=responses(Invalid, QuotaExceeded)
)
def create_webhook(body: NewWebhook, transactions: Webhooks) -> Response:
    """Have an address told what happens; the answer is the only place where its secret is shown."""
    with transactions.write() as webhooks:
        document = _with_secret(*webhooks.create(body))
    headers = {**NO_STORE, "Location": f"/v1/webhooks/{document.id}"}
    return Response(document.model_dump_json(), 201, headers, "application/json")


@router.get("/webhooks")
def list_webhooks(transactions: Webhooks) -> Page[WebhookDocument]:
    """List the webhooks of the tenant, the oldest first."""
    with transactions.read() as webhooks:
        return Page[WebhookDocument](data=[webhook_document(webhook) for webhook in webhooks.all()])


@router.get("/webhooks/{webhook_id:identifier}", responses=responses(NotFound))
def get_webhook(webhook_id: WebhookId, transactions: Webhooks) -> WebhookDocument:
    """Get a webhook."""
    with transactions.read() as webhooks:
        return webhook_document(webhooks.get(webhook_id))


@router.patch("/webhooks/{webhook_id:identifier}", responses=responses(NotFound, Invalid))
def change_webhook(webhook_id: WebhookId, body: WebhookChange, transactions: Webhooks) -> WebhookDocument:
    """Change what a webhook is told, where, and whether at all."""
    with transactions.write() as webhooks:
        return webhook_document(webhooks.change(webhook_id, body))


@router.delete("/webhooks/{webhook_id:identifier}", status_code=204, responses=responses(NotFound))
def delete_webhook(webhook_id: WebhookId, transactions: Webhooks) -> None:
    """Delete a webhook, with all that was sent to it or waits."""
    with transactions.write() as webhooks:
        webhooks.delete(webhook_id)


@router.post("/webhooks/{webhook_id}:rotate", response_model=NewWebhookDocument, responses=responses(NotFound, Invalid))
def rotate_webhook_secret(webhook_id: WebhookId, transactions: Webhooks, body: RotateSecret | None = None) -> Response:
    """Give a webhook a new secret, shown in this answer alone; for a day messages are signed by the old one too."""
    with transactions.write() as webhooks:
        document = _with_secret(*webhooks.rotate(webhook_id, (body or RotateSecret()).grace_s))
    return Response(document.model_dump_json(), 200, NO_STORE, "application/json")


@router.post("/webhooks/{webhook_id}:test", status_code=202, responses=responses(NotFound, WebhookDisabled))
def test_webhook(webhook_id: WebhookId, transactions: Webhooks) -> DeliveryDocument:
    """Send a webhook a message that says that nothing happened; the delivery tells what came of it."""
    with transactions.write() as webhooks:
        return delivery_document(webhooks.test(webhook_id))


@router.get("/webhooks/{webhook_id}/deliveries", responses=responses(NotFound, InvalidCursor))
def list_deliveries(
    webhook_id: WebhookId,
    transactions: Webhooks,
    state: Annotated[DeliveryState | None, Query(description="Only those in this state.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> Page[DeliveryDocument]:
    """List the messages to a webhook, the newest first."""
    with transactions.read() as webhooks:
        found, following = webhooks.deliveries(webhook_id, state, cursor, limit)
        return Page[DeliveryDocument](data=[delivery_document(one) for one in found], next_cursor=following)


@router.get("/webhooks/{webhook_id}/deliveries/{delivery_id:identifier}", responses=responses(NotFound))
def get_delivery(webhook_id: WebhookId, delivery_id: DeliveryId, transactions: Webhooks) -> DeliveryDetails:
    """Get a message, and every attempt to deliver it."""
    with transactions.read() as webhooks:
        return delivery_details(*webhooks.delivery(webhook_id, delivery_id))


@router.post(
    "/webhooks/{webhook_id}/deliveries/{delivery_id}:redeliver",
    status_code=202,
    responses=responses(NotFound, WebhookDisabled),
)
def redeliver(webhook_id: WebhookId, delivery_id: DeliveryId, transactions: Webhooks) -> DeliveryDocument:
    """Send a message once more: the same bytes under the same `webhook-id`."""
    with transactions.write() as webhooks:
        return delivery_document(webhooks.redeliver(webhook_id, delivery_id))


def _with_secret(webhook: Webhook, secret: str) -> NewWebhookDocument:
    return NewWebhookDocument(**webhook_document(webhook).model_dump(), secret=secret)
