"""Rounds of the reconciler."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from app.core import broker
from app.core.storage import LocalStore
from app.core.tables import clock
from app.events import repository as events
from app.metrics import repository as metrics
from app.models.events import Event
from app.models.fleet import Worker
from app.models.jobs import Job, Outbox
from app.queue import fleet
from tests.chaos.harness import TENANT, Cluster
from tests.worker.conftest import claim
from worker.reconciler import Reconciler


@pytest.fixture
def reconciler(service: Cluster) -> Reconciler:
    return Reconciler(service.settings, service.database, LocalStore(service.home / "artifacts"))


def hire(service: Cluster, state: str = "idle") -> None:
    with service.database.write() as session:
        row = Worker(id=f"wrk_{state}", name="w", host="h", pid=1, device_class="cpu", facts={}, state=state)
        fleet.register(session, row)


def rings(service: Cluster) -> int:
    return len(list((service.settings.broker_dir / "queue").glob(f"*.{broker.queue_of('cpu')}.msg")))


def change(service: Cluster, **values: Any) -> None:
    with service.database.write() as session:
        session.execute(update(Job).values(values).execution_options(synchronize_session=False))


def test_a_lapsed_lease_goes_back_to_the_queue_and_rings(service: Cluster, reconciler: Reconciler) -> None:
    hire(service)
    job_id = service.submit(ring=False)
    with service.database.write() as session:
        session.query(Outbox).delete()
    claim(service, lease_s=0.05)
    time.sleep(0.1)
    assert reconciler.round()
    assert service.job(job_id).status == "queued"
    assert rings(service) == 2  # the doorbell that is owed, and one for the idle worker


def test_a_long_wait_ends(service: Cluster, reconciler: Reconciler) -> None:
    job_id = service.submit(ring=False)
    change(service, queued_at=clock(-700_000))
    reconciler.round()
    assert service.job(job_id).status == "expired"


def test_nobody_is_rung_for_nothing(service: Cluster, reconciler: Reconciler) -> None:
    hire(service)
    reconciler.round()
    service.submit(ring=False)
    change(service, not_before=clock(60))
    with service.database.write() as session:
        session.query(Outbox).delete()
    reconciler.round()
    assert rings(service) == 0
    change(service, not_before=None)
    reconciler.round()
    assert rings(service) == 1


def test_a_busy_worker_is_not_rung(service: Cluster, reconciler: Reconciler) -> None:
    hire(service, "busy")
    service.submit(ring=False)
    with service.database.write() as session:
        session.query(Outbox).delete()
    reconciler.round()
    assert rings(service) == 0


def test_one_leads_at_a_time(service: Cluster, reconciler: Reconciler) -> None:
    other = Reconciler(service.settings, service.database, LocalStore(service.home / "artifacts"))
    assert reconciler.round()
    assert not other.round()
    assert reconciler.round()
    time.sleep(1.1)
    assert other.round()
    assert not reconciler.round()


def test_one_step_that_fails_does_not_keep_the_others_from_their_work(
    service: Cluster, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OperationalError("select", {}, Exception("locked"))

    job_id = service.submit(ring=False)
    change(service, queued_at=clock(-700_000))
    monkeypatch.setattr("worker.reconciler.endings.lapsed", fail)
    assert reconciler.round()
    assert service.job(job_id).status == "expired"


def test_a_database_that_is_away_is_waited_for(
    service: Cluster, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OperationalError("select", {}, Exception("away"))

    with monkeypatch.context() as patched:
        patched.setattr("worker.reconciler.fleet.lead", fail)
        assert not reconciler.round()
    assert reconciler.round()


def test_a_lease_that_nobody_could_renew_is_left_until_its_worker_had_time_to(
    service: Cluster, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OperationalError("update", {}, Exception("database or disk is full"))

    job_id = service.submit(ring=False)
    claim(service, lease_s=0.05)
    with monkeypatch.context() as patched:
        patched.setattr("worker.reconciler.fleet.lead", fail)
        assert not reconciler.round()
    failed_at = time.monotonic()
    while service.job(job_id).status == "running":
        assert reconciler.round()
        assert time.monotonic() - failed_at < 60
        time.sleep(0.05)
    assert time.monotonic() - failed_at >= service.settings.lease_s
    assert service.job(job_id).failures == 1


def test_it_goes_round_until_it_is_told_to_end(service: Cluster, reconciler: Reconciler) -> None:
    ended = threading.Event()
    thread = threading.Thread(target=reconciler.run, args=(ended,))
    thread.start()
    job_id = service.submit(ring=False)
    change(service, queued_at=clock(-700_000))
    service.wait(job_id, lambda job: job.status == "expired")
    ended.set()
    thread.join(60)
    assert not thread.is_alive()


def test_unused_content_is_deleted_in_the_end(
    service: Cluster, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []

    def collect(*arguments: object) -> int:
        calls.append(arguments)
        return 0

    monkeypatch.setattr("worker.reconciler.artifacts.collect", collect)
    reconciler.round()
    assert calls == []
    monkeypatch.setattr("worker.reconciler.time.monotonic", lambda: 1e9)
    reconciler.round()
    reconciler.round()
    assert len(calls) == 1


def test_old_progress_is_removed_in_the_end(
    service: Cluster, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = service.submit(ring=False)
    with service.database.write() as session:
        for _ in range(7):
            events.append(session, job_id, events.PROGRESS, "info", "on", {"phase": "distilling"})
        session.execute(update(Event).where(Event.type == events.PROGRESS).values(at=clock(-4000)))
    monkeypatch.setattr("worker.reconciler._PRUNED_EVENTS", 2)
    reconciler.round()
    assert len([event for event in service.events(job_id) if event.type == events.PROGRESS]) == 7
    monkeypatch.setattr("worker.reconciler.time.monotonic", lambda: 1e9)
    reconciler.round()
    assert [event.seq for event in service.events(job_id) if event.type == events.PROGRESS] == [8]


def test_old_jobs_are_thinned_a_bounded_piece_a_round(service: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.reconciler._THINNINGS", 2)
    settings = service.settings.model_copy(update={"keep_details_days": 1.0})
    reconciler = Reconciler(settings, service.database, LocalStore(service.home / "artifacts"))
    job_id = service.submit(ring=False)
    readings = [(step, 1, "loss", float(step % 7)) for step in range(1, 40_000, 10)]
    with service.database.write() as session:
        metrics.ingest(session, job_id, TENANT, readings)
        events.append(session, job_id, "job.log", "info", "hello")
    change(service, status="succeeded", finished_at=clock(-2 * 86_400))
    kept = []
    for _ in range(4):
        assert reconciler.round()
        kept.append((len(service.points(job_id)), service.job(job_id).thinned_at is not None))
    assert [thinned for _, thinned in kept] == [False, False, True, True]
    counts = [count for count, _ in kept]
    assert len(readings) > counts[0] > counts[1] == counts[2] == counts[3] > 1000
    assert [event.type for event in service.events(job_id)] == ["job.created"]
