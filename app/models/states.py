"""What jobs there are, and where they can be in their lives."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What a job is about."""

    DISTILLATION = "distillation"
    INGEST = "ingest"
    """A user's own images are taken in as a set."""
    SCORE = "score"
    """A set that others made is scored."""


class State(StrEnum):
    """Where a job is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


HELD = frozenset({State.RUNNING, State.PAUSING, State.CANCELLING})
"""States in which a worker holds a lease."""
TERMINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED})
"""States in which nothing happens by itself."""


class StudyState(StrEnum):
    """Where a study is in its life."""

    RUNNING = "running"
    PAUSING = "pausing"
    """Its jobs are being paused."""
    PAUSED = "paused"
    CANCELLING = "cancelling"
    """Its jobs are being cancelled."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


STUDY_TERMINAL = frozenset({StudyState.SUCCEEDED, StudyState.FAILED, StudyState.CANCELLED})
"""States in which nothing happens to a study by itself."""


class TrialState(StrEnum):
    """Where a point of a study's space is."""

    WAITING = "waiting"
    """No worker has begun its first rung."""
    RUNNING = "running"
    HELD = "held"
    """Scored, and waiting for the others of its rung."""
    PROMOTED = "promoted"
    """It waits for a worker to go on to its next rung."""
    DROPPED = "dropped"
    FAILED = "failed"
    """Its jobs gave no score: they failed, expired or were cancelled."""
    FINALIST = "finalist"
    """Scored in the last rung; kept until the winner is evaluated."""
    WINNER = "winner"


TRIAL_OUT = frozenset({TrialState.DROPPED, TrialState.FAILED})
"""States of trials that a study has done with."""
