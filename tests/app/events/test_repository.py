"""Events about progress are pruned, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable

from app.core.database import Database
from app.events import queries, repository


def test_the_newest_progress_stays_with_everything_else(database: Database, add_job: Callable[..., str]) -> None:
    job, other = add_job(), add_job()
    with database.write() as session:
        for number in range(10):
            repository.append(session, job, repository.PROGRESS, "info", f"step {number}")
            repository.append(session, other, repository.PROGRESS, "info", f"step {number}")
            if number % 4 == 0:
                repository.append(session, job, "job.log", "info", f"remark {number}")
        repository.prune_progress(session, job, keep=3)
    with database.read() as session:
        left = [event.message for event in queries.of_job(session, "default", job)]
        assert left == ["remark 0", "remark 4", "step 7", "step 8", "remark 8", "step 9"]
        assert len(queries.of_job(session, "default", other)) == 10


def test_a_client_behind_a_pruned_event_gets_what_is_left(database: Database, add_job: Callable[..., str]) -> None:
    job = add_job()
    with database.write() as session:
        for number in range(1, 7):
            repository.append(session, job, repository.PROGRESS, "info", f"step {number}")
        repository.prune_progress(session, job, keep=2)
    with database.read() as session:
        assert [event.seq for event in queries.of_job(session, "default", job, after_seq=2)] == [5, 6]
        assert [event.seq for event in queries.between(session, job, 2, 6)] == [5, 6]


def test_few_are_left_alone(database: Database, add_job: Callable[..., str]) -> None:
    job = add_job()
    with database.write() as session:
        for number in range(3):
            repository.append(session, job, repository.PROGRESS, "info", f"step {number}")
        repository.prune_progress(session, job, keep=3)
    with database.read() as session:
        assert len(queries.of_job(session, "default", job)) == 3
