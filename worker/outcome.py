"""What an engine's end means: from exit code, last frame and the reason it was stopped for to one verdict."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import Enum

from app.queue.retries import Failure
from worker import protocol
from worker.protocol import Failed, Finish, Held, Last


class Reason(Enum):
    """Why a supervisor stops an engine; the value is what the job's event says."""

    CANCEL = "cancelled"
    PAUSE = "paused; the state is saved"
    DRAIN = "the worker shuts down; the state is saved and the job goes back to the queue"
    RUNTIME = "the running time is used up"
    LEASE = "the worker could not reach the database for a while; the state is saved"
    STALL = "no sign of life"
    HOLD = "held where it was to be held; the state is saved"


@dataclass(frozen=True)
class Finished:
    """What was asked for is there."""

    done: Finish


@dataclass(frozen=True)
class Stopped:
    """The engine ended because it was asked to, or killed because it did not."""

    reason: Reason | None

    @property
    def message(self) -> str:
        """What the job's event says."""
        return "stopped from outside; the state is saved" if self.reason is None else self.reason.value


Outcome = Finished | Stopped | Failure


def outcome(exit_code: int, last: Last | None, reason: Reason | None) -> Outcome:
    """Judge how an engine ended.

    Args:
        exit_code: of the process; negative: the signal that killed it.
        last: the final frame, if one came.
        reason: why it was asked to stop, if it was.
    """
    if exit_code == protocol.EXIT_DONE and isinstance(last, Finish):
        return Finished(last)
    if exit_code == protocol.EXIT_PREEMPTED and isinstance(last, Held):
        return Stopped(Reason.HOLD)
    if reason is Reason.STALL:
        return Failure("stalled", "the engine gave no sign of life and was ended", retryable=True, lost=True)
    if exit_code == protocol.EXIT_PREEMPTED or (reason is not None and exit_code < 0):
        return Stopped(reason)
    if isinstance(last, Failed):
        return Failure(last.code, last.message, last.retryable)
    if exit_code == protocol.EXIT_OUT_OF_MEMORY:
        return Failure("out_of_memory", "the engine ran out of memory", retryable=True)
    return Failure("engine_lost", _how(exit_code), retryable=True, lost=True)


def _how(exit_code: int) -> str:
    if exit_code >= 0:
        return f"the engine ended with code {exit_code} and without a word"
    name = signal.Signals(-exit_code).name
    hint = "; machines that run out of memory do that" if exit_code == -signal.SIGKILL else ""
    return f"the engine was killed by {name}{hint}"
