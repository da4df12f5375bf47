"""The dashboard's pages, and the forms on them."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Path, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from app.artifacts.downloads import StoreDep
from app.core.database import Database
from app.core.dependencies import DatabaseDep, SettingsDep, SignerDep, rates_of
from app.core.errors import Forbidden, NotFound, RateLimited, ServiceError
from app.core.paths import JobId
from app.core.security import Principal, Scope
from app.dashboard import (
    audit_views,
    compare_pages,
    content,
    dataset_pages,
    gallery,
    list_pages,
    oidc_pages,
    score_pages,
    snippets,
    static_files,
    study_pages,
    study_submit_pages,
    submit_pages,
    team_pages,
    webhook_pages,
)
from app.dashboard.drawing import bars
from app.dashboard.own_sets import of_jobs
from app.dashboard.rendering import (
    HEADERS,
    SameOrigin,
    base_url,
    check_writer,
    compile_all,
    error_page,
    fields,
    local_path,
    login_page,
    render,
)
from app.dashboard.views import view
from app.dashboard.visitors import PageJobs
from app.jobs.schemas import CancelRequest, JobDocument, RetryRequest
from app.jobs.specifications import as_declared
from app.jobs.verbs import JobVerbs
from app.keys.principals import OptionalPrincipal, address
from app.keys.routes import note_refusal, start_session
from app.keys.service import DEFAULT_TENANT, claimed, note_login
from app.logs.service import LogReader
from app.models.states import Kind
from app.scores import repository as scores
from app.system import repository as system
from app.system.routes import WorkerId, want

router = APIRouter(include_in_schema=False)
router.include_router(dataset_pages.router)
# Before the page of a job: its address would fit.
router.include_router(submit_pages.router)
router.include_router(list_pages.router)
router.include_router(study_submit_pages.router)
router.include_router(study_pages.router)
router.include_router(compare_pages.router)
router.include_router(score_pages.router)
router.include_router(team_pages.router)
router.include_router(webhook_pages.router)
router.include_router(oidc_pages.router)

SHOWN_CHILDREN = 20
"""Jobs that come from a job, on its page, at most."""
Verb = Literal["cancel", "keep", "pause", "resume", "retry"]


@cache
def assets() -> dict[str, static_files.StaticFile]:
    """The static files."""
    return static_files.load()


def warm() -> None:
    """Do beforehand what the first look at a page would wait for: templates compiled, files compressed."""
    compile_all()
    for file in assets().values():
        _ = file.compressed


@router.get("/static/{name}")
async def get_static(
    name: Annotated[str, Path(max_length=100)],
    if_none_match: Annotated[str | None, Header()] = None,
    accept_encoding: Annotated[str, Header()] = "",
) -> Response:
    """A style sheet, script or icon."""
    file = assets().get(name)
    if file is None:
        raise NotFound(f"there is no file {name}")
    compressed = "gzip" in accept_encoding
    headers = file.headers(compressed=compressed)
    if if_none_match == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(file.compressed if compressed else file.content, media_type=file.media_type, headers=headers)


@router.get("/jobs/{job_id}")
def job_page(
    request: Request,
    job_id: JobId,
    jobs: PageJobs,
    store: StoreDep,
) -> Response:
    """One job."""
    if jobs is None:
        return login_page(f"/jobs/{job_id}")
    with jobs.read() as lookup:
        try:
            job = lookup.get(job_id)
        except NotFound as error:
            return error_page(error, jobs.principal)
        if job.kind is Kind.INGEST:
            return RedirectResponse(f"/datasets/{job.dataset_id}", 303)
        if job.kind is Kind.SCORE:
            found_score = scores.of_job(lookup.session, job_id)
            return RedirectResponse("/leaderboard" if found_score is None else f"/scores/{found_score.id}", 303)
        shown = view(job, of_jobs(lookup.session, jobs.principal, [job]).get(job.dataset_id))
        found = content.of_job(lookup.session, jobs.principal.tenant_id, shown)
        children = lookup.children(job_id, SHOWN_CHILDREN)
    return render(
        "job.html",
        here="jobs",
        principal=jobs.principal,
        view=shown,
        job=job,
        children=children,
        key=submit_pages.new_key(),
        found=found,
        origin=content.origin(store, found.manifest),
        gallery=gallery.of_sheet(store, next(reversed(found.pictures), None)),
        lines=content.last_lines(LogReader(jobs.database, store, job_id)),
        audit=audit_views.of_job(store, job, found.downloads),
        charts_of=[(one, bars(one)) for one in shown.architectures],
        specification=json.dumps(as_declared(job.spec), indent=2, ensure_ascii=False),
        departures=snippets.departures(job),
        commands=snippets.again(snippets.submission(job), base_url(request)),
        loading={"PyTorch": snippets.load(job), "Hugging Face datasets": snippets.load_datasets()},
    )


@router.post("/jobs/{job_id}/{verb}", dependencies=[SameOrigin])
def act(
    job_id: JobId,
    verb: Verb,
    jobs: PageJobs,
) -> Response:
    """Cancel, pause, resume or retry a job, then show it again."""
    if jobs is None:
        return login_page(f"/jobs/{job_id}")
    try:
        check_writer(jobs.principal, "jobs")
        jobs.act(lambda verbs: _apply(verbs, job_id, verb))
    except ServiceError as error:
        return error_page(error, jobs.principal, f"/jobs/{job_id}", "Back to the job")
    return RedirectResponse(f"/jobs/{job_id}", 303)


@router.get("/system")
def system_page(principal: OptionalPrincipal, database: DatabaseDep, settings: SettingsDep) -> Response:
    """Workers and queue."""
    if principal is None:
        return login_page("/system")
    with database.read() as session:
        workers = system.workers(session, settings.lease_s)
        counts = system.unfinished_by_status(session, principal)
        owed = system.owed_messages(session)
        own = system.own_jobs(session, principal, workers)
    return render(
        "system.html", here="system", principal=principal, workers=workers, counts=counts, owed=owed, own=own,
        operator=principal.may(Scope.OPERATOR),
    )  # fmt: skip


@router.post("/system/workers/{worker_id}/{verb}", dependencies=[SameOrigin])
def tell_worker(
    worker_id: WorkerId,
    verb: Literal["cordon", "drain", "uncordon"],
    principal: OptionalPrincipal,
    database: DatabaseDep,
    settings: SettingsDep,
) -> Response:
    """Have a worker claim no more jobs, or claim them again."""
    if principal is None:
        return login_page("/system")
    try:
        if not principal.may(Scope.OPERATOR):
            raise Forbidden("workers serve every tenant; telling them what to do is for keys with the scope `operator`")
        want("run" if verb == "uncordon" else verb, worker_id, principal, database, settings)
    except ServiceError as error:
        return error_page(error, principal, "/system", "Back to the system")
    return RedirectResponse("/system", 303)


@router.post("/login", dependencies=[SameOrigin])
async def login(request: Request, database: DatabaseDep, settings: SettingsDep, signer: SignerDep) -> Response:
    """Start a session with a pasted API key."""
    form = await fields(request)
    onward = local_path(form.get("next", "/"))
    text = form.get("key", "").strip()
    found = await run_in_threadpool(request.app.state.keyring.by_key, text)
    if found is None or found.key_id is None:
        await run_in_threadpool(_note_refusal, request, database, text)
        try:
            rates_of(request).failed(address(request))
        except RateLimited as limited:
            return login_page(onward, limited.detail)
        return login_page(onward, "This key is wrong, expired or revoked.")
    await run_in_threadpool(_note_login, database, replace(found, address=address(request)))
    response = RedirectResponse(onward, 303, HEADERS)
    start_session(response, request, signer, settings, found.key_id)
    return response


def _note_login(database: Database, principal: Principal) -> None:
    with database.write() as session:
        note_login(session, principal, by="key")


def _note_refusal(request: Request, database: Database, text: str) -> None:
    with database.read() as session:
        key = claimed(session, text)
    tenant, named = (DEFAULT_TENANT, None) if key is None else (key.tenant_id, key.id)
    note_refusal(request, database, tenant, by="key", reason="wrong, expired or revoked", key=named)


def _apply(verbs: JobVerbs, job_id: str, verb: Verb) -> JobDocument:
    match verb:
        case "cancel" | "keep":
            return verbs.cancel(job_id, CancelRequest(keep_result=verb == "keep", reason="dashboard"))
        case "pause":
            return verbs.pause(job_id)
        case "resume":
            return verbs.resume(job_id)
        case "retry":
            return verbs.retry(job_id, RetryRequest())
