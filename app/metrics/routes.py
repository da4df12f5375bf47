"""HTTP of metrics."""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from pydantic import StringConstraints

from app.core.database import Database
from app.core.dependencies import DatabaseDep
from app.core.errors import InvalidParameter, NotFound
from app.core.paths import JOB_ID
from app.core.problems import responses
from app.keys import ownership
from app.keys.ownership import OwnJob
from app.keys.principals import JobReader
from app.metrics import service
from app.metrics.schemas import Aggregate, MetricList, Series, SeriesList
from app.metrics.service import LAST_STEP, Window

router = APIRouter(prefix="/v1", tags=["metrics"])

MAX_KEYS = 16
MAX_JOBS = 20

MetricName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Step = Annotated[int | None, Query(ge=0, le=LAST_STEP)]
MaxPoints = Annotated[int, Query(ge=2, le=5000, description="Rows of a series at most.")]
Agg = Annotated[
    Aggregate,
    Query(description="What a row says: minimum, maximum, mean and last reading; one of these; or single readings."),
]


@router.get("/jobs/{job_id}/metrics", responses=responses(NotFound))
def list_metrics(job_id: OwnJob, principal: JobReader, database: DatabaseDep) -> MetricList:
    """List the metrics of a job, with their extremes and last readings."""
    with database.read() as session:
        return MetricList(data=service.summaries(session, principal.tenant_id, job_id))


@router.get(
    "/jobs/{job_id}/metrics:query",
    response_model=SeriesList,
    responses=responses(InvalidParameter, NotFound),
)
def query_metrics(
    job_id: OwnJob,
    principal: JobReader,
    database: DatabaseDep,
    key: Annotated[list[MetricName] | None, Query(max_length=MAX_KEYS, description="Metrics; default: all.")] = None,
    step_from: Step = None,
    step_to: Step = None,
    max_points: MaxPoints = 500,
    agg: Agg = "minmax",
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Read metrics over a range of steps, in a bounded number of rows that hide no spike."""
    window = window_of(step_from, step_to, max_points, agg)
    with database.read() as session:
        found = service.series(session, principal.tenant_id, job_id, key, window)
    unknown = sorted(set(key or ()) - found.keys())
    names = [name for name in dict.fromkeys(key) if name in found] if key else sorted(found)
    answer = SeriesList(agg=agg, series=[found[name] for name in names], unknown=unknown)
    return _revalidated(answer, if_none_match)


@router.get("/metrics:compare", response_model=SeriesList, responses=responses(InvalidParameter, NotFound))
def compare_metrics(
    principal: JobReader,
    database: DatabaseDep,
    job: Annotated[list[Annotated[str, StringConstraints(pattern=JOB_ID)]], Query(min_length=1, max_length=MAX_JOBS)],
    key: Annotated[MetricName, Query(description="The metric.")],
    step_from: Step = None,
    step_to: Step = None,
    max_points: MaxPoints = 500,
    agg: Agg = "minmax",
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Read one metric of several jobs."""
    window = window_of(step_from, step_to, max_points, agg)
    answer = _compared(database, principal.tenant_id, list(dict.fromkeys(job)), key, window)
    return _revalidated(answer, if_none_match)


def _compared(database: Database, tenant: str, job_ids: list[str], key: str, window: Window) -> SeriesList:
    found: list[Series] = []
    with database.read() as session:
        for job_id in job_ids:
            ownership.check(session, tenant, job_id)
            found.extend(service.series(session, tenant, job_id, [key], window).values())
    return SeriesList(agg=window.agg, series=found, unknown=[] if found else [key])


def window_of(step_from: int | None, step_to: int | None, max_points: int, agg: Aggregate) -> Window:
    """The part of a series that a query asks for.

    Raises:
        InvalidParameter: it ends before it begins.
    """
    low, high = step_from or 0, LAST_STEP if step_to is None else step_to
    if low > high:
        raise InvalidParameter(f"`step_from` is {low}, beyond `step_to`, which is {high}; swap them")
    return Window(low, high, max_points, agg)


def _revalidated(answer: SeriesList, if_none_match: str | None) -> Response:
    body = answer.model_dump_json(exclude_none=True).encode()
    # exclude_none drops absent columns; the nulls inside columns are list items and stay.
    tag = f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if if_none_match is not None and tag in (part.strip() for part in if_none_match.split(",")):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)
