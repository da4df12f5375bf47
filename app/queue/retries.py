"""Whether a job that went wrong is tried again, and when: pure decisions, no database."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LONGEST_BACKOFF_S = 900.0
NO_SPACE = "no_space"
_NO_SPACE_FACTOR = 10
"""A full disk is not emptied in seconds: ten times the first pause, five minutes by default."""


@dataclass(frozen=True)
class Failure:
    """What went wrong in an attempt.

    Attributes:
        code: stable name, such as ``data_error`` or ``worker_lost``.
        message: what to tell the user.
        retryable: whether another attempt may do better.
        lost: whether the engine or the worker vanished without a word, as it does when a job kills it.
    """

    code: str
    message: str
    retryable: bool
    lost: bool = False

    def describe(self, attempt: int) -> Mapping[str, Any]:
        """The ``error`` of the job document."""
        return {
            "code": self.code,
            "message": self.message,
            "param": None,
            "retryable": self.retryable,
            "attempt": attempt,
        }


@dataclass(frozen=True)
class Record:
    """What is known of a job's earlier troubles.

    Attributes:
        failures: attempts that failed or were lost since the last checkpoint, this one not counted.
        max_attempts: failures without progress at which the job is given up.
        out_of_memory: attempts that ran out of memory, this one not counted.
        lost_step: checkpoint step at which the attempt before was lost, if it was and nothing was saved since.
        checkpoint_step: step of the newest checkpoint; 0 without one.
        waits: times in a row that a disk was full, this one not counted.
    """

    failures: int
    max_attempts: int
    out_of_memory: int
    lost_step: int | None
    checkpoint_step: int
    waits: int = 0


@dataclass(frozen=True)
class Verdict:
    """What becomes of the job: tried again after ``wait_s`` seconds, or given up where that is ``None``."""

    failure: Failure
    wait_s: float | None


def judge(failure: Failure, record: Record, backoff_s: float) -> Verdict:
    """Decide about a job after a failure.

    A full disk is no failure of the job: it is tried again until there is room, or its running time is used up.

    Args:
        failure: what went wrong now.
        record: what went wrong before.
        backoff_s: first pause in seconds; it doubles with each failure, with full jitter, up to 15 minutes.

    >>> lost = Failure("worker_lost", "the worker vanished", retryable=True, lost=True)
    >>> judge(lost, Record(0, 3, 0, None, 40), 30.0).wait_s
    0.0
    >>> judge(lost, Record(1, 3, 0, 40, 40), 30.0).failure.code
    'poison'
    """
    if not failure.retryable:
        return Verdict(failure, None)
    if failure.code == NO_SPACE:
        return Verdict(failure, min(backoff_s * _NO_SPACE_FACTOR * 2**record.waits, LONGEST_BACKOFF_S))
    if failure.lost and record.lost_step == record.checkpoint_step:
        return Verdict(_poison(f"two attempts in a row were lost after step {record.checkpoint_step}"), None)
    if failure.code == "out_of_memory" and record.out_of_memory:
        return Verdict(_final(failure), None)
    if record.failures + 1 >= record.max_attempts:
        failed = f"{record.failures + 1} attempts failed without progress"
        return Verdict(_poison(failed) if failure.lost else _final(failure), None)
    return Verdict(failure, _wait(failure, record, backoff_s))


def _wait(failure: Failure, record: Record, backoff_s: float) -> float:
    if failure.code == "worker_lost":
        return 0.0  # not the job's doing, and somebody waits for it
    longest = min(backoff_s * 2**record.failures, LONGEST_BACKOFF_S)
    return random.uniform(0.0, longest)  # noqa: S311 - jitter, not a secret


def _final(failure: Failure) -> Failure:
    return Failure(failure.code, failure.message, retryable=False, lost=failure.lost)


def _poison(why: str) -> Failure:
    message = f"{why}: the job seems to kill its process; its log may tell why. `:retry` starts it once more"
    return Failure("poison", message, retryable=False, lost=True)
