"""Which leases that are over say something."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from app.core.settings import Settings
from worker.outages import Outages


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outages(tmp_path: Path, clock: Clock) -> Outages:
    return Outages(Settings(home=tmp_path, lease_s=60, heartbeat_s=10), clock)


def fail(outages: Outages) -> None:
    with pytest.raises(OperationalError), outages.watch():
        raise OperationalError("UPDATE", {}, Exception("database or disk is full"))


def test_without_an_outage_a_lease_that_is_over_is_evidence(outages: Outages, clock: Clock) -> None:
    assert not outages.excuse
    for _ in range(20):
        with outages.watch():
            clock.now += 2
        clock.now += 5
    assert not outages.excuse


def test_after_the_last_failed_write_workers_have_as_long_as_a_lease(outages: Outages, clock: Clock) -> None:
    for _ in range(30):
        fail(outages)
        clock.now += 5
    with outages.watch():
        pass
    assert outages.excuse
    clock.now += 54.9  # the last failure was 5 s before
    assert outages.excuse
    clock.now += 0.1
    assert not outages.excuse


@pytest.mark.parametrize(("waited", "excused"), [(49.9, False), (50.0, True)])
def test_a_write_that_waited_until_a_lease_could_lapse_is_an_outage(
    outages: Outages, clock: Clock, waited: float, excused: bool
) -> None:
    """A worker renews every 10 s a lease of 60 s, so an outage of less than 50 s costs nobody the lease."""
    with outages.watch():
        clock.now += waited
    assert outages.excuse == excused
    clock.now += 60
    assert not outages.excuse
