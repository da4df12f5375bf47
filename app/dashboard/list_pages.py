"""The dashboard's list of jobs, and what is done to several of them at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse

from app.core.dependencies import SignerDep
from app.core.errors import InvalidCursor, InvalidParameter, ServiceError
from app.core.pagination import Cursors
from app.dashboard import snippets
from app.dashboard.job_list import COLUMNS, NEWEST, USUAL, Listing
from app.dashboard.own_sets import of_jobs
from app.dashboard.rendering import (
    SameOrigin,
    base_url,
    check_writer,
    error_page,
    local_path,
    login_page,
    pairs,
    render,
)
from app.dashboard.views import view
from app.dashboard.visitors import PageJobs
from app.datasets.repository import DatasetRepository
from app.jobs.schemas import CancelRequest
from app.jobs.sorting import Sort
from app.jobs.transactions import JobTransactions
from app.jobs.verbs import JobVerbs
from app.models.states import State
from ddcore.spec import DATASETS, METHODS

router = APIRouter()

PAGE = 50
MOST = 200
"""Jobs that one form may act on."""
DONE = {"cancel": "Cancelled, or about to be", "delete": "Deleted"}

Word = Annotated[str, Query(max_length=200)]
Sent = Annotated[list[tuple[str, str]], Depends(pairs)]


@router.get("/")
def list_page(
    request: Request,
    jobs: PageJobs,
    signer: SignerDep,
    status: Annotated[str, Query(max_length=20)] = "",
    method: Word = "",
    dataset: Word = "",
    search: Word = "",
    label: Annotated[str, Query(max_length=400)] = "",
    study: Word = "",
    sort: Annotated[str, Query(max_length=32)] = NEWEST,
    columns: Annotated[list[str] | None, Query(max_length=len(COLUMNS))] = None,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> Response:
    """The jobs that the address asks for, newest first unless it says otherwise."""
    chosen = tuple(name for name in COLUMNS if name in columns) if columns else USUAL
    listing = Listing(status, method, dataset, search, label, study, sort or NEWEST, chosen)
    if jobs is None:
        return login_page(listing.address())
    try:
        return _page(request, jobs, signer, listing, cursor)
    except InvalidCursor:
        # A bookmarked page of another filter, or of a service that has a new secret since.
        return RedirectResponse(listing.address(), 303)
    except InvalidParameter as error:
        return error_page(error, jobs.principal)


@router.post("/jobs", dependencies=[SameOrigin])
def act_on_several(jobs: PageJobs, sent: Sent) -> Response:
    """Cancel, delete or compare the jobs that are ticked; what cannot be is told job by job."""
    form = dict(sent)
    back = local_path(form.get("back", "/"))
    if jobs is None:
        return login_page(back)
    chosen = list(dict.fromkeys(value for name, value in sent if name == "job"))
    try:
        verb = form.get("do", "")
        _check(verb, chosen)
        if verb == "compare":
            return RedirectResponse(f"/compare?{urlencode({'ids': ','.join(chosen)}, safe=',')}", 303)
        check_writer(jobs.principal, "jobs")
    except ServiceError as error:
        return error_page(error, jobs.principal, back, "Back to the list")
    answers = {id: _refusal(jobs, verb, id) for id in chosen}
    refused = {id: refusal for id, refusal in answers.items() if refusal is not None}
    if not refused:
        return RedirectResponse(back, 303)
    return render(
        "several.html", 409, here="jobs", principal=jobs.principal, back=back, done=DONE[verb],
        succeeded=[id for id in chosen if id not in refused], refused=refused,
    )  # fmt: skip


def _page(request: Request, jobs: JobTransactions, signer: SignerDep, listing: Listing, cursor: str | None) -> Response:
    filters, by = listing.filters, Sort.read(listing.sort)
    cursors = Cursors(signer, {**vars(filters), "sort": str(by), "tenant": jobs.principal.tenant_id, "page": "list"})
    with jobs.read() as lookup:
        page = lookup.page(filters, by, cursors, cursor, PAGE)
        names = DatasetRepository(lookup.session, jobs.principal).ready_names()
        own = of_jobs(lookup.session, jobs.principal, page.data)
    return render(
        "jobs.html",
        here="jobs",
        principal=jobs.principal,
        jobs=[view(job, own.get(job.dataset_id)) for job in page.data],
        listing=listing,
        columns=COLUMNS,
        states=list(State),
        methods=sorted(METHODS),
        datasets=sorted({*DATASETS, *names}),
        following=listing.address(cursor=page.next_cursor) if page.next_cursor else None,
        first_page=cursor is None,
        here_again=listing.address(cursor=cursor),
        commands=snippets.first_job(base_url(request)),
    )


def _check(verb: str, chosen: list[str]) -> None:
    if verb not in (*DONE, "compare"):
        raise InvalidParameter(f"`do` is '{verb}', but must be one of {', '.join(DONE)}, compare")
    if not chosen:
        raise InvalidParameter("no job is ticked; tick some in the list first")
    if len(chosen) > MOST:
        raise InvalidParameter(f"{len(chosen)} jobs are ticked; at most {MOST} at once")


def _refusal(jobs: JobTransactions, verb: str, job_id: str) -> ServiceError | None:
    """Act on one job, in a transaction of its own; why it cannot be, if it cannot."""
    actions: dict[str, Callable[[JobVerbs], object]] = {
        "cancel": lambda verbs: verbs.cancel(job_id, CancelRequest(reason="dashboard")),
        "delete": lambda verbs: verbs.delete(job_id),
    }
    try:
        with jobs.write() as verbs:
            actions[verb](verbs)
    except ServiceError as error:
        return error
    return None
