"""Webhooks and what was sent to them, as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.core.text import Storable
from app.events.topics import PATTERNS, TOPICS, USUAL
from ddcore.spec import did_you_mean

MOST_EVENTS = len(TOPICS) + len(PATTERNS)
DeliveryState = Literal["pending", "delivered", "failed"]


def _address(value: str) -> str:
    """Check what can be said of an address without knowing the network."""
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"it is no address: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError("it is no web address; it must look like https://example.org/hook")
    if parts.username is not None or parts.password is not None:
        raise ValueError("it holds a user name or password; leave them out, and check the signature instead")
    if parts.fragment:
        raise ValueError(f"it ends in '#{parts.fragment}', which is never sent; leave it out")
    if any(not letter.isprintable() or letter == " " for letter in value):
        raise ValueError("it holds spaces or control characters; write them as %20 and the like")
    return value


def _known(name: str) -> str:
    if name not in TOPICS and name not in PATTERNS:
        group = [each for each in TOPICS if each.split(".")[0] == name.split(".")[0]]
        choice = ", ".join((*PATTERNS, *group))
        raise ValueError(f"it is no event; choose from {choice}{did_you_mean(name, TOPICS)}")
    return name


Url = Annotated[str, Field(min_length=8, max_length=2000), Storable, AfterValidator(_address)]
EventName = Annotated[str, Field(max_length=40), AfterValidator(_known)]
Events = Annotated[list[EventName], Field(min_length=1, max_length=MOST_EVENTS)]
Description = Annotated[str, Field(max_length=200), Storable]


class NewWebhook(BaseModel):
    """An address that shall be told what happens."""

    model_config = ConfigDict(extra="forbid")

    url: Url = Field(description="Where messages are sent: https, on port 443 or 8443.")
    events: Events = Field(
        list(USUAL), description="What it is told: names such as `job.failed`, and patterns: `job.*`, `alert.*`, `*`."
    )
    description: Description = Field("", description="For people.")


class WebhookChange(BaseModel):
    """What shall change of a webhook; fields that are left out stay."""

    model_config = ConfigDict(extra="forbid")

    url: Url | None = None
    events: Events | None = None
    description: Description | None = None
    disabled: bool | None = Field(
        None, description="Whether it is told nothing. Enabling it again sends the messages that wait."
    )


class RotateSecret(BaseModel):
    """How a secret is replaced."""

    model_config = ConfigDict(extra="forbid")

    grace_s: int = Field(
        86_400, ge=0, le=2_592_000, description="Seconds for which messages are signed by the old one too, to 30 days."
    )


class WebhookDocument(BaseModel):
    """An address that is told what happens, without its secret."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    object: Literal["webhook"] = "webhook"
    url: str
    events: list[str]
    description: str
    created_at: datetime
    previous_until: datetime | None = Field(description="Until when messages are signed by the last secret too.")
    failing_since: datetime | None = Field(description="When an attempt failed first since one succeeded.")
    disabled_at: datetime | None = Field(description="Since when it is told nothing.")
    disabled_why: Literal["asked", "failing", "gone"] | None = Field(
        description="`failing`: for too many days nothing arrived; `gone`: it answered 410."
    )


class NewWebhookDocument(WebhookDocument):
    """A webhook whose secret has just been made."""

    secret: str = Field(description="What messages are signed with, `whsec_…`: shown now and never again.")


class AttemptDocument(BaseModel):
    """One request with a message."""

    model_config = ConfigDict(from_attributes=True)

    number: int
    at: datetime = Field(description="When it ended.")
    seconds: float
    status: int | None = Field(description="The answer's status; null where there was no answer.")
    error: str | None = Field(description="Why it failed; null where it did not.")
    response: str | None = Field(description="The first 2,048 characters of the answer.")


class DeliveryDocument(BaseModel):
    """One message to a webhook."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(description="Also the message's `webhook-id`.")
    object: Literal["delivery"] = "delivery"
    webhook_id: str
    event: str
    job_id: str | None = Field(description="The job that it is about; null for a test.")
    state: DeliveryState
    attempts: int
    created_at: datetime
    due_at: datetime | None = Field(description="When it is tried next; null where it is over.")
    finished_at: datetime | None = Field(description="When it was delivered or given up.")


class DeliveryDetails(DeliveryDocument):
    """One message to a webhook, what it says, and every attempt."""

    payload: dict[str, Any] | None = Field(description="The message; null before the first attempt.")
    history: list[AttemptDocument] = Field(description="The attempts, the first one first.")
