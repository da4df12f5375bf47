"""The leaderboard as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from ddcore.spec.results import Controls, Difference, RobustScores, Score, WorthReport


class Choice(BaseModel):
    """A dataset and a number of images of each class on which something is scored."""

    dataset: str
    ipc: int
    entries: int


class Entry(BaseModel):
    """Something that is scored: a job's own set, or a set that others made."""

    rank: int = Field(description="Among those of the same recipe, 1 for the highest accuracy.")
    kind: Literal["job", "score"]
    id: str
    name: str | None
    made_by: str = Field(description="Method of the job with its regularisers (`dm + cmi`), or name of the file.")
    accuracy: Score
    controls: Controls
    differences: dict[str, Difference]
    bytes: int | None = Field(description="Of the images as they are delivered.")
    worth: WorthReport | None = Field(description="In random real images of each class, where asked for.")
    scores: dict[str, RobustScores] = Field(description="Of DD-Ranking.")
    finished_at: datetime | None
    key_id: str | None = Field(description="The API key that had it scored, where it is known.")
    links: dict[str, str]


class PublishedFigure(BaseModel):
    """What the literature reports of a preset that is scored by this recipe; nobody scored it here."""

    preset: str
    title: str
    accuracy: float
    std: float | None
    source: str


class Board(BaseModel):
    """What is scored by one recipe: its accuracies compare with each other, and with no others."""

    recipe: str = Field(description="Identity of the recipe.")
    protocol: str
    words: str = Field(description="The recipe, for people.")
    entries: list[Entry] = Field(description="Highest accuracy first.")
    published: list[PublishedFigure]


class Leaderboard(BaseModel):
    """Everything that is scored on a dataset with as many images of each class, by recipe."""

    object: Literal["leaderboard"] = "leaderboard"
    dataset: str | None = Field(description="Null where nothing is scored at all.")
    ipc: int | None
    choices: list[Choice] = Field(description="What else can be asked for.")
    boards: list[Board] = Field(description="Those with the highest accuracies first, which says nothing of recipes.")
    left_out: int = Field(description="Entries with lower accuracies that are not listed.")
