"""Old events about progress go, in batches, and readers notice nothing but their absence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from sqlalchemy import delete, select, update

from app.core.database import Database
from app.core.tables import clock
from app.events import queries
from app.events import repository as events
from app.events.stream import Tailer
from app.models.events import Event
from app.models.jobs import Job

BACKENDS = ("sqlite", "postgres")
AddJob = Callable[..., str]
MANY = 1000


def record(database: Database, job_id: str, count: int, phase: str | None, *, age_s: float = 4000) -> None:
    with database.write() as session:
        for done in range(count):
            seq = events.append(session, job_id, events.PROGRESS, "info", "on", {"phase": phase, "done": done})
            aged = update(Event).where(Event.job_id == job_id, Event.seq == seq).values(at=clock(-age_s))
            session.execute(aged.execution_options(synchronize_session=False))


def other(database: Database, job_id: str, **columns: object) -> None:
    """An old event of another type, after which the job has these columns."""
    with database.write() as session:
        seq = events.append(session, job_id, "job.state_changed", "info", "something")
        session.execute(update(Event).where(Event.job_id == job_id, Event.seq == seq).values(at=clock(-9000)))
        if columns:
            session.execute(update(Job).where(Job.id == job_id).values(columns))


def seqs(database: Database, job_id: str) -> list[int]:
    with database.read() as session:
        return list(session.execute(select(Event.seq).where(Event.job_id == job_id).order_by(Event.seq)).scalars())


def prune(database: Database, job_id: str, limit: int = MANY) -> int:
    with database.write() as session:
        return events.prune(session, job_id, limit)


def crowded(database: Database) -> list[str]:
    with database.read() as session:
        return list(events.crowded(session, MANY))


@pytest.fixture
def job(database: Database, add_job: AddJob) -> str:
    """Two attempts: 1 to 3 load, 4 is something else, 5 to 8 distil; 9 is something else, 10 to 12 distil again."""
    job_id = add_job(status="running", attempt=1)
    record(database, job_id, 3, "loading")
    other(database, job_id)
    record(database, job_id, 4, "distilling")
    other(database, job_id, attempt=2)
    record(database, job_id, 3, "distilling")
    return job_id


def test_the_last_of_each_phase_and_attempt_stays_with_all_other_events(database: Database, job: str) -> None:
    assert crowded(database) == [job]
    assert prune(database, job) == 7
    assert seqs(database, job) == [3, 4, 8, 9, 12]
    assert crowded(database) == []
    assert prune(database, job) == 0


def test_the_last_hour_stays(database: Database, job: str) -> None:
    record(database, job, 3, "distilling", age_s=3000)
    assert prune(database, job) == 8
    assert seqs(database, job) == [3, 4, 8, 9, 13, 14, 15]


def test_batches_take_the_oldest_first(database: Database, job: str) -> None:
    assert prune(database, job, 3) == 3
    assert seqs(database, job) == [3, 4, 6, 7, 8, 9, 10, 11, 12]
    assert crowded(database) == [job]


def test_other_jobs_and_progress_without_a_phase(database: Database, add_job: AddJob, job: str) -> None:
    neighbour = add_job(status="succeeded")
    record(database, neighbour, 3, None)
    assert sorted(crowded(database)) == sorted([job, neighbour])
    assert prune(database, neighbour) == 2
    assert seqs(database, neighbour) == [3]
    assert len(seqs(database, job)) == 12


def test_numbers_go_on_after_the_removed_ones(database: Database, job: str) -> None:
    prune(database, job)
    other(database, job)
    assert seqs(database, job)[-1] == 13


class TestReaders:
    @staticmethod
    async def _followed(database: Database, job_id: str, after: int) -> list[str]:
        async with asyncio.timeout(20):
            stream = Tailer(database, poll_s=0.02).job("default", job_id, after)
            return [item.id or item.kind async for batch in stream for item in batch]

    def test_a_stream_that_resumes_behind_removed_events_sends_the_rest(self, database: Database, job: str) -> None:
        prune(database, job)
        other(database, job, status="succeeded")
        assert asyncio.run(self._followed(database, job, 6)) == ["8", "9", "12", "13", "end"]

    def test_a_stream_ends_where_the_newest_event_is_gone(self, database: Database, job: str) -> None:
        tailer = Tailer(database, poll_s=0.02)

        def finish() -> None:
            with database.write() as session:
                events.append(session, job, "job.state_changed", "info", "running → succeeded")
                gone = events.append(session, job, events.PROGRESS, "info", "on", {"phase": "distilling"})
                session.execute(delete(Event).where(Event.job_id == job, Event.seq == gone))
                session.execute(update(Job).where(Job.id == job).values(status="succeeded"))

        async def main() -> list[str]:
            async with asyncio.timeout(20):
                stream = tailer.job("default", job, 11)
                found = [item.id for item in await anext(stream)]
                await asyncio.to_thread(finish)
                return found + [item.id or item.kind async for batch in stream for item in batch]

        assert asyncio.run(main()) == ["12", "13", "end"]

    def test_pages_skip_the_removed_ones(self, database: Database, job: str) -> None:
        prune(database, job)
        with database.read() as session:
            found = queries.of_job(session, "default", job, after_seq=5, limit=2)
        assert [event.seq for event in found] == [8, 9]

    def test_the_stream_of_all_jobs_goes_on_after_a_removed_event(self, database: Database, add_job: AddJob) -> None:
        job_id = add_job(status="running")
        for _ in range(3):
            with database.write() as session:
                events.append(session, job_id, events.PROGRESS, "info", "on", {"phase": "distilling"})
        with database.write() as session:
            known = queries.of_job(session, "default", job_id)
            session.execute(delete(Event).where(Event.job_id == job_id, Event.seq == 1))
        tailer = Tailer(database, poll_s=0.02)
        start = tailer.start("default", known[0].id)

        async def main() -> list[str]:
            async with asyncio.timeout(20):
                stream = tailer.tenant("default", start)
                return [item.id for item in await anext(stream)]

        assert asyncio.run(main()) == [known[1].id, known[2].id]
