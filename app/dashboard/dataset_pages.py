"""The dashboard's pages on datasets, and the forms on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse

from app.artifacts.downloads import StoreDep
from app.core.dependencies import DatabaseDep, SettingsDep, SignerDep
from app.core.errors import InvalidCursor, NotFound, ServiceError
from app.core.pagination import Cursors
from app.core.paths import DatasetId
from app.core.storage import ArtifactStore
from app.dashboard import dataset_forms as forms
from app.dashboard import snippets
from app.dashboard.content import last_lines
from app.dashboard.job_form.reading import number
from app.dashboard.rendering import SameOrigin, base_url, check_writer, error_page, fields, login_page, render
from app.dashboard.report_views import ReportView
from app.dashboard.set_views import SetView
from app.datasets.schemas import DatasetDocument, DatasetState
from app.datasets.transactions import DatasetTransactions
from app.events import queries as events
from app.jobs.lookup import JobLookup
from app.jobs.schemas import JobDocument
from app.jobs.transactions import JobTransactions
from app.keys.principals import OptionalPrincipal
from app.logs.service import LogReader
from ddcore.spec import METHODS
from ddcore.spec.ingest import IngestOptions

router = APIRouter()

PAGE = 50
FIRST_IPC = 10
"""Images per class that the form proposes, where the smallest class has as many."""
Verb = Literal["ingest", "distil", "delete"]


async def page_sets(
    principal: OptionalPrincipal, database: DatabaseDep, settings: SettingsDep
) -> DatasetTransactions | None:
    """The sets that a page may show; ``None`` where nobody is logged in."""
    return None if principal is None else DatasetTransactions(principal, database, settings)


PageSets = Annotated[DatasetTransactions | None, Depends(page_sets)]
Sent = Annotated[Mapping[str, str], Depends(fields)]


@router.get("/datasets")
def list_page(
    request: Request,
    sets: PageSets,
    signer: SignerDep,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> Response:
    """The user's own sets, newest first, then the others."""
    if sets is None:
        return login_page("/datasets")
    cursors = Cursors(signer, {"tenant": sets.principal.tenant_id, "page": "dashboard/datasets"})
    with sets.read() as service:
        try:
            page = service.page(cursors, cursor, PAGE, None)
        except InvalidCursor:
            return RedirectResponse("/datasets", 303)
    own = [SetView(one) for one in page.data if one.id is not None]
    return render(
        "datasets.html",
        here="datasets",
        principal=sets.principal,
        own=own,
        others=[SetView(one) for one in page.data if one.id is None],
        busy=any(one.busy for one in own),
        following=urlencode({"cursor": page.next_cursor}) if page.next_cursor else None,
        first_page=cursor is None,
        commands=snippets.upload(base_url(request)),
        **_form(None),
    )


@router.get("/datasets/{dataset_id}")
def set_page(request: Request, dataset_id: DatasetId, sets: PageSets, store: StoreDep) -> Response:
    """One set of the user's own."""
    return login_page(f"/datasets/{dataset_id}") if sets is None else _page(request, sets, store, dataset_id)


@router.post("/datasets/{dataset_id}/{verb}", dependencies=[SameOrigin])
def act(request: Request, dataset_id: DatasetId, verb: Verb, sets: PageSets, store: StoreDep, sent: Sent) -> Response:
    """Take a set in again, distil it or delete it; what is not possible is said on its page."""
    if sets is None:
        return login_page(f"/datasets/{dataset_id}")
    try:
        check_writer(sets.principal, "datasets")
        return RedirectResponse(_apply(sets, dataset_id, verb, sent), 303)
    except ServiceError as error:
        return _page(request, sets, store, dataset_id, error, verb, sent)


def _apply(sets: DatasetTransactions, dataset_id: str, verb: Verb, sent: Mapping[str, str]) -> str:
    """Do it; the page that shows what came of it."""
    match verb:
        case "ingest":
            sets.ingest(dataset_id, forms.options_of(sent))
            return f"/datasets/{dataset_id}"
        case "distil":
            jobs = JobTransactions(sets.principal, sets.database, sets.settings)
            chosen = {name: text if name == "method" else number(text) for name, text in _chosen(sent).items()}
            body = {"dataset": sets.get(dataset_id).reference, **chosen}
            return f"/jobs/{jobs.submit(lambda reader: reader.read(body)).id}"
        case "delete":
            with sets.write() as service:
                service.delete(dataset_id)
            return "/datasets"


def _page(
    request: Request,
    sets: DatasetTransactions,
    store: ArtifactStore,
    dataset_id: str,
    fault: ServiceError | None = None,
    verb: Verb | None = None,
    sent: Mapping[str, str] | None = None,
) -> Response:
    """A set's page, with what was wrong with a form of it."""
    with sets.read() as service:
        try:
            document = service.get(dataset_id)
        except NotFound as error:
            return error_page(error, sets.principal, "/datasets", "All datasets")
        report = service.report(dataset_id) if document.state is DatasetState.READY else None
        job, last_seq = None, 0
        if document.job is not None:
            job = JobLookup(service.session, sets.principal).get(document.job.id)
            newest = events.newest(service.session, sets.principal.tenant_id, job.id, 1)
            last_seq = next((event.seq for event in newest), 0)
    wanted = _wanted(document, sent if verb == "distil" else None)
    return render(
        "dataset.html",
        200 if fault is None else fault.status,
        here="datasets",
        principal=sets.principal,
        view=SetView(document),
        set=document,
        found=None if report is None else ReportView(report),
        job=job,
        lines=None if job is None else last_lines(LogReader(sets.database, store, job.id)),
        stream=_stream(job, last_seq),
        fault=fault,
        beside=_form_of(document, verb),
        wanted=wanted,
        methods={name: cls.title for name, cls in sorted(METHODS.items())},
        commands=snippets.distil(document.reference, wanted, base_url(request)),
        **_form(document.options, sent if verb == "ingest" else None),
    )


def _form(options: IngestOptions | None, sent: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What the form of options shows: values that were sent and refused, or those in use."""
    shown = {field.name: field.shown(options) for field in (*forms.MAIN, *forms.MORE)}
    values = shown if sent is None else {name: sent.get(name, "") for name in shown}
    return {"main_fields": forms.MAIN, "more_fields": forms.MORE, "values": values}


def _chosen(sent: Mapping[str, str]) -> dict[str, str]:
    """What the form of a job says of it."""
    return {name: sent[name].strip() for name in ("method", "ipc", "seed") if sent.get(name, "").strip()}


def _wanted(document: DatasetDocument, sent: Mapping[str, str] | None) -> dict[str, Any]:
    """What the form of a job shows: values that were sent and refused, or a proposal."""
    ipc = min(FIRST_IPC, document.smallest_class or FIRST_IPC)
    return {"method": "dm", "ipc": ipc, "seed": 0} | (_chosen(sent) if sent else {})


def _form_of(document: DatasetDocument, verb: Verb | None) -> Verb | None:
    """The form that a fault stands beside; ``None`` where the page does not show it."""
    shown = (verb == "ingest" and "ingest" in document.actions) or (
        verb == "distil" and document.state is DatasetState.READY
    )
    return verb if shown else None


def _stream(job: JobDocument | None, last_seq: int) -> str | None:
    return None if job is None else f"/v1/jobs/{job.id}/events:stream?progress=true&last_event_id={last_seq}"
