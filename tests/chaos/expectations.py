"""What tests of faults look for."""

from __future__ import annotations

import hashlib
import time

from app.models.events import Event
from tests.chaos.dummy_engine import advance, result_of, state_after
from tests.chaos.harness import Cluster


def assert_undisturbed(cluster: Cluster, job_id: str, *, steps: int, seed: int = 1) -> None:
    """Result and readings are those of a run that nothing has happened to, and the invariants hold."""
    assert cluster.digest(job_id) == hashlib.sha256(result_of(state_after(seed, steps))).hexdigest()
    expected, state = {}, state_after(seed, 0)
    for step in range(steps):
        state = advance(state, step)
        expected[step + 1] = state[0] / 255
    assert cluster.points(job_id) == expected
    cluster.assert_invariants()


def expect_no_engine(cluster: Cluster, timeout: float = 60) -> None:
    """Every engine of the cluster is gone, or goes soon."""
    give_up_at = time.monotonic() + timeout
    while cluster.engines():
        assert time.monotonic() < give_up_at, f"engines {cluster.engines()} live on"
        time.sleep(0.05)


def events_of(cluster: Cluster, job_id: str, kind: str) -> list[Event]:
    return [event for event in cluster.events(job_id) if event.type == kind]
