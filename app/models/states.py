"""What jobs there are, and where they can be in their lives."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What a job is about."""

    DISTILLATION = "distillation"
    INGEST = "ingest"
    """A user's own images are taken in as a set."""


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
