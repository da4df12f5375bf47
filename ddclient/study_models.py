"""Documents of studies as the client reads them; unknown fields are kept, as in :mod:`ddclient.models`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from ddclient.models import Document, Failure

ENDED = frozenset({"succeeded", "failed", "cancelled"})
"""Statuses that a study does not leave."""


class Rung(Document):
    """A level of successive halving: every trial on it has taken ``share`` (0 to 1) of its steps, and is scored.

    ``trials`` reached it, ``scored`` have their score, ``ended`` ended otherwise; once it is ``decided``, ``promoted``
    go on.
    """

    rung: int
    share: float
    trials: int = 0
    scored: int = 0
    ended: int = 0
    promoted: int = 0
    decided: bool = False


class TrialScore(Document):
    """What a trial scored on a rung after ``step`` steps.

    ``accuracy`` is the mean over ``networks`` on validation images in percent, ``deviation`` their standard deviation
    in points, or that of the means of several seeds; ``objective`` is what trials are ranked by.
    """

    rung: int
    step: int
    accuracy: float
    deviation: float | None = None
    networks: int = 1
    objective: float


class Trial(Document):
    """A point of the space: ``values`` by path, its scores, and its jobs, one a seed."""

    index: int
    title: str = ""
    values: dict[str, Any] = Field(default_factory=dict)
    iterations: int | None = None
    rung: int = 0
    status: str
    scores: tuple[TrialScore, ...] = ()
    jobs: tuple[str, ...] = ()
    runtime_s: float | None = None
    reason: str | None = None


class Reached(Document):
    """An accuracy on validation images in percent, and its standard deviation in points."""

    accuracy: float
    deviation: float | None = None


class BestCoreset(Document):
    """The best of the trials that keep real images as they are."""

    trial: int
    title: str = ""
    validation: Reached


class Evaluated(Document):
    """Mean test accuracy in percent over networks that no rung saw, and its standard deviation in points."""

    mean: float
    deviation: float | None = None
    networks: int | None = None


class Winner(Document):
    """The trial that won: what chose it (``validation``), and what its job's evaluation says.

    ``gap`` is the evaluation less the validation score, in points. ``answer`` says in a sentence whether the set beats
    the best coreset.
    """

    trial: int
    job_id: str
    validation: Reached
    accuracy: Evaluated | None = None
    gap: float | None = None
    best_coreset: BestCoreset | None = None
    answer: str | None = None


class Spent(Document):
    """What a study has cost so far."""

    jobs: int = 0
    steps: int = 0
    minutes: float = 0.0


class Refused(Document):
    """Points of the space that no job can be, by reason."""

    reason: str
    points: int


class FailedTrials(Document):
    """Trials that were left out, by reason."""

    reason: str
    trials: int


class StudyDocument(Document):
    """A study as ``GET /v1/studies/{id}`` shows it."""

    id: str
    status: str
    version: int = 0
    name: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    priority: int = 0
    spec: dict[str, Any] = Field(default_factory=dict)
    rungs: tuple[Rung, ...] = ()
    trials: tuple[Trial, ...] = ()
    winner: Winner | None = None
    spent: Spent = Spent()
    full_grid_steps: int | None = None
    ahead_minutes: float | None = None
    refused: tuple[Refused, ...] = ()
    failures: tuple[FailedTrials, ...] = ()
    error: Failure | None = None
    actions: tuple[str, ...] = ()
    created_at: datetime | None = None
    finished_at: datetime | None = None
    updated_at: datetime | None = None

    @property
    def finished(self) -> bool:
        """Whether the study has ended."""
        return self.status in ENDED
