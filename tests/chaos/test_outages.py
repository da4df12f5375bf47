"""Nobody can write for longer than a lease lasts: no job pays for it, and a worker that died meanwhile is noticed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from tests import migrated
from tests.chaos.disks import empty_wal, full, small
from tests.chaos.expectations import assert_undisturbed, events_of, expect_no_engine
from tests.chaos.harness import Cluster, cluster, eventually

STEPS = 60
DISK = 32 << 20


@pytest.fixture
def on_a_small_disk(tmp_path: Path) -> Iterator[Cluster]:
    """The embedded service as it is by default: everything on one disk."""
    home = tmp_path / "home"
    with small(home, DISK), cluster(home) as made:
        yield made


@contextmanager
def nothing_fits(made: Cluster) -> Iterator[None]:
    """The disk is full to the brim; lasts until the leases that there were are over, and once more as long."""
    empty_wal(made.home / "ddservice.sqlite3")
    with full(made.home):
        yield
        time.sleep(2 * made.settings.lease_s)


@contextmanager
def away(url: str) -> Iterator[None]:
    """A PostgreSQL database lets nobody in, and has thrown everybody out."""
    name = make_url(url).database
    admin = create_engine(make_url(url).set(database="postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false"))
        connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"), {"name": name}
        )
    try:
        yield
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true"))
        admin.dispose()


def expect_no_charge(made: Cluster, job_id: str) -> None:
    """The job has paid for nothing: no attempt of it was lost, and none counts as failed."""
    assert not events_of(made, job_id, "attempt.lost"), made.story(job_id)
    moves = events_of(made, job_id, "job.state_changed")
    codes = {event.data["code"] for event in moves if "code" in event.data}
    assert codes <= {"no_space"}, made.story(job_id)
    assert made.job(job_id).failures == 0


@pytest.mark.mount
def test_a_full_disk_with_the_database_on_it_costs_no_attempt(on_a_small_disk: Cluster) -> None:
    made = on_a_small_disk
    job_id = made.submit(iterations=STEPS)
    worker = made.worker()
    made.wait(job_id, lambda job: (job.checkpoint_step or 0) >= 10)
    with nothing_fits(made):
        expect_no_engine(made)
        before = made.job(job_id)
    made.wait(job_id, "succeeded")
    assert (before.status, before.attempt) == ("running", 1)
    assert worker.process.poll() is None
    expect_no_charge(made, job_id)
    assert_undisturbed(made, job_id, steps=STEPS)


@pytest.mark.mount
def test_a_worker_that_dies_while_the_disk_is_full_is_noticed_later(on_a_small_disk: Cluster) -> None:
    made = on_a_small_disk
    job_id = made.submit(iterations=STEPS)
    doomed = made.worker(DD_RECONCILER="external")
    made.reconciler()
    eventually(made.reconciled)
    made.wait(job_id, lambda job: (job.checkpoint_step or 0) >= 10)
    with nothing_fits(made):
        doomed.kill()
        expect_no_engine(made)
    freed_at = time.monotonic()
    made.wait(job_id, lambda job: job.status == "queued")
    # Its worker had as long as a lease to say that it lives, less the pause since the last write that failed.
    assert time.monotonic() - freed_at > made.settings.lease_s - 3 * made.settings.reconcile_s
    (lost,) = events_of(made, job_id, "attempt.lost")
    assert lost.data["code"] == "worker_lost"
    made.worker()
    made.wait(job_id, "succeeded")
    assert_undisturbed(made, job_id, steps=STEPS)


@pytest.mark.mount
def test_a_reconciler_that_finds_the_disk_full_waits_for_room(on_a_small_disk: Cluster) -> None:
    made = on_a_small_disk
    with nothing_fits(made):
        reconciler = made.reconciler()
        eventually(lambda: reconciler.has_open(made.home / migrated.NAME))
    eventually(made.reconciled)


@pytest.mark.postgres
@pytest.mark.redis
def test_postgres_is_away_for_longer_than_a_lease(production: Cluster) -> None:
    job_id = production.submit(iterations=STEPS)
    production.worker()
    production.wait(job_id, lambda job: (job.checkpoint_step or 0) >= 10)
    with away(production.settings.database_url):
        expect_no_engine(production)
        time.sleep(2 * production.settings.lease_s)
    production.wait(job_id, "succeeded")
    expect_no_charge(production, job_id)
    assert_undisturbed(production, job_id, steps=STEPS)
