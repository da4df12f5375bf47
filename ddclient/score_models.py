"""Documents of scores and of the leaderboard as the client reads them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from ddclient.models import TERMINAL, Document, Failure, Ingest, UploadState
from ddcore.spec.results import Difference, Results, RobustScores, Score, WorthReport


class ScoreDocument(Document):
    """A set that others made as ``GET /v1/scores/{id}`` shows it; ``results`` are as those of a job."""

    id: str
    name: str | None = None
    status: str
    dataset: str
    ipc: int | None = None
    upload: UploadState | None = None
    sha256: str | None = None
    recipe: dict[str, Any] = Field(default_factory=dict)
    values: str | None = None
    spec: dict[str, Any] | None = None
    results: Results | None = None
    job: Ingest | None = None
    error: Failure | None = None
    actions: tuple[str, ...] = ()
    key_id: str | None = None
    created_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def complete(self) -> bool:
        """Whether no byte of its file is missing."""
        return self.status != "receiving"

    @property
    def finished(self) -> bool:
        """Whether it has ended, with accuracies or without."""
        return self.status in TERMINAL


class Choice(Document):
    """A dataset and a number of images of each class on which something is scored."""

    dataset: str
    ipc: int
    entries: int


class Entry(Document):
    """Something that is scored; ``kind`` is ``job`` or ``score``, ``rank`` counts from 1 within the recipe.

    ``made_by`` is the method of the job with its regularisers (``dm + cmi``), or the name of the file.
    """

    rank: int
    kind: str
    id: str
    name: str | None = None
    made_by: str
    accuracy: Score
    controls: dict[str, Score | None] = Field(default_factory=dict)
    differences: dict[str, Difference] = Field(default_factory=dict)
    bytes: int | None = None
    worth: WorthReport | None = None
    scores: dict[str, RobustScores] = Field(default_factory=dict)
    finished_at: datetime | None = None
    key_id: str | None = None


class PublishedFigure(Document):
    """What the literature reports of a preset; ``accuracy`` and ``std`` in percent."""

    preset: str
    title: str
    accuracy: float
    std: float | None = None
    source: str = ""


class Board(Document):
    """What is scored by one recipe, highest accuracy first."""

    recipe: str
    protocol: str
    words: str
    entries: tuple[Entry, ...] = ()
    published: tuple[PublishedFigure, ...] = ()


class Leaderboard(Document):
    """Everything that is scored on a dataset with ``ipc`` images of each class, by recipe."""

    dataset: str | None = None
    ipc: int | None = None
    choices: tuple[Choice, ...] = ()
    boards: tuple[Board, ...] = ()
    left_out: int = 0
