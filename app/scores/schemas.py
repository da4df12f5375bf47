"""Scores as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from app.jobs.schemas import Envelope, JobError
from app.uploads.schemas import Announcement, UploadDocument
from ddcore.spec.results import Results
from ddcore.spec.scoring import FIELDS, Values

Status = Literal[
    "receiving", "queued", "running", "pausing", "paused", "cancelling", "succeeded", "failed", "cancelled", "expired"
]
"""Of a score: bytes of its file are missing, or how its job stands."""


class NewScore(Announcement, Envelope):
    """The announcement of a set that others made, and by what it is to be scored."""

    dataset: str = Field(min_length=1, max_length=200, description="Dataset that was distilled, as a job names it.")
    recipe: dict[str, Any] = Field(
        {},
        description=f"Fields of a job that decide a score: {', '.join(FIELDS)}. Default: those of a job.",
        examples=[{"evaluation": {"protocol": "dm"}}],
    )
    values: Values | None = Field(
        None,
        description="Units of the pixels: 0 to 1 (`unit`), 0 to 255 (`byte`), or as networks are trained on them "
        "(`normalised`). Default: by their range, where that tells.",
    )
    ipc: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="Images of each class, where known: the time of scoring is estimated by it. The file decides.",
    )


class ScoringDocument(BaseModel):
    """The job that scores a set."""

    id: str
    status: str
    phase: str | None
    done: int = Field(description="Units of work of the current phase that are finished.")
    total: int | None
    attempt: int


class ScoreDocument(BaseModel):
    """A set that others made, and what it comes to under a recipe."""

    object: Literal["score"] = "score"
    id: str
    name: str | None
    status: Status
    dataset: str = Field(description="With its version where it is a set of your own, such as `photos@2`.")
    ipc: int | None = Field(description="Images of each class, once they are read.")
    upload: UploadDocument
    sha256: str | None = Field(description="Digest of the file, once it is known.")
    recipe: dict[str, Any] = Field(description="As it was asked for.")
    values: Values | None = Field(description="As they were asked for; `results.origin` says how they were understood.")
    spec: dict[str, Any] | None = Field(description="The specification of a job that scores alike, once it is scored.")
    results: Results | None = Field(description="As of a job; null until it has succeeded.")
    job: ScoringDocument | None
    error: JobError | None
    actions: list[str] = Field(description="What can be done with it now.")
    key_id: str | None = Field(description="The API key that announced it; null where nobody needs one.")
    created_at: datetime
    finished_at: datetime | None
    links: dict[str, str]
