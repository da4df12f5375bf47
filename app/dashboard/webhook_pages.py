"""Pages of webhooks: who is told what, and what was sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from app.core.dependencies import DatabaseDep, SettingsDep, SignerDep
from app.core.errors import Forbidden, ServiceError
from app.core.security import Scope
from app.dashboard.rendering import SameOrigin, error_page, login_page, pairs, read_form, render
from app.events.topics import PATTERNS, TOPICS, USUAL
from app.keys.principals import OptionalPrincipal
from app.models.webhooks import Webhook
from app.webhooks.documents import delivery_details, delivery_document, webhook_document
from app.webhooks.routes import DeliveryId, WebhookId
from app.webhooks.schemas import DeliveryState, NewWebhook, RotateSecret, WebhookChange
from app.webhooks.service import WebhookService
from app.webhooks.transactions import WebhookTransactions

router = APIRouter(include_in_schema=False)

LIST = "/team/webhooks"
SHOWN = 50


async def _visitor(
    principal: OptionalPrincipal, database: DatabaseDep, settings: SettingsDep, signer: SignerDep
) -> WebhookTransactions | None:
    return None if principal is None else WebhookTransactions(principal, database, settings, signer)


Visitor = Annotated[WebhookTransactions | None, Depends(_visitor)]


@router.get("/team/webhooks")
def list_page(visitor: Visitor) -> Response:
    """All webhooks, and a form for one more."""
    return _answer(visitor, LIST, _list)


@router.post("/team/webhooks", dependencies=[SameOrigin])
async def create(request: Request, visitor: Visitor) -> Response:
    """Make a webhook, and show its secret once."""
    form = await pairs(request)
    typed = dict(form)
    wanted = {
        "url": typed.get("url", ""),
        "description": typed.get("description", ""),
        "events": [name for name in (*PATTERNS, *TOPICS) if ("event", name) in form],
    }

    def make(transactions: WebhookTransactions) -> Response:
        with transactions.write() as webhooks:
            webhook, secret = webhooks.create(read_form(NewWebhook, wanted))
            return _page(transactions, webhooks, webhook, secret=secret)

    return await run_in_threadpool(_answer, visitor, LIST, make)


@router.get("/team/webhooks/{webhook_id}")
def webhook_page(
    webhook_id: WebhookId,
    visitor: Visitor,
    state: DeliveryState | None = None,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> Response:
    """A webhook, and the messages to it."""

    def show(transactions: WebhookTransactions) -> Response:
        with transactions.read() as webhooks:
            return _page(transactions, webhooks, webhooks.get(webhook_id), state=state, cursor=cursor)

    return _answer(visitor, f"{LIST}/{webhook_id}", show)


@router.post("/team/webhooks/{webhook_id}/{verb}", dependencies=[SameOrigin])
def act(
    webhook_id: WebhookId, verb: Literal["test", "rotate", "enable", "disable", "delete"], visitor: Visitor
) -> Response:
    """Do something with a webhook."""

    def do(transactions: WebhookTransactions) -> Response:
        with transactions.write() as webhooks:
            if verb == "rotate":
                webhook, secret = webhooks.rotate(webhook_id, RotateSecret().grace_s)
                return _page(transactions, webhooks, webhook, secret=secret)
            if verb == "test":
                sent = webhooks.test(webhook_id)
                return RedirectResponse(f"{LIST}/{webhook_id}/deliveries/{sent.id}", 303)
            if verb == "delete":
                webhooks.delete(webhook_id)
                return RedirectResponse(LIST, 303)
            webhooks.change(webhook_id, WebhookChange(disabled=verb == "disable"))
            return RedirectResponse(f"{LIST}/{webhook_id}", 303)

    return _answer(visitor, f"{LIST}/{webhook_id}", do)


@router.get("/team/webhooks/{webhook_id}/deliveries/{delivery_id}")
def delivery_page(webhook_id: WebhookId, delivery_id: DeliveryId, visitor: Visitor) -> Response:
    """A message, and every attempt to deliver it."""

    def show(transactions: WebhookTransactions) -> Response:
        with transactions.read() as webhooks:
            found = delivery_details(*webhooks.delivery(webhook_id, delivery_id))
        payload = None if found.payload is None else json.dumps(found.payload, indent=2, ensure_ascii=False)
        return render(
            "delivery.html", here="team", principal=transactions.principal, delivery=found, payload=payload,
            waits=found.state == "pending" and not found.history,
        )  # fmt: skip

    return _answer(visitor, f"{LIST}/{webhook_id}/deliveries/{delivery_id}", show)


@router.post("/team/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver", dependencies=[SameOrigin])
def redeliver(webhook_id: WebhookId, delivery_id: DeliveryId, visitor: Visitor) -> Response:
    """Send a message once more."""
    path = f"{LIST}/{webhook_id}/deliveries/{delivery_id}"

    def again(transactions: WebhookTransactions) -> Response:
        with transactions.write() as webhooks:
            webhooks.redeliver(webhook_id, delivery_id)
        return RedirectResponse(path, 303)

    return _answer(visitor, path, again)


def _answer(
    visitor: WebhookTransactions | None, onward: str, answer: Callable[[WebhookTransactions], Response]
) -> Response:
    """The answer to an admin; to others, why there is none."""
    if visitor is None:
        return login_page(onward)
    try:
        if not visitor.principal.may(Scope.ADMIN):
            raise Forbidden("webhooks are for keys with the scope `admin`")
        return answer(visitor)
    except ServiceError as error:
        return error_page(error, visitor.principal, LIST, "Back to the webhooks")


def _list(transactions: WebhookTransactions) -> Response:
    with transactions.read() as webhooks:
        found = [webhook_document(webhook) for webhook in webhooks.all()]
    groups = {pattern: [name for name in TOPICS if name.startswith(pattern[:-1])] for pattern in PATTERNS[1:]}
    return render(
        "webhooks.html", here="team", principal=transactions.principal, webhooks=found, groups=groups,
        usual=USUAL, most=transactions.settings.max_webhooks,
    )  # fmt: skip


def _page(
    transactions: WebhookTransactions,
    webhooks: WebhookService,
    webhook: Webhook,
    *,
    state: str | None = None,
    cursor: str | None = None,
    secret: str | None = None,
) -> Response:
    found, following = webhooks.deliveries(webhook.id, state, cursor, SHOWN)
    return render(
        "webhook.html", here="team", principal=transactions.principal, webhook=webhook_document(webhook),
        deliveries=[delivery_document(one) for one in found], following=following, state=state, secret=secret,
        states=("pending", "delivered", "failed"),
    )  # fmt: skip
