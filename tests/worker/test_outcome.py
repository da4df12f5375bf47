"""How an engine's end is judged."""

from __future__ import annotations

import pytest

from app.queue.retries import Failure
from worker.outcome import Finished, Reason, Stopped, outcome
from worker.protocol import Done, Failed, Held

DONE = Done(steps=10, finalized=False, results={})
FAILED = Failed(code="data_error", message="row 7", retryable=False)


def test_a_finished_engine_is_finished_whatever_was_wished() -> None:
    for reason in (None, *Reason):
        assert outcome(0, DONE, reason) == Finished(DONE)


@pytest.mark.parametrize("reason", [Reason.CANCEL, Reason.PAUSE, Reason.DRAIN, Reason.RUNTIME, Reason.LEASE])
@pytest.mark.parametrize("exit_code", [75, -9, -15])
def test_an_engine_that_was_asked_to_stop_stopped(reason: Reason, exit_code: int) -> None:
    assert outcome(exit_code, None, reason) == Stopped(reason)


@pytest.mark.parametrize("reason", [None, Reason.PAUSE, Reason.CANCEL])
def test_an_engine_that_holds_is_held_whatever_was_wished(reason: Reason | None) -> None:
    assert outcome(75, Held(step=10), reason) == Stopped(Reason.HOLD)


def test_an_engine_that_somebody_else_stopped_has_saved_its_state() -> None:
    stopped = outcome(75, None, None)
    assert stopped == Stopped(None)
    assert "state is saved" in Stopped(None).message


@pytest.mark.parametrize(
    ("exit_code", "last", "reason", "code", "retryable", "lost"),
    [
        (78, FAILED, None, "data_error", False, False),
        (1, FAILED, Reason.PAUSE, "data_error", False, False),
        (76, None, None, "out_of_memory", True, False),
        (0, None, None, "engine_lost", True, True),
        (1, None, None, "engine_lost", True, True),
        (-9, None, None, "engine_lost", True, True),
        (-11, DONE, None, "engine_lost", True, True),
        (-9, None, Reason.STALL, "stalled", True, True),
    ],
)
def test_failures(
    exit_code: int, last: Done | Failed | None, reason: Reason | None, code: str, retryable: bool, lost: bool
) -> None:
    failure = outcome(exit_code, last, reason)
    assert isinstance(failure, Failure)
    assert (failure.code, failure.retryable, failure.lost) == (code, retryable, lost)


def test_a_signal_is_named() -> None:
    killed, crashed = outcome(-9, None, None), outcome(-11, None, None)
    assert isinstance(killed, Failure)
    assert isinstance(crashed, Failure)
    assert "SIGKILL" in killed.message
    assert "memory" in killed.message
    assert "SIGSEGV" in crashed.message
