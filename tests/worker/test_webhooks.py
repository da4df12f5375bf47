"""The sender of messages to webhooks: real requests to a receiver on loopback."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app.core.security import Signer, load_signer
from app.models.keys import Tenant
from app.models.webhooks import Delivery, Webhook
from app.webhooks.network import Resolve
from app.webhooks.payloads import compose
from app.webhooks.schemas import NewWebhook
from app.webhooks.service import WebhookService
from tests.chaos.harness import PRINCIPAL, ROOT, Cluster, cluster, eventually
from tests.receiver import Answer, Receiver, receiving
from worker import webhooks
from worker.webhooks import Sender


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """An empty service that may send to loopback."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    open_to_loopback = {"DD_WEBHOOK_NETWORKS": "127.0.0.0/8", "DD_WEBHOOK_RETRIES_S": "0.2,0.2,0.2"}
    with cluster(tmp_path / "home", **open_to_loopback) as made:
        yield made


def subscribe(service: Cluster, url: str, *events: str) -> tuple[str, str]:
    """Identifier and secret of a new webhook."""
    with service.database.write() as session:
        desk = WebhookService(session, PRINCIPAL, service.settings, load_signer(service.settings))
        webhook, secret = desk.create(NewWebhook(url=url, events=list(events) or ["*"]))
        return webhook.id, secret


def sent(service: Cluster, webhook_id: str) -> Sequence[Delivery]:
    with service.database.read() as session:
        of_webhook = select(Delivery).where(Delivery.webhook_id == webhook_id)
        return session.scalars(of_webhook.order_by(Delivery.number)).all()


def over(service: Cluster, webhook_id: str, *states: str) -> Callable[[], bool]:
    return lambda: [one.state for one in sent(service, webhook_id)] == list(states)


@contextmanager
def sending(service: Cluster, resolve: Resolve | None = None, signer: Signer | None = None) -> Iterator[None]:
    ended = threading.Event()
    sender = Sender(service.settings, service.database, signer or load_signer(service.settings), resolve)
    thread = threading.Thread(target=sender.run, args=(ended,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(60)
        assert not thread.is_alive()


def test_what_happens_is_told_and_signed(service: Cluster, receiver: Receiver) -> None:
    webhook_id, secret = subscribe(service, receiver.url(), "job.created", "job.cancelled")
    job_id = service.submit(ring=False)
    service.cancel(job_id)
    with sending(service):
        eventually(over(service, webhook_id, "delivered", "delivered"), 60)
    told = {one.message["type"]: one.verify(secret) for one in receiver.at("/hook")}
    assert set(told) == {"job.created", "job.cancelled"}
    assert told["job.cancelled"]["data"]["job"]["status"] == "cancelled"
    assert {one.id for one in receiver.at("/hook")} == {one.id for one in sent(service, webhook_id)}
    assert {one.payload for one in sent(service, webhook_id)} == {one.body.decode() for one in receiver.at("/hook")}


def test_one_that_fails_is_tried_again_with_the_same_bytes_and_then_given_up(
    service: Cluster, receiver: Receiver
) -> None:
    receiver.answers["/hook"] = Answer(500)
    webhook_id, _ = subscribe(service, receiver.url())
    service.submit(ring=False)
    with sending(service):
        eventually(over(service, webhook_id, "failed"), 60)
    found = receiver.at("/hook")
    assert len(found) == 4
    assert len({(one.id, one.body) for one in found}) == 1


def test_receivers_that_hang_hold_nobody_else_up(service: Cluster, receiver: Receiver) -> None:
    """More of them than there is room for at once; the last webhook hears of its event all the same."""
    released = threading.Event()
    receiver.answers["/hang"] = Answer(before=lambda: released.wait(60))
    hanging = [subscribe(service, receiver.url("/hang"), "job.created")[0] for _ in range(19)]
    for seed in range(5):
        service.submit(seed=seed, ring=False)
    with service.database.write() as session:
        session.add(Tenant(id="ten_other", name="another", max_running=None, max_queued=None))
        session.flush()
        neighbour = replace(PRINCIPAL, tenant_id="ten_other")
        desk = WebhookService(session, neighbour, service.settings, load_signer(service.settings))
        desk.test(desk.create(NewWebhook(url=receiver.url()))[0].id)
    with sending(service):
        eventually(lambda: len(receiver.at("/hang")) >= webhooks._OF_A_TENANT, 60)
        receiver.wait(1)
        assert len(receiver.at("/hang")) <= webhooks._OF_A_TENANT
        released.set()
        for webhook_id in hanging:
            eventually(over(service, webhook_id, *["delivered"] * 5), 60)


def test_a_redirect_to_loopback_and_a_name_that_changes_lead_nowhere(tmp_path: Path, receiver: Receiver) -> None:
    """Without any network of the operator's, a receiver on loopback is never reached."""

    class Changing:
        """A name that means a public address when it is judged, and loopback when it is looked up again."""

        def __init__(self) -> None:
            self.answers = [["127.0.0.1"], ["::ffff:127.0.0.1"], ["64:ff9b::7f00:1"], ["1.1.1.1", "127.0.0.1"]]

        async def __call__(self, host: str, port: int) -> Sequence[str]:
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    with cluster(tmp_path / "home", DD_WEBHOOK_RETRIES_S="0.1,0.1,0.1,0.1") as service:
        webhook_id, _ = subscribe(service, "https://hooks.example.org/")
        service.submit(ring=False)
        with sending(service, resolve=Changing()):
            eventually(over(service, webhook_id, "failed"), 60)
        with service.database.read() as session:
            desk = WebhookService(session, PRINCIPAL, service.settings, load_signer(service.settings))
            (delivery,) = sent(service, webhook_id)
            errors = {attempt.error for attempt in desk.delivery(webhook_id, delivery.id)[1]}
    assert errors == {"hooks.example.org:443 is not an address that webhooks may reach"}
    assert receiver.received == []


def test_one_with_another_pepper_says_so_and_sends_nothing(
    service: Cluster, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    webhook_id, _ = subscribe(service, receiver.url())
    service.submit(ring=False)
    with caplog.at_level(logging.ERROR), sending(service, signer=Signer(b"x" * 32)):
        eventually(lambda: "DD_PEPPER is not that of the API" in caplog.text, 60)
    assert receiver.received == []
    with sending(service):
        eventually(over(service, webhook_id, "delivered"), 60)


def test_a_message_that_cannot_be_made_keeps_no_other_back(
    service: Cluster, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken, _ = subscribe(service, receiver.url("/broken"))
    whole, _ = subscribe(service, receiver.url())
    service.submit(ring=False)

    def spoilt(session: Any, settings: Any, delivery: Delivery) -> str:
        if delivery.webhook_id == broken:
            raise ValueError("a document of a version to come")
        return compose(session, settings, delivery)

    monkeypatch.setattr("app.webhooks.deliveries.compose", spoilt)
    with sending(service):
        eventually(over(service, whole, "delivered"), 60)
    assert f"messages of {broken} cannot be put together" in caplog.text
    assert over(service, broken, "pending")()


def test_a_disabled_one_is_told_nothing(service: Cluster, receiver: Receiver) -> None:
    webhook_id, _ = subscribe(service, receiver.url())
    other, _ = subscribe(service, receiver.url("/other"))
    service.submit(ring=False)
    with service.database.write() as session:
        webhook = session.get_one(Webhook, webhook_id)
        webhook.disabled_at = webhook.created_at
    with sending(service):
        eventually(over(service, other, "delivered"), 60)
    assert receiver.at("/hook") == []
