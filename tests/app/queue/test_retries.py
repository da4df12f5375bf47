"""Every rule of what is tried again."""

from __future__ import annotations

from typing import Any

import pytest

from app.queue.retries import LONGEST_BACKOFF_S, Failure, Record, judge

LOST = Failure("worker_lost", "gone", retryable=True, lost=True)
CRASHED = Failure("engine_lost", "killed", retryable=True, lost=True)
MEMORY = Failure("out_of_memory", "too large", retryable=True)
IO = Failure("io_error", "disk", retryable=True)
FULL = Failure("no_space", "disk full", retryable=True)
DATA = Failure("data_error", "row 7", retryable=False)


def record(**changes: Any) -> Record:
    values: dict[str, Any] = {
        "failures": 0,
        "max_attempts": 3,
        "out_of_memory": 0,
        "lost_step": None,
        "checkpoint_step": 10,
    }
    return Record(**(values | changes))


@pytest.mark.parametrize(
    ("failure", "before", "code", "again"),
    [
        (DATA, record(), "data_error", False),
        (LOST, record(), "worker_lost", True),
        (LOST, record(lost_step=10), "poison", False),
        (LOST, record(lost_step=5), "worker_lost", True),
        (LOST, record(lost_step=0, checkpoint_step=0), "poison", False),
        (LOST, record(failures=2), "poison", False),
        (CRASHED, record(failures=1), "engine_lost", True),
        (IO, record(lost_step=10), "io_error", True),
        (IO, record(failures=2), "io_error", False),
        (MEMORY, record(), "out_of_memory", True),
        (MEMORY, record(out_of_memory=1), "out_of_memory", False),
        (FULL, record(failures=1), "no_space", True),
        (FULL, record(failures=99, lost_step=10, waits=99), "no_space", True),
    ],
)
def test_verdicts(failure: Failure, before: Record, code: str, again: bool) -> None:
    verdict = judge(failure, before, 30.0)
    assert (verdict.failure.code, verdict.wait_s is not None) == (code, again)
    assert verdict.failure.retryable == again


def test_waiting_doubles_with_jitter_and_ends_at_a_quarter_of_an_hour() -> None:
    for failures, longest in ((0, 30.0), (1, 60.0), (4, 480.0), (9, LONGEST_BACKOFF_S)):
        waits = [judge(CRASHED, record(failures=failures, max_attempts=99), 30.0).wait_s or 0.0 for _ in range(300)]
        assert 0.0 <= min(waits) < longest * 0.2
        assert longest * 0.8 < max(waits) <= longest


def test_a_lost_worker_is_replaced_at_once_and_a_full_disk_given_minutes() -> None:
    assert judge(LOST, record(), 30.0).wait_s == 0.0
    assert [judge(FULL, record(waits=waits), 30.0).wait_s for waits in range(4)] == [300.0, 600.0, 900.0, 900.0]
