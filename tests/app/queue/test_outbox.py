"""Doorbells: sent after the change, kept while the broker is away, never in anybody's way."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select, update

from app.core import broker
from app.core.database import Database
from app.core.settings import Settings
from app.core.tables import clock
from app.models.fleet import Worker
from app.models.jobs import Outbox
from app.queue import fleet, outbox
from app.queue.outbox import publish_pending  # before a fixture of this folder replaces it

BACKENDS = ("sqlite", "postgres")


def hire(database: Database, device_class: str = "cpu", **columns: Any) -> str:
    worker_id = f"wrk_{device_class}_{len(columns)}"
    row = {"name": "w", "host": "h", "pid": 1, "facts": {}, "state": "idle"} | columns
    with database.write() as session:
        fleet.register(session, Worker(id=worker_id, device_class=device_class, **row))
    return worker_id


def owe(database: Database, device_class: str = "any") -> None:
    with database.write() as session:
        outbox.add(session, device_class)


def owed(database: Database) -> list[Outbox]:
    with database.read() as session:
        return list(session.scalars(select(Outbox).order_by(Outbox.id)))


def messages(settings: Settings, device_class: str = "cpu") -> list[dict[str, Any]]:
    files = sorted((settings.broker_dir / "queue").glob(f"*.{broker.queue_of(device_class)}.msg"))
    return [json.loads(file.read_text()) for file in files]


def test_a_doorbell_goes_to_every_class_that_can_answer(settings: Settings, database: Database) -> None:
    hire(database, "cpu")
    hire(database, "cuda")
    for device_class in ("any", "cpu", "cuda"):
        owe(database, device_class)
    assert publish_pending(database, settings, limit_s=5) == 3
    assert owed(database) == []
    assert len(messages(settings, "cpu")) == 2
    assert len(messages(settings, "cuda")) == 3
    assert messages(settings)[0]["headers"]["task"] == broker.DOORBELL


@pytest.mark.parametrize("gone", [{"state": "stopped"}, {"state": "quarantined"}, {"heartbeat_at": clock(-3600)}])
def test_nobody_is_rung_where_nobody_lives(settings: Settings, database: Database, gone: dict[str, Any]) -> None:
    hire(database, **gone)
    owe(database)
    assert publish_pending(database, settings, limit_s=5) == 1
    assert messages(settings) == []


def test_nothing_owed_costs_no_broker(settings: Settings, database: Database) -> None:
    assert publish_pending(database, settings) == 0
    assert not settings.broker_dir.exists()


@pytest.fixture
def deaf() -> Iterator[str]:
    """A broker that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


@pytest.fixture
def absent() -> str:
    """A broker that is not there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"redis://127.0.0.1:{port}/0"


@pytest.mark.parametrize("kind", ["deaf", "absent"])
def test_a_broker_that_is_down_delays_nobody(
    settings: Settings, database: Database, kind: str, request: pytest.FixtureRequest
) -> None:
    down = settings.model_copy(update={"broker_url": request.getfixturevalue(kind)})
    hire(database)
    owe(database)
    owe(database)
    began = time.monotonic()
    assert publish_pending(database, down, limit_s=0.25) == 0
    assert time.monotonic() - began < 1.5
    assert [row.tries for row in owed(database)] == [1, 1]
    assert publish_pending(database, down, limit_s=0.25) == 0
    assert [row.tries for row in owed(database)] == [1, 1], "not due again yet"
    with database.write() as session:
        session.execute(update(Outbox).values(available_at=clock()).execution_options(synchronize_session=False))
    assert publish_pending(database, settings, limit_s=5) == 2
    assert owed(database) == []


def test_a_database_that_is_down_is_not_the_callers_trouble(tmp_path: Path) -> None:
    empty = Settings(home=tmp_path)
    database = Database(empty)
    assert publish_pending(database, empty) == 0
    database.dispose()


def test_what_the_time_does_not_allow_is_sent_later(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    hire(database)
    for _ in range(3):
        owe(database)

    now = [0.0]

    def slow(*_: Any, **__: Any) -> bool:
        now[0] += 0.2
        return True

    monkeypatch.setattr(outbox, "ring", slow)
    monkeypatch.setattr(outbox, "time", SimpleNamespace(monotonic=lambda: now[0]))
    assert publish_pending(database, settings, limit_s=0.3) == 2
    assert [row.tries for row in owed(database)] == [1]


def test_folder_messages_survive_a_lost_folder_and_half_written_files(
    settings: Settings, consumer: Callable[[Settings], list[str]]
) -> None:
    assert consumer(settings) == []
    assert outbox.ring(settings, ["cpu"])
    queue = settings.broker_dir / "queue"
    (queue / f"000_broken.{broker.queue_of('cpu')}.msg").write_text("")
    assert consumer(settings) == []  # the broken one is dropped
    assert consumer(settings) == [broker.DOORBELL]
    for path in queue.iterdir():
        path.unlink()
    queue.rmdir()
    assert consumer(settings) == []


@pytest.fixture
def consumer() -> Callable[[Settings], list[str]]:
    """Takes what is in the queue for CPUs, at most one message."""
    from celery import Celery

    def take(settings: Settings) -> list[str]:
        app = Celery(set_as_current=False)
        app.config_from_object(broker.configuration(settings))
        with app.connection_for_read() as connection:
            message = connection.default_channel.basic_get(broker.queue_of("cpu"), no_ack=True)
        return [] if message is None else [message.headers["task"]]

    return take
