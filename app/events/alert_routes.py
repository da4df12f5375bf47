"""HTTP of alerts."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from app.core.database import now
from app.core.dependencies import DatabaseDep
from app.core.errors import InvalidParameter
from app.core.moments import Moment as GivenMoment
from app.core.problems import responses
from app.events import alerts
from app.events.schemas import Level, Moment
from app.keys.principals import JobReader

router = APIRouter(prefix="/v1", tags=["events"])

DEFAULT_S = 86_400.0


class AlertDocument(BaseModel):
    """Something that a user should hear of."""

    object: Literal["alert"] = "alert"
    id: str = Field(description="Identifier of the event.")
    seq: int = Field(description="Number of the event within its job.")
    job_id: str = Field(description="The job; where it is about a study, one of that: the winner's, if there is one.")
    study_id: str | None = Field(None, description="The study that it is about; null where it is about the job.")
    rule: alerts.Listed
    level: Level
    at: Moment
    message: str = Field(description="One sentence for people.")
    data: dict[str, Any] = Field(description="The numbers by which it was decided.")


class AlertList(BaseModel):
    """Alerts in order of time."""

    object: Literal["list"] = "list"
    data: list[AlertDocument]


@router.get("/alerts", responses=responses(InvalidParameter))
def list_alerts(
    principal: JobReader,
    database: DatabaseDep,
    since: Annotated[GivenMoment | None, Query(description="Only later ones. Default: a day ago.")] = None,
    rule: Annotated[
        list[alerts.Listed] | None,
        Query(description="Only these rules; repeat it."),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="At most so many, the newest.")] = 200,
) -> AlertList:
    """List the alerts of all jobs and studies, in order of time: once for each rule and job or study."""
    with database.read() as session:
        moment: datetime = now(session) - timedelta(seconds=DEFAULT_S) if since is None else since
        found = alerts.since(session, principal.tenant_id, moment, rule or alerts.LISTED, limit)
    return AlertList(
        data=[
            AlertDocument(
                id=event.id, seq=event.seq, job_id=event.job_id, study_id=alerts.study_of(event),
                rule=alerts.rule_of(event), level=event.level, at=event.at, message=event.message, data=event.data,
            )
            for event in found
        ]
    )  # fmt: skip
