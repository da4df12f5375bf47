from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from app.core.database import Database
from app.events import queries
from app.events import repository as events
from app.events.sse import Batch, Item
from app.events.stream import QUEUE, Client, Tailer
from app.models.events import Event
from app.models.jobs import Job

BACKENDS = ("sqlite", "postgres")
AddJob = Callable[..., str]
LIMIT_S = 20


def item(seq: int, *, droppable: bool = False) -> Item:
    return Item("event", "{}", seq, f"evt_{seq}", droppable)


def record(database: Database, job_id: str, count: int = 1, type: str = "job.log") -> None:
    for _ in range(count):
        with database.write() as session:
            events.append(session, job_id, type, "info", "something")


def end(database: Database, job_id: str) -> None:
    with database.write() as session:
        session.execute(update(Job).where(Job.id == job_id).values(status="succeeded", version=Job.version + 1))
        events.append(session, job_id, "job.state_changed", "info", "running → succeeded")


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    async def limited() -> Any:
        async with asyncio.timeout(LIMIT_S):
            return await main()

    return asyncio.run(limited())


async def take(stream: AsyncIterator[Batch], count: int) -> list[Item]:
    """The next ``count`` messages."""
    found: list[Item] = []
    while len(found) < count:
        found += await anext(stream)
    return found


async def rest(stream: AsyncIterator[Batch]) -> list[Item]:
    return [item async for batch in stream for item in batch]


@pytest.fixture
def tailer(database: Database) -> Tailer:
    return Tailer(database, poll_s=0.02)


class TestClient:
    def test_progress_gives_way_to_other_events(self) -> None:
        async def main() -> list[int]:
            client = Client(limit=4)
            for seq in range(1, 7):
                client.offer(item(seq, droppable=seq % 2 == 1))
            client.offer(Item("end", "{}"))
            return [found.seq for found in await rest(client.batches())]

        assert run(main) == [2, 4, 6, 0]

    def test_a_client_that_never_reads_is_closed(self) -> None:
        async def main() -> tuple[bool, list[Item]]:
            client = Client()
            for seq in range(QUEUE + 1):
                client.offer(item(seq))
            return client.closed, await rest(client.batches())

        assert run(main) == (True, [])

    def test_remarks_on_progress_do_not_pile_up(self) -> None:
        async def main() -> list[str]:
            client = Client(limit=2)
            for version in range(100):
                client.offer(Item("progress", str(version)))
            client.offer(item(1))
            return [found.data for found in await anext(client.batches())]

        assert run(main) == ["{}", "99"]

    def test_what_waits_comes_together_and_silence_is_broken(self) -> None:
        async def main() -> list[list[int]]:
            client = Client()
            client.offer(item(1))
            client.offer(item(2))
            batches = client.batches(ping_s=0.01)
            found = [await anext(batches), await anext(batches)]
            client.offer(item(3))
            client.offer(Item("end", "{}"))
            return [[one.seq for one in batch] for batch in [*found, *[left async for left in batches]]]

        assert run(main) == [[1, 2], [], [3, 0]]


class TestJob:
    def test_backlog_then_live_then_end(self, database: Database, add_job: AddJob, tailer: Tailer) -> None:
        job = add_job(status="running")
        record(database, job, 250)

        async def main() -> list[Item]:
            stream = tailer.job("default", job, 0)
            found = await take(stream, 250)
            await asyncio.to_thread(record, database, job, 3)
            found += await take(stream, 3)
            await asyncio.to_thread(end, database, job)
            return found + await rest(stream)

        found = run(main)
        assert [message.id for message in found[:-1]] == [str(seq) for seq in range(1, 255)]
        assert (found[-1].kind, json.loads(found[-1].data)) == ("end", {"status": "succeeded"})
        assert json.loads(found[0].data)["type"] == "job.log"

    def test_goes_on_after_the_last_event(self, database: Database, add_job: AddJob, tailer: Tailer) -> None:
        job = add_job(status="running")
        record(database, job, 5)
        end(database, job)

        async def main() -> list[Item]:
            return await rest(tailer.job("default", job, 4))

        assert [message.id for message in run(main)] == ["5", "6", ""]

    def test_no_gap_and_no_duplicate_while_events_pour_in(
        self, database: Database, add_job: AddJob, tailer: Tailer
    ) -> None:
        job = add_job(status="running")

        async def follow(delay: float) -> list[str]:
            await asyncio.sleep(delay)
            return [message.id for message in await rest(tailer.job("default", job, 0)) if message.kind == "event"]

        async def main() -> list[list[str]]:
            clients = [asyncio.create_task(follow(delay / 50)) for delay in range(8)]
            await asyncio.to_thread(record, database, job, 60)
            await asyncio.to_thread(end, database, job)
            return await asyncio.gather(*clients)

        for ids in run(main):
            assert ids == [str(seq) for seq in range(1, 62)]

    def test_progress_is_told_to_those_who_ask(self, database: Database, add_job: AddJob, tailer: Tailer) -> None:
        job = add_job(status="running")

        def change() -> None:
            with database.write() as session:
                session.execute(update(Job).where(Job.id == job).values(version=Job.version + 1, step=7))

        async def main() -> tuple[list[Item], list[Item]]:
            quiet = asyncio.create_task(rest(tailer.job("default", job, 0)))
            asking = tailer.job("default", job, 0, progress=True)
            told = await take(asking, 1)
            await asyncio.to_thread(change)
            told += await take(asking, 1)
            await asyncio.to_thread(end, database, job)
            await rest(asking)
            return told, await quiet

        told, quiet = run(main)
        assert [(message.kind, message.id) for message in told] == [("progress", "")] * 2
        stands = [json.loads(message.data) for message in told]
        assert stands == [{"job_id": job, "status": "running", "version": version} for version in (1, 2)]
        assert [message.kind for message in quiet] == ["event", "end"]

    def test_stopping_ends_every_stream(self, database: Database, add_job: AddJob, tailer: Tailer) -> None:
        job = add_job(status="running")

        async def main() -> list[Item]:
            streams = [asyncio.create_task(rest(tailer.job("default", job, 0))) for _ in range(3)]
            streams.append(asyncio.create_task(rest(tailer.tenant("default", tailer.start("default", None)))))
            await asyncio.sleep(0.1)
            await asyncio.to_thread(tailer.stop)
            late = await rest(tailer.job("default", job, 0))
            return late + [message for part in await asyncio.gather(*streams) for message in part]

        assert run(main) == []

    def test_a_failing_database_loses_nothing(
        self, database: Database, add_job: AddJob, tailer: Tailer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = add_job(status="running")
        read, failures = tailer._read, iter(range(3))

        def failing(*arguments: Any) -> Any:
            if next(failures, None) is not None:
                raise OperationalError("SELECT", {}, Exception("down"))
            return read(*arguments)

        monkeypatch.setattr(tailer, "_read", failing)

        async def main() -> list[Item]:
            stream = asyncio.create_task(rest(tailer.job("default", job, 0)))
            await asyncio.sleep(0.05)
            await asyncio.to_thread(end, database, job)
            return await stream

        assert [message.kind for message in run(main)] == ["event", "end"]
        assert next(failures, None) is None

    def test_a_deleted_job_ends_its_streams(self, database: Database, add_job: AddJob, tailer: Tailer) -> None:
        job = add_job(status="running")

        def bury() -> None:
            with database.write() as session:
                session.execute(update(Job).where(Job.id == job).values(deleted_at=Job.created_at))

        async def main() -> list[Item]:
            stream = asyncio.create_task(rest(tailer.job("default", job, 0)))
            await asyncio.sleep(0.05)
            await asyncio.to_thread(bury)
            return await stream

        assert [message.kind for message in run(main)] == ["end"]

    def test_reading_costs_the_same_for_one_client_and_for_many(
        self, database: Database, add_job: AddJob, tailer: Tailer
    ) -> None:
        job = add_job(status="running")
        statements = 0

        def count(*_: Any) -> None:
            nonlocal statements
            statements += 1

        async def polled(clients: int, most: float = math.inf) -> float:
            """Statements a second, once the streams have begun: on a busy machine that takes a while."""
            nonlocal statements
            streams = [asyncio.create_task(rest(tailer.job("default", job, 0))) for _ in range(clients)]
            rate, deadline = math.inf, time.monotonic() + 60
            while (rate > most and time.monotonic() < deadline) or rate == math.inf:
                await asyncio.sleep(0.6)
                statements, started = 0, time.monotonic()
                await asyncio.sleep(0.6)
                rate = statements / (time.monotonic() - started)
            for stream in streams:
                stream.cancel()
            await asyncio.gather(*streams, return_exceptions=True)
            return rate

        async def main() -> tuple[float, float]:
            one = await polled(1)
            return one, await polled(60, most=one * 1.5)

        sqlalchemy_event.listen(database.engine, "before_cursor_execute", count)
        one, many = run(main)
        assert 0 < many <= one * 1.5

    def test_nothing_is_read_while_nobody_listens(self, database: Database, add_job: AddJob, tailer: Tailer) -> None:
        job = add_job(status="running")

        async def main() -> asyncio.Task[None] | None:
            stream = tailer.job("default", job, 0)
            waiting = asyncio.create_task(anext(stream))
            await asyncio.sleep(0.1)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await stream.aclose()
            await asyncio.sleep(0.1)
            return tailer._task

        task = run(main)
        assert task is not None
        assert task.done()


class TestTenant:
    def test_new_events_of_every_job(self, database: Database, add_job: AddJob, tailer: Tailer) -> None:
        first, second = add_job(), add_job()
        record(database, first)

        async def main() -> list[Item]:
            stream = tailer.tenant("default", tailer.start("default", None))
            wanted = asyncio.create_task(take(stream, 2))
            await asyncio.sleep(0.2)
            await asyncio.to_thread(record, database, second)
            await asyncio.to_thread(record, database, first)
            found = await wanted
            await stream.aclose()
            return found

        found = [json.loads(message.data) for message in run(main)]
        assert [(event["job_id"], event["seq"]) for event in found] == [(second, 1), (first, 2)]

    def test_goes_on_where_it_broke_off(self, database: Database, add_job: AddJob, tailer: Tailer) -> None:
        job = add_job()
        record(database, job, 3)

        async def main() -> list[str]:
            with database.read() as session:
                known = queries.of_job(session, "default", job)
            stream = tailer.tenant("default", tailer.start("default", known[0].id))
            wanted = asyncio.create_task(take(stream, 4))
            await asyncio.sleep(0.2)
            await asyncio.to_thread(record, database, job, 2)
            found = await wanted
            await stream.aclose()
            assert [message.id for message in found[:2]] == [event.id for event in known[1:]]
            return [message.id for message in found]

        ids = run(main)
        assert len(set(ids)) == 4

    def test_nothing_is_lost_between_the_start_and_the_first_look(
        self, database: Database, add_job: AddJob, tailer: Tailer
    ) -> None:
        job = add_job()
        record(database, job)
        start = tailer.start("default", None)
        record(database, job)

        async def main() -> list[Item]:
            stream = tailer.tenant("default", start)
            found = await take(stream, 1)
            await asyncio.to_thread(record, database, job)
            found += await take(stream, 1)
            await stream.aclose()
            return found

        assert [json.loads(message.data)["seq"] for message in run(main)] == [2, 3]

    def test_what_was_seen_is_not_loaded_again(self, database: Database, add_job: AddJob) -> None:
        job = add_job()
        record(database, job, 3)
        with database.read() as session:
            known = queries.moments(session, "default", datetime.fromtimestamp(0, UTC), 10)
        record(database, job, 2)
        with database.read() as session:
            new = queries.unseen(session, "default", datetime.fromtimestamp(0, UTC), known, 10)
            assert len(session.identity_map) == 2
            assert not queries.unseen(session, "rival", datetime.fromtimestamp(0, UTC), (), 10)
        assert ([event.seq for event in new], len(known)) == ([4, 5], 3)

    def test_events_of_one_moment_come_as_the_job_numbers_them(self, database: Database, add_job: AddJob) -> None:
        job, moment = add_job(), datetime(2026, 1, 1, tzinfo=UTC)
        record(database, job, 20)
        with database.write() as session:
            session.execute(update(Event).values(at=moment))
        with database.read() as session:
            events = queries.unseen(session, "default", moment, (), 100)
        assert [event.seq for event in events] == list(range(1, 21))

    def test_other_tenants_are_silent(self, database: Database, add_job: AddJob, tailer: Tailer) -> None:
        job = add_job()

        async def main() -> list[Item]:
            stream = asyncio.create_task(rest(tailer.tenant("rival", tailer.start("rival", None))))
            await asyncio.sleep(0.1)
            await asyncio.to_thread(record, database, job, 2)
            await asyncio.sleep(0.2)
            tailer.stop()
            return await stream

        assert run(main) == []
