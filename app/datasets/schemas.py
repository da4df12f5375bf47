"""Datasets as JSON."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints, field_validator

from app.core.closed import Closed
from app.uploads.schemas import Announcement, UploadDocument
from ddcore.spec.ingest import IngestOptions

# Spelled out, as \w is any script's letters here but ASCII alone to most readers of a JSON schema.
_LETTERS = r"\p{L}\p{M}\p{Nd}_"
SetName = Annotated[str, StringConstraints(pattern=rf"^[{_LETTERS}][{_LETTERS}.-]{{0,99}}$")]


class DatasetState(StrEnum):
    """Where a set is in its life."""

    RECEIVING = "receiving"
    """Bytes of its upload are missing."""
    QUEUED = "queued"
    """It waits for a worker that takes it in."""
    INGESTING = "ingesting"
    """A worker takes it in."""
    PAUSED = "paused"
    READY = "ready"
    """Jobs can name it."""
    FAILED = "failed"
    """It could not be taken in; ``error`` says why, and ``:ingest`` tries again with other options."""
    CANCELLING = "cancelling"
    """The worker that takes it in has been told to stop."""
    CANCELLED = "cancelled"
    UNFIT = "unfit"
    """It lies in the data root, and no job can use it; ``error`` says why."""


class NewDataset(Announcement):
    """The announcement of an upload."""

    name: SetName = Field(description="What jobs call it: letters, digits and . _ -; a known name gets a new version.")
    options: IngestOptions = Field(IngestOptions(), description="How the images are taken in.")

    @field_validator("name")
    @classmethod
    def _no_identity(cls, name: str) -> str:
        if name.startswith(("ds_", "set_")):
            raise ValueError("names that begin with ds_ or set_ are identities; choose another")
        return name


class IngestRequest(Closed):
    """How to take an upload in once more."""

    options: IngestOptions = Field(IngestOptions(), description="How the images are taken in.")


class IngestDocument(BaseModel):
    """The job that takes a set in."""

    id: str
    status: str
    phase: str | None
    done: int = Field(description="Images that are decoded, or units of the current phase.")
    total: int | None
    attempt: int


class DatasetError(BaseModel):
    """Why a set could not be taken in, or cannot be used."""

    code: str
    message: str


class DatasetDocument(BaseModel):
    """A dataset that a job can name, or will be able to."""

    object: Literal["dataset"] = "dataset"
    id: str | None = Field(None, description="`set_…`; null where it is built in or lies in the data root.")
    name: str
    version: int | None = Field(None, description="Counts the sets of one name that were taken in.")
    reference: str = Field(description="What a job calls it, such as `photos@2`; the bare name means the newest.")
    title: str
    state: DatasetState = DatasetState.READY
    builtin: bool
    local: bool = Field(description="Whether its images are here, so that nothing has to be downloaded.")
    content_id: str | None = Field(None, description="`ds_…`: identity of its content, once it is taken in.")
    shape: list[int] | None = Field(None, description="Channels, height and width; null where not known beforehand.")
    classes: list[str] | None = None
    train_size: int | None = None
    test_size: int | None = None
    smallest_class: int | None = Field(None, description="Training images of the smallest class.")
    bytes: int | None = Field(None, description="What it takes of the quota, its upload included while that is kept.")
    upload: UploadDocument | None = None
    options: IngestOptions | None = None
    job: IngestDocument | None = None
    error: DatasetError | None = None
    actions: list[str] = Field([], description="What can be done with it now.")
    created_at: datetime | None = None
    ready_at: datetime | None = None
    links: dict[str, str] = {}
