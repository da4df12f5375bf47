"""Messages on their way: taken by a sender, sent, and settled. Nothing here commits.

Several senders may run. A message is taken by moving the moment at which it is due, so one whose sender was killed is
sent again, with the same bytes and the same ``webhook-id``.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.orm import Session

from app.core.database import now
from app.core.security import Principal, Signer
from app.core.settings import Settings
from app.core.tables import clock
from app.keys import audit
from app.models.webhooks import DELIVERED, FAILED, PENDING, Delivery, DeliveryAttempt, Webhook
from app.queue.purging import DAY_S
from app.webhooks import signing
from app.webhooks.payloads import compose
from app.webhooks.sending import Outcome

_JITTER = 0.1
"""Share by which a pause is longer or shorter: receivers that came back must not be met by everybody at once."""
FAILING = "failing"
GONE = "gone"


@dataclass(frozen=True)
class Message:
    """What a sender has taken."""

    id: str
    webhook_id: str
    tenant_id: str
    url: str
    body: str
    headers: Mapping[str, str]


class WrongPepperError(Exception):
    """Another server secret sealed this: the process has another ``DD_PEPPER`` than the API and cannot sign."""


def waiting(session: Session) -> Sequence[tuple[str, str]]:
    """Webhooks with messages that are due, and their tenants, the longest waiting first."""
    statement = (
        select(Delivery.webhook_id, Delivery.tenant_id)
        .join(Webhook, Webhook.id == Delivery.webhook_id)
        .where(*_due(), Webhook.disabled_at.is_(None))
        .group_by(Delivery.webhook_id, Delivery.tenant_id)
        .order_by(func.min(Delivery.due_at))
    )
    return [(row.webhook_id, row.tenant_id) for row in session.execute(statement)]


def take(
    session: Session, settings: Settings, signer: Signer, webhook_id: str, limit: int, hold_s: float
) -> Sequence[Message]:
    """Take messages that are due, the oldest first, and record what they say if it is not recorded yet.

    Args:
        session: a ``write()`` session.
        settings: of the service.
        signer: of the service.
        webhook_id: whose messages.
        limit: how many at most.
        hold_s: seconds after which they may be taken again, if nothing is settled.

    Raises:
        WrongPepperError: they cannot be signed here.
    """
    oldest = (
        select(Delivery.number)
        .where(Delivery.webhook_id == webhook_id, *_due())
        .order_by(Delivery.number)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    numbers = session.scalars(oldest).all()
    webhook = session.get(Webhook, webhook_id)
    if not numbers or webhook is None:
        return []
    moment = now(session)
    keys = _keys(signer, webhook, moment)
    taken = (
        update(Delivery)
        .where(Delivery.number.in_(numbers), *_due())
        .values(due_at=clock(hold_s))
        .returning(Delivery)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    found = sorted(session.scalars(taken).all(), key=lambda delivery: delivery.number)
    messages = []
    for delivery in found:
        body = delivery.payload = delivery.payload or compose(session, settings, delivery)
        headers = signing.headers(delivery.id, moment.astimezone(UTC), body, keys)
        messages.append(Message(delivery.id, webhook_id, delivery.tenant_id, webhook.url, body, headers))
    session.flush()
    return messages


def settle(session: Session, settings: Settings, message: Message, outcome: Outcome) -> None:
    """Record what came of an attempt, and what follows from it.

    Args:
        session: a ``write()`` session.
        settings: when to try again, and for how long.
        message: what was sent.
        outcome: what came of it.
    """
    counted = session.execute(
        update(Delivery)
        .where(Delivery.id == message.id)
        .values(attempts=Delivery.attempts + 1)
        .returning(Delivery.attempts, Delivery.tries, Delivery.state)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if counted is None:
        return  # deleted meanwhile, with its webhook
    session.add(
        DeliveryAttempt(
            delivery_id=message.id, number=counted.attempts, seconds=outcome.seconds, status=outcome.status,
            error=outcome.error, response=outcome.response,
        )
    )  # fmt: skip
    # Of two senders that both tried, the second must not take back what the first has settled.
    if counted.state == PENDING:
        _change(session, message.id, _following(settings, counted.tries, outcome))
    _judge(session, settings, message, outcome)


def drop_old(session: Session, days: float, limit: int) -> int:
    """Forget messages that were made more than ``days`` ago, at most ``limit`` of them; how many that were."""
    old = select(Delivery.number).where(Delivery.created_at < clock(-days * DAY_S)).limit(limit)
    gone = delete(Delivery).where(Delivery.number.in_(old)).returning(Delivery.number)
    return len(session.execute(gone.execution_options(synchronize_session=False)).all())


def _due() -> tuple[ColumnElement[bool], ...]:
    return Delivery.state == PENDING, Delivery.due_at <= clock()


def _keys(signer: Signer, webhook: Webhook, moment: datetime) -> list[str]:
    sealed = [webhook.sealed]
    if webhook.previous is not None and webhook.previous_until is not None and moment < webhook.previous_until:
        sealed.append(webhook.previous)
    keys = [key for each in sealed if (key := signing.secret_of(signer, each)) is not None]
    if len(keys) < len(sealed):
        raise WrongPepperError(webhook.id)
    return keys


def _following(settings: Settings, tries: int, outcome: Outcome) -> Mapping[str, object]:
    """What becomes of a message after an attempt."""
    if outcome.delivered:
        return {"state": DELIVERED, "finished_at": clock()}
    if outcome.gone or tries >= len(settings.webhook_retries_s):
        return {"state": FAILED, "finished_at": clock(), "tries": tries + 1}
    pause_s = settings.webhook_retries_s[tries] * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - no secret
    return {"due_at": clock(max(pause_s, outcome.pause_s)), "tries": tries + 1}


def _change(session: Session, delivery_id: str, values: Mapping[str, object]) -> None:
    statement = update(Delivery).where(Delivery.id == delivery_id, Delivery.state == PENDING).values(values)
    session.execute(statement.execution_options(synchronize_session=False))


def _judge(session: Session, settings: Settings, message: Message, outcome: Outcome) -> None:
    """Note whether the address works, and tell it nothing more once it has failed for too long or is gone."""
    webhook = update(Webhook).where(Webhook.id == message.webhook_id).execution_options(synchronize_session=False)
    if outcome.delivered:
        session.execute(webhook.where(Webhook.failing_since.is_not(None)).values(failing_since=None))
        return
    session.execute(webhook.where(Webhook.failing_since.is_(None)).values(failing_since=clock()))
    too_long = Webhook.failing_since <= clock(-settings.webhook_disable_days * DAY_S)
    disabled = session.execute(
        webhook.where(Webhook.disabled_at.is_(None), *(() if outcome.gone else (too_long,)))
        .values(disabled_at=clock(), disabled_why=GONE if outcome.gone else FAILING)
        .returning(Webhook.id)
    ).first()
    if disabled is not None:
        service = Principal(message.tenant_id, None, frozenset())
        audit.record(session, service, "webhook.disable", message.webhook_id, why=GONE if outcome.gone else FAILING)
