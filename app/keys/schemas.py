"""API keys and login links as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from app.core.closed import Closed
from app.core.moments import Moment
from app.core.security import Scope


class KeyRequest(Closed):
    """A key to be made."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    scopes: list[Scope] = Field(
        [Scope.JOBS_READ, Scope.JOBS_WRITE, Scope.ARTIFACTS_READ], min_length=1, description="What it may be used for."
    )
    expires_at: Moment | None = Field(None, description="When it stops working. Default: never.")
    member_id: Annotated[str | None, Field(max_length=40)] = Field(
        None, description="The member whose key it is, and whose role bounds it. Default: a key of the tenant itself."
    )


class RotateRequest(Closed):
    """How a key is replaced."""

    grace_s: int = Field(86_400, ge=0, le=2_592_000, description="Seconds that the old key works on, at most 30 days.")


class KeyDocument(BaseModel):
    """An API key, without the key."""

    id: str
    object: Literal["api_key"] = "api_key"
    name: str
    scopes: list[str] = Field(description="What it may be used for; empty where `sign_in` is true: the role says so.")
    member_id: str | None = Field(None, description="The member whose key it is; null for one of the tenant.")
    sign_in: bool = Field(
        False, description="Whether it only stands for sessions that its member began at the login provider."
    )
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute.")
    revoked_at: datetime | None


class NewKeyDocument(KeyDocument):
    """An API key that has just been made."""

    key: str = Field(description="The key itself: shown now and never again.")


class LoginLink(BaseModel):
    """A link that opens the dashboard once, without a key."""

    url: str
    expires_in_s: int


class Me(BaseModel):
    """The tenant and the rights of a request."""

    tenant_id: str
    key_id: str | None
    scopes: list[str]
    unfinished_jobs: int
    max_unfinished_jobs: int
