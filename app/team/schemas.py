"""Tenants, members, the audit trail and use as JSON."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.core.closed import Closed
from app.core.security import Role
from app.keys.schemas import NewKeyDocument

TENANT_ID = r"^[a-z0-9][a-z0-9-]{0,38}[a-z0-9]$"
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]+\.[^@\s]+")

Name = Annotated[str, Field(min_length=1, max_length=200)]


def _address(value: str) -> str:
    if _EMAIL.fullmatch(value) is None:
        raise ValueError(f"'{value}' is no e-mail address; it must look like ada@example.org")
    return value.lower()


Email = Annotated[str, Field(max_length=254), AfterValidator(_address)]


MaxRunning = Annotated[int | None, Field(ge=0, le=1_000_000)]
MaxQueued = Annotated[int | None, Field(ge=0, le=10_000_000)]
MaxBytes = Annotated[int | None, Field(ge=0, le=2**62)]
MaxMinutes = Annotated[int | None, Field(ge=0, le=100_000_000)]
MaxHours = Annotated[float | None, Field(gt=0, le=10_000_000)]


class Limits(Closed):
    """What a tenant may use; null is the service's setting, or no limit where it has none."""

    max_running: MaxRunning = Field(None, description="Jobs at once. Default: as many as there are workers.")
    max_queued: MaxQueued = Field(None, description="Unfinished jobs. Default: `DD_MAX_QUEUED`.")
    max_dataset_bytes: MaxBytes = Field(
        None, description="Bytes of own sets and uploads. Default: `DD_DATASET_QUOTA_GB`."
    )
    max_month_minutes: MaxMinutes = Field(
        None, description="Minutes of workers in a calendar month (UTC). Default: any number."
    )
    max_work_hours: MaxHours = Field(
        None,
        description="Hours of workers that unfinished jobs may still need, as estimated. Default: `DD_MAX_WORK_HOURS`.",
    )
    weight: float = Field(1.0, gt=0, le=1000, description="Share of the workers beside that of other tenants.")


class NewTenant(Limits):
    """A tenant to be made."""

    id: Annotated[str, Field(pattern=TENANT_ID)] = Field(
        description="Its identifier for good: 2 to 40 lower-case letters, digits and hyphens."
    )
    name: Name | None = Field(None, description="What people call it. Default: the identifier.")


class TenantChange(Closed):
    """What shall change of a tenant; fields that are left out stay."""

    name: Name | None = None
    max_running: MaxRunning = None
    max_queued: MaxQueued = None
    max_dataset_bytes: MaxBytes = None
    max_month_minutes: MaxMinutes = None
    max_work_hours: MaxHours = None
    weight: Annotated[float, Field(gt=0, le=1000)] | None = None
    disabled: bool | None = Field(None, description="Whether its keys stop working; its jobs go on.")


class TenantDocument(Limits):
    """A tenant."""

    model_config = ConfigDict(extra="ignore")

    id: str
    object: Literal["tenant"] = "tenant"
    name: str
    created_at: datetime
    disabled_at: datetime | None


class NewTenantDocument(TenantDocument):
    """A tenant that has just been made, with the key of its first admin."""

    key: NewKeyDocument


class NewMember(Closed):
    """A member to be added."""

    email: Email
    name: Name | None = Field(None, description="Default: the address.")
    role: Role = Field(
        Role.MEMBER,
        description="`viewer`: sees jobs and takes results; `member`: submits too; `admin`: keys, members and limits.",
    )


class MemberChange(Closed):
    """What shall change of a member; fields that are left out stay."""

    name: Name | None = None
    role: Role | None = None
    disabled: bool | None = Field(None, description="Whether their keys stop working.")
    unlink: Literal[True] | None = Field(
        None,
        description="Forget with which account of the login provider they sign in, and end the sessions that it began.",
    )


class MemberDocument(BaseModel):
    """A member of the tenant."""

    id: str
    object: Literal["member"] = "member"
    email: str
    name: str
    role: Role
    linked: bool = Field(description="Whether they have signed in at the login provider, and are known there.")
    created_at: datetime
    disabled_at: datetime | None


class AuditDocument(BaseModel):
    """One act."""

    id: int = Field(validation_alias="number", description="Grows with time.")
    object: Literal["audit_entry"] = "audit_entry"
    at: datetime
    action: str = Field(description="What was done, such as `job.cancel`.", examples=["key.create"])
    object_id: str | None = Field(description="To what.")
    key_id: str | None = Field(description="The key that acted; null for an act on the machine of the database.")
    address: str | None = Field(description="Where the request came from.")
    request_id: str | None = Field(description="As in the service's log.")
    details: dict[str, Any]


class Amount(BaseModel):
    """How much of a limit is used."""

    used: float
    limit: float | None = Field(description="Null for no limit.")


class Usage(BaseModel):
    """What a tenant uses, and may use."""

    object: Literal["usage"] = "usage"
    tenant_id: str
    month: str = Field(description="The calendar month (UTC) of the minutes.", examples=["2026-11"])
    renews_at: datetime = Field(description="When the next month begins.")
    minutes: Amount = Field(description="Minutes that jobs held workers.")
    minutes_by_device: dict[str, float] = Field(description="The same by kind of device.")
    running_jobs: Amount
    unfinished_jobs: Amount
    work_hours: Amount = Field(
        description="Hours of workers that unfinished jobs and studies still need: as estimated when they were "
        "submitted, less what they have run."
    )
    dataset_bytes: Amount
    artifact_bytes: float = Field(description="Bytes of results, checkpoints and logs in the store; without a limit.")
