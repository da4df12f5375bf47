"""HTTP of comparisons."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from app.compare import service
from app.compare.schemas import Bands, Comparison
from app.compare.table import table
from app.core.dependencies import DatabaseDep
from app.core.errors import InvalidParameter, NotFound
from app.core.paths import JOB_ID
from app.core.problems import responses
from app.keys.principals import JobReader
from app.metrics.routes import MaxPoints, MetricName, Step, window_of

router = APIRouter(prefix="/v1", tags=["compare"])

MAX_JOBS = 50


def job_ids(
    ids: Annotated[
        list[str],
        Query(description=f"Identifiers of 1 to {MAX_JOBS} jobs, separated by commas; may be repeated."),
    ],
) -> list[str]:
    """The jobs to compare, as the query names them.

    Raises:
        InvalidParameter: none, too many, one twice, or something else than a job.
    """
    found = [word.strip() for text in ids for word in text.split(",") if word.strip()]
    if not 1 <= len(found) <= MAX_JOBS:
        raise InvalidParameter(
            f"`ids` names {len(found)} jobs, but may name 1 to {MAX_JOBS}; "
            + ("name the jobs to compare" if not found else "compare fewer of them at a time")
        )
    for id in found:
        if not re.match(JOB_ID, id):
            raise InvalidParameter(f"`ids` has `{id[:60]}`, which is no identifier of a job, `job_…`")
    twice = [id for id in dict.fromkeys(found) if found.count(id) > 1]
    if twice:
        raise InvalidParameter(f"`ids` names {', '.join(twice)} more than once; name each job once")
    return found


ComparedIds = Annotated[list[str], Depends(job_ids)]
REFUSALS = responses(InvalidParameter, NotFound)


@router.get("/jobs:compare", responses=REFUSALS)
def compare_jobs(ids: ComparedIds, principal: JobReader, database: DatabaseDep) -> Comparison:
    """Put jobs side by side: what differs, scores and costs, and which curves compare."""
    with database.read() as session:
        return service.of_jobs(session, principal.tenant_id, ids).document()


@router.get(
    "/jobs:compare.csv",
    response_class=Response,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}, **REFUSALS},
)
def compare_jobs_as_csv(ids: ComparedIds, principal: JobReader, database: DatabaseDep) -> Response:
    """The same as a table: a row for each job, and a column for each field that differs."""
    with database.read() as session:
        found = service.of_jobs(session, principal.tenant_id, ids).document()
    headers = {"Content-Disposition": 'attachment; filename="comparison.csv"'}
    return Response(table(found), media_type="text/csv", headers=headers)


@router.get("/metrics:bands", responses=REFUSALS)
def read_bands(
    ids: ComparedIds,
    principal: JobReader,
    database: DatabaseDep,
    key: Annotated[MetricName, Query(description="The metric.")],
    step_from: Step = None,
    step_to: Step = None,
    max_points: MaxPoints = 300,
) -> Bands:
    """Read one metric of several jobs, those that differ in the seed only joined into a band."""
    window = window_of(step_from, step_to, max_points, "minmax")
    with database.read() as session:
        return service.of_jobs(session, principal.tenant_id, ids).bands(key, window)
