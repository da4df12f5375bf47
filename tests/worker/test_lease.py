"""A lease is kept, lost, or given up in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import text, update

from app.models.jobs import Job
from app.queue.leases import Claim
from tests.chaos.harness import Cluster
from tests.worker.conftest import claim
from worker.lease import LeaseKeeper


@pytest.fixture
def claimed(service: Cluster) -> Claim:
    service.submit(ring=False)
    return claim(service, service.settings.lease_s)


@pytest.fixture
def keeper(service: Cluster, claimed: Claim) -> Iterator[LeaseKeeper]:
    made = LeaseKeeper(service.database, service.settings, claimed)
    made.start()
    yield made
    made.stop()


def wait(until: Callable[[], object], timeout: float = 60) -> None:
    give_up_at = time.monotonic() + timeout
    while not until():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def test_a_kept_lease_does_not_end(service: Cluster, claimed: Claim, keeper: LeaseKeeper) -> None:
    first = service.job(claimed.job_id).lease_until
    time.sleep(service.settings.heartbeat_s * 3)
    renewed = service.job(claimed.job_id).lease_until
    assert first is not None
    assert renewed is not None
    assert (renewed - first).total_seconds() > service.settings.heartbeat_s
    assert not keeper.over


def test_a_wish_is_heard_between_heartbeats(service: Cluster, claimed: Claim, keeper: LeaseKeeper) -> None:
    service.cancel(claimed.job_id, keep_result=True)
    wait(lambda: keeper.wish.desired == "cancel", timeout=service.settings.poll_s * 5)
    assert keeper.wish.keep_result


def test_a_job_that_somebody_took_is_lost_and_its_engine_killed(
    service: Cluster, claimed: Claim, keeper: LeaseKeeper
) -> None:
    calls: list[str] = []
    keeper.guard(lambda: calls.append("save"), lambda: calls.append("kill"))
    with service.database.write() as session:
        session.execute(update(Job).values(fence=Job.fence + 1).execution_options(synchronize_session=False))
    wait(lambda: calls == ["kill"])
    assert keeper.lost
    assert keeper.over


def test_an_engine_is_told_to_save_and_killed_before_the_lease_is_over(
    service: Cluster, claimed: Claim, keeper: LeaseKeeper
) -> None:
    calls: list[tuple[str, float]] = []
    keeper.guard(lambda: calls.append(("save", keeper.age_s)), lambda: calls.append(("kill", keeper.age_s)))
    with service.database.write() as session:
        session.execute(text("SELECT 1"))  # holds the write lock
        wait(lambda: len(calls) == 2)
        assert keeper.faded
    (first, saved_at), (second, killed_at) = calls
    assert (first, second) == ("save", "kill")
    assert 1.5 <= saved_at < killed_at < service.settings.lease_s
    wait(lambda: keeper.age_s < 1)  # the database is back, and so is the lease
    assert not keeper.over
