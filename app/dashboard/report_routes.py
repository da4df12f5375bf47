"""HTTP of the report of a job."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from app.artifacts.downloads import StoreDep
from app.core.errors import NotFound
from app.core.paths import JobId
from app.core.problems import responses
from app.dashboard import content, job_report
from app.dashboard.own_sets import of_jobs
from app.dashboard.views import view
from app.jobs.transactions import JobsToRead

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.get("/{job_id}/report", response_class=HTMLResponse, responses=responses(NotFound))
def get_report(job_id: JobId, jobs: JobsToRead, store: StoreDep) -> HTMLResponse:
    """Download the result of a job as one HTML file that needs no network.

    It has accuracy beside the controls, curves, images and their real neighbours, specification and provenance.
    """
    tenant = jobs.principal.tenant_id
    with jobs.read() as lookup:
        job = lookup.get(job_id)
        shown = view(job, of_jobs(lookup.session, jobs.principal, [job]).get(job.dataset_id))
        job_report.check(shown)
        found = content.of_job(lookup.session, tenant, shown)
        drawn = job_report.curves(lookup.session, tenant, job_id)
    headers = {"Content-Disposition": f'attachment; filename="{job_id}.html"', "Cache-Control": "private, no-cache"}
    return HTMLResponse(job_report.html(store, shown, found, drawn), headers=headers)
