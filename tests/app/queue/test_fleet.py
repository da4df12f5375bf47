"""What the database knows of workers, and who has which duty."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, update

from app.core.database import Database
from app.core.tables import clock
from app.models.fleet import Leader, Worker
from app.queue import fleet

BACKENDS = ("sqlite", "postgres")


def hire(database: Database, worker_id: str = "wrk_1", **columns: Any) -> None:
    row = {"name": "w", "host": "h", "pid": 1, "facts": {}, "state": "idle", "device_class": "cpu"} | columns
    with database.write() as session:
        fleet.register(session, Worker(id=worker_id, **row))


def row(database: Database, worker_id: str = "wrk_1") -> Worker | None:
    with database.read() as session:
        return session.execute(select(Worker).where(Worker.id == worker_id)).scalar_one_or_none()


def write(database: Database, act: Callable[..., Any], *arguments: Any) -> Any:
    with database.write() as session:
        return act(session, *arguments)


def test_a_worker_is_idle_busy_and_idle_again(database: Database) -> None:
    hire(database)
    write(database, fleet.set_state, "wrk_1", "busy", "job_1")
    found = row(database)
    assert found is not None
    assert (found.state, found.job_id) == ("busy", "job_1")
    with database.read() as session:
        assert not fleet.is_idle(session, "wrk_1")
        assert fleet.may_claim(session, "wrk_1")
        assert fleet.idle_workers(session, 60) == {}
    write(database, fleet.set_state, "wrk_1", "idle")
    with database.read() as session:
        assert fleet.is_idle(session, "wrk_1")
        assert fleet.idle_workers(session, 60) == {"cpu": 1}


@pytest.mark.parametrize("state", ["draining", "quarantined", "stopped"])
def test_some_states_are_final(database: Database, state: fleet.WorkerState) -> None:
    hire(database)
    write(database, fleet.set_state, "wrk_1", "busy", "job_1")
    write(database, fleet.set_state, "wrk_1", state)
    write(database, fleet.set_state, "wrk_1", "idle")
    found = row(database)
    assert found is not None
    assert (found.state, found.job_id) == (state, None)
    with database.read() as session:
        assert not fleet.may_claim(session, "wrk_1")


def test_a_worker_that_loses_three_different_jobs_is_quarantined(database: Database) -> None:
    hire(database)
    lost = [write(database, fleet.record_loss, "wrk_1", job_id) for job_id in ("a", "b", "b", "a")]
    assert lost == [False] * 4
    assert write(database, fleet.record_loss, "wrk_1", "c")
    found = row(database)
    assert found is not None
    assert found.state == "quarantined"
    assert not write(database, fleet.record_loss, "wrk_unknown", "c")


def test_old_losses_are_forgotten(database: Database) -> None:
    long_ago = round((time.time() - fleet.LOSSES_WINDOW_S - 60) * 1000)
    hire(database, losses=[{"job_id": name, "at_ms": long_ago} for name in ("a", "b")])
    assert not write(database, fleet.record_loss, "wrk_1", "c")


def test_a_heartbeat_says_whether_the_row_is_there(database: Database) -> None:
    assert not write(database, fleet.beat, "wrk_1")
    hire(database, heartbeat_at=clock(-120))
    with database.read() as session:
        assert fleet.live_classes(session, 60) == set()
    assert write(database, fleet.beat, "wrk_1")
    with database.read() as session:
        assert fleet.live_classes(session, 60) == {"cpu"}


def test_rows_of_workers_long_gone_are_dropped(database: Database) -> None:
    hire(database, "wrk_old", heartbeat_at=clock(-100_000))
    hire(database, "wrk_new")
    assert row(database, "wrk_old") is None


def test_a_duty_has_one_holder_until_its_lease_ends(database: Database) -> None:
    assert write(database, fleet.lead, "reconcile", "a", 60)
    assert write(database, fleet.lead, "reconcile", "a", 60)
    assert not write(database, fleet.lead, "reconcile", "b", 60)
    assert write(database, fleet.lead, "collect", "b", 60)
    with database.write() as session:
        session.execute(update(Leader).where(Leader.duty == "reconcile").values(lease_until=clock(-1)))
    assert write(database, fleet.lead, "reconcile", "b", 60)
    assert not write(database, fleet.lead, "reconcile", "a", 60)
