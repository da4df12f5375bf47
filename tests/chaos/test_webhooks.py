"""Messages to webhooks on whole services: a sender that is killed, and the road from a job to its receiver."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from app.core.tables import clock
from app.models.webhooks import Delivery
from tests.chaos.harness import Cluster, cluster, eventually, postgres_database, redis_broker
from tests.receiver import Receiver, receiving
from tests.worker.test_webhooks import over, sent, subscribe

LOOPBACK = {"DD_WEBHOOK_NETWORKS": "127.0.0.0/8"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture(params=["embedded", pytest.param("production", marks=[pytest.mark.postgres, pytest.mark.redis])])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    home = tmp_path / "home"
    if request.param == "embedded":
        with cluster(home, **LOOPBACK) as embedded:
            yield embedded
        return
    with (
        postgres_database(request.getfixturevalue("postgres_url")) as database,
        redis_broker(request.getfixturevalue("redis_url")) as broker,
        cluster(home, database, broker, **LOOPBACK, DD_RECONCILER="external") as production,
    ):
        yield production


def test_a_killed_sender_sends_exactly_what_was_recorded(made: Cluster, receiver: Receiver) -> None:
    """It dies between the answer and the record of it, so the next one repeats the same bytes."""
    webhook_id, secret = subscribe(made, receiver.url(), "job.created")
    for seed in range(3):
        made.submit(seed=seed, ring=False)
    doomed = made.worker("webhook.sent:kill9:2", module="worker.reconciler", DD_WEBHOOK_TIMEOUT_S="0.5")
    assert doomed.process.wait(60) == -9
    first = {one.id: one.body for one in receiver.received}
    assert first
    with made.database.write() as session:  # Until then nobody may take what the killed one had taken.
        session.execute(update(Delivery).values(due_at=clock(-1)))
    made.reconciler()
    eventually(over(made, webhook_id, "delivered", "delivered", "delivered"))
    recorded = {one.id: (one.payload or "").encode() for one in sent(made, webhook_id)}
    assert {one.id: one.body for one in receiver.received} == recorded
    assert all(one.body == recorded[one.id] for one in receiver.received)
    assert 4 <= len(receiver.received) <= 6  # two or three at first, and again those that nobody had settled
    for one in receiver.received:
        one.verify(secret)


def test_a_finished_job_is_told_with_its_results(made: Cluster, receiver: Receiver) -> None:
    webhook_id, secret = subscribe(made, receiver.url(), "job.running", "job.succeeded")
    made.worker()
    if made.settings.reconciler == "external":
        made.reconciler()
    job_id = made.submit(iterations=10)
    made.wait(job_id, "succeeded")
    eventually(over(made, webhook_id, "delivered", "delivered"))
    (told,) = [found for one in receiver.received if (found := one.verify(secret))["type"] == "job.succeeded"]
    assert told["data"]["job"]["id"] == job_id
    assert told["data"]["job"]["status"] == "succeeded"
    assert told["data"]["job"]["results"] is not None
