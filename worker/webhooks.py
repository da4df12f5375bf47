"""Sends what webhooks are owed: a thread beside the reconciler, many requests at once, none in another's way."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import threading
import time
from collections import Counter
from collections.abc import Sequence

from sqlalchemy.exc import SQLAlchemyError

from app.core.database import Database
from app.core.security import Signer
from app.core.settings import Settings
from app.webhooks import deliveries
from app.webhooks.deliveries import Message, WrongPepperError
from app.webhooks.network import Lookup, Resolve
from app.webhooks.sending import Outcome, Post
from worker.faults import fault_point

_LOOK_S = 1.0
_AT_ONCE = 128
"""Requests at once."""
_OF_A_TENANT = 16
"""Of these, those of one tenant: however many receivers hang, others are told in time."""
_OF_A_WEBHOOK = 4
_HOLD_S = 30.0
"""Beyond the time that an attempt may take: after so long a message may be taken by another sender."""
_COMPLAIN_S = 300.0
_SHUN_S = 60.0
"""Seconds for which a webhook is left alone whose messages could not be put together."""

_log = logging.getLogger(__name__)


class Sender:
    """One of any number of senders.

    Args:
        settings: how long a receiver may take, and what it may be.
        database: where messages are owed.
        signer: the service's signer, which signs them.
        resolve: how names become addresses; by default as the system does it.
    """

    def __init__(self, settings: Settings, database: Database, signer: Signer, resolve: Resolve | None = None) -> None:
        self._settings = settings
        self._database = database
        self._signer = signer
        self._lookup = Lookup()
        inside = [ipaddress.ip_network(network) for network in settings.webhook_networks]
        self._post = Post(inside, settings.webhook_timeout_s, resolve or self._lookup)
        self._under_way: dict[asyncio.Task[None], Message] = {}
        self._complain_at = 0.0
        self._shunned: dict[str, float] = {}

    def run(self, ended: threading.Event) -> None:
        """Send until ``ended``; what is under way then is given the time of one attempt to finish."""
        try:
            asyncio.run(self._run(ended))
        finally:
            self._lookup.close()

    async def _run(self, ended: threading.Event) -> None:
        look_s = min(self._settings.reconcile_s, _LOOK_S)
        while not ended.is_set():
            taken = await asyncio.to_thread(self._take, self._busy())
            for message in taken:
                self._under_way[asyncio.create_task(self._deliver(message))] = message
            await self._rest(0.0 if taken else look_s)
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=self._settings.webhook_timeout_s)

    async def _rest(self, seconds: float) -> None:
        """Wait for something to be done, and forget what is."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(seconds)
        for task in [task for task in self._under_way if task.done()]:
            message, failure = self._under_way.pop(task), task.exception()
            if failure is not None:
                _log.error("sending %s went wrong; it is tried again", message.id, exc_info=failure)

    def _busy(self) -> tuple[Counter[str], Counter[str]]:
        """Requests under way by webhook and by tenant."""
        messages = self._under_way.values()
        return Counter(one.webhook_id for one in messages), Counter(one.tenant_id for one in messages)

    def _take(self, busy: tuple[Counter[str], Counter[str]]) -> Sequence[Message]:
        of_webhook, of_tenant = busy
        taken: list[Message] = []
        try:
            with self._database.read() as session:
                waiting = deliveries.waiting(session)
            for webhook_id, tenant_id in waiting:
                if self._shunned.get(webhook_id, 0.0) > time.monotonic():
                    continue
                free = min(
                    _AT_ONCE - len(taken) - of_webhook.total(),
                    _OF_A_TENANT - of_tenant[tenant_id],
                    _OF_A_WEBHOOK - of_webhook[webhook_id],
                )
                if free > 0:
                    more = self._take_of(webhook_id, free)
                    of_tenant[tenant_id] += len(more)
                    taken += more
        except SQLAlchemyError as error:
            _log.warning("messages to webhooks wait for the database (%s)", type(error).__name__)
        return taken

    def _take_of(self, webhook_id: str, limit: int) -> Sequence[Message]:
        hold_s = self._settings.webhook_timeout_s + _HOLD_S
        try:
            with self._database.write() as session:
                return deliveries.take(session, self._settings, self._signer, webhook_id, limit, hold_s)
        except WrongPepperError:
            self._complain()
        except SQLAlchemyError:
            raise
        except Exception:
            # One document that cannot be made must not keep everybody else's messages from being sent.
            _log.exception("messages of %s cannot be put together; they wait", webhook_id)
            self._shunned[webhook_id] = time.monotonic() + _SHUN_S
        return []

    def _complain(self) -> None:
        if time.monotonic() < self._complain_at:
            return
        self._complain_at = time.monotonic() + _COMPLAIN_S
        _log.error("webhooks wait: DD_PEPPER is not that of the API, so their messages cannot be signed; set it here")

    async def _deliver(self, message: Message) -> None:
        outcome = await self._post.send(message.url, message.body, message.headers)
        fault_point("webhook.sent")
        await asyncio.to_thread(self._settle, message, outcome)

    def _settle(self, message: Message, outcome: Outcome) -> None:
        try:
            with self._database.write() as session:
                deliveries.settle(session, self._settings, message, outcome)
        except SQLAlchemyError as error:
            # It is due again when its time is over; receivers know it by its identifier.
            _log.warning("what came of %s is not recorded (%s)", message.id, type(error).__name__)
        if outcome.error is not None:
            _log.info("%s of %s was not delivered: %s", message.id, message.webhook_id, outcome.error)
