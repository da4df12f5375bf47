"""The page that compares jobs."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from sqlalchemy.orm import Session

from app.compare import repository, service
from app.compare.routes import MAX_JOBS, job_ids
from app.compare.schemas import Comparison
from app.compare.service import Compared
from app.core.dependencies import DatabaseDep
from app.core.errors import ServiceError
from app.dashboard import compare_views as views
from app.dashboard.rendering import error_page, login_page, render
from app.keys.principals import OptionalPrincipal
from app.metrics.service import LAST_STEP, Window

router = APIRouter(include_in_schema=False)

POINTS = 200
"""Rows of a curve that the server draws; scripts ask for more."""
OFFERED = 40
"""Jobs that can be added on the page."""


@router.get("/compare")
def compare_page(
    principal: OptionalPrincipal,
    database: DatabaseDep,
    ids: Annotated[list[str], Query(max_length=1000)] = [],  # noqa: B006 - FastAPI copies it
    sort: views.Column | None = None,
    order: views.Order = "asc",
) -> Response:
    """Some jobs side by side, or a choice of jobs where there are none yet."""
    if principal is None:
        return login_page(f"/compare?ids={','.join(ids)}" if ids else "/compare")
    try:
        chosen = job_ids(ids) if any(text.strip(", ") for text in ids) else []
        with database.read() as session:
            compared = service.of_jobs(session, principal.tenant_id, chosen)
            found = compared.document() if chosen else None
            values: dict[str, Any] = {} if found is None else _shown(compared, found, sort, order)
            offered = _offered(session, principal.tenant_id, compared)
            return render(
                "compare.html", here="jobs", principal=principal, ids=chosen, found=found, offered=offered,
                most=MAX_JOBS, **values,
            )  # fmt: skip
    except ServiceError as error:
        return error_page(error, principal, "/compare", "Choose other jobs")


def _shown(compared: Compared, found: Comparison, sort: views.Column | None, order: views.Order) -> dict[str, Any]:
    window = Window(0, LAST_STEP, POINTS, "minmax")
    curves = [
        views.curve_view(curve, None if curve.comparable == "different" else compared.bands(curve.key, window))
        for curve in found.curves
    ]
    ids = [job.id for job in found.jobs]
    return {
        "curves": curves,
        "prices": views.price_views(found),
        "kinds": views.kinds(found),
        "jobs": views.ordered(found.jobs, sort, order),
        "headings": views.headings(ids, sort, order),
        "spread": views.spread,
        "written": views.written,
    }


def _offered(session: Session, tenant: str, compared: Compared) -> list[tuple[str, str]]:
    """Jobs that can be added, newest first, with what to call them; on the same dataset where all are on one."""
    datasets = {job.dataset for job in compared.jobs}
    chosen = {job.id for job in compared.jobs}
    newest = repository.newest(session, tenant, OFFERED, datasets.pop() if len(datasets) == 1 else None)
    return [(job.id, service.title(job)) for job in newest if job.id not in chosen]
