"""Events as clients see them; the same object is the data of a stream's message."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from app.models.events import Event

Level = Literal["info", "warning", "error"]


def _utc(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Moment = Annotated[datetime, PlainSerializer(_utc), Field(description="When it was recorded, by the database's clock.")]


class EventDocument(BaseModel):
    """Something that happened to a job."""

    model_config = ConfigDict(from_attributes=True)

    object: Literal["event"] = "event"
    seq: int = Field(description="Counts 1, 2, 3, … within the job; old `job.progress` events are removed.")
    id: str = Field(description="Identifier of the event, unique over all jobs.")
    job_id: str
    type: str = Field(description="Kind of event, such as `job.state_changed`.", examples=["job.state_changed"])
    level: Level
    at: Moment
    attempt: int = Field(description="The attempt it belongs to; 0 before the first.")
    message: str = Field(description="One sentence for people.")
    data: dict[str, Any] = Field(description="Facts for programs; which ones depends on `type`.")


class EventPage(BaseModel):
    """Some events of a job, in order."""

    object: Literal["list"] = "list"
    data: list[EventDocument]
    next_after_seq: int | None = Field(description="Pass it as `after_seq` for the following events; null at the end.")


def document(event: Event) -> EventDocument:
    """An event as clients see it."""
    return EventDocument.model_validate(event)
