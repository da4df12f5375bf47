"""SQL on webhooks. Every statement starts from what the principal may see."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from app.core.security import Principal
from app.models.webhooks import Delivery, DeliveryAttempt, Webhook


class WebhookRepository:
    """The webhooks that a principal may see."""

    def __init__(self, session: Session, principal: Principal) -> None:
        self._session = session
        self._principal = principal

    def all(self) -> Sequence[Webhook]:
        """All of them, the oldest first."""
        return self._session.scalars(self._visible().order_by(Webhook.created_at, Webhook.id)).all()

    def count(self) -> int:
        """How many there are."""
        return self._session.execute(select(func.count()).select_from(self._visible().subquery())).scalar_one()

    def get(self, webhook_id: str, *, lock: bool = False) -> Webhook | None:
        """One of them, as it is in the database now."""
        statement = self._visible().where(Webhook.id == webhook_id).execution_options(populate_existing=True)
        return self._session.scalars(statement.with_for_update() if lock else statement).one_or_none()

    def deliveries(self, webhook_id: str, state: str | None, before: int | None, limit: int) -> Sequence[Delivery]:
        """Messages to one of them, the newest first."""
        statement = self._messages(webhook_id)
        if state is not None:
            statement = statement.where(Delivery.state == state)
        if before is not None:
            statement = statement.where(Delivery.number < before)
        return self._session.scalars(statement.order_by(Delivery.number.desc()).limit(limit)).all()

    def delivery(self, webhook_id: str, delivery_id: str, *, lock: bool = False) -> Delivery | None:
        """One message."""
        statement = self._messages(webhook_id).where(Delivery.id == delivery_id)
        statement = statement.execution_options(populate_existing=True)
        return self._session.scalars(statement.with_for_update() if lock else statement).one_or_none()

    def attempts(self, delivery_id: str) -> Sequence[DeliveryAttempt]:
        """The attempts to deliver a message that the caller has found, the first one first."""
        of_message = select(DeliveryAttempt).where(DeliveryAttempt.delivery_id == delivery_id)
        return self._session.scalars(of_message.order_by(DeliveryAttempt.number)).all()

    def _visible(self) -> Select[Webhook]:
        return select(Webhook).where(Webhook.tenant_id == self._principal.tenant_id)

    def _messages(self, webhook_id: str) -> Select[Delivery]:
        mine = Delivery.tenant_id == self._principal.tenant_id
        return select(Delivery).where(mine, Delivery.webhook_id == webhook_id)
