"""Messages to webhooks, owed in the transaction of the event that they tell.

Only that a message is owed is written here: what it says is put together, and recorded, before it is sent first.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.ids import new_id
from app.events.topics import topic_of, wanted
from app.models.events import Event
from app.models.webhooks import Delivery, Webhook


def owe(session: Session, kind: str, events: Sequence[Event]) -> None:
    """Owe a message to each address that wants to hear of an event.

    Args:
        session: the ``write()`` session that the events are recorded in; flushed by the caller.
        kind: of the jobs that they are about.
        events: of one tenant.
    """
    named = [(event, topic) for event in events if (topic := topic_of(kind, event.type, event.data)) is not None]
    if not named:
        return
    of_tenant = (Webhook.tenant_id == named[0][0].tenant_id, Webhook.disabled_at.is_(None))
    for webhook in session.execute(select(Webhook.id, Webhook.events).where(*of_tenant)).all():
        session.add_all(
            Delivery(
                id=new_id("dlv"), webhook_id=webhook.id, tenant_id=event.tenant_id, event=topic,
                job_id=event.job_id, seq=event.seq,
            )
            for event, topic in named
            if wanted(topic, webhook.events)
        )  # fmt: skip
