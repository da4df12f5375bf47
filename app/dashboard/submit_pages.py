"""The dashboard's form by which a job is submitted: from nothing, from a preset, or as a copy of another job."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse

from app.core.errors import Gone, IdempotencyMismatch, IllegalTransition, Invalid, ServiceError
from app.core.paths import JobId
from app.core.security import Scope
from app.dashboard import snippets
from app.dashboard.job_form import presets
from app.dashboard.job_form.draft import Draft, Judgement, from_form, from_job, from_preset, judged
from app.dashboard.job_form.field import Field
from app.dashboard.job_form.presets import Search
from app.dashboard.rendering import SameOrigin, base_url, check_writer, error_page, fields, login_page, render
from app.dashboard.set_views import shape_words
from app.dashboard.visitors import PageJobs
from app.datasets.repository import DatasetRepository
from app.jobs import idempotency
from app.jobs.schemas import Envelope
from app.jobs.transactions import JobTransactions
from app.keys.principals import Turn
from ddcore.spec import DATASETS, JobSpec
from ddcore.spec.local_sets import names_in

router = APIRouter()

FIRST: Mapping[str, str] = {"method": "dm", "ipc": "10"}
"""What an empty form proposes."""
SECTIONS: Mapping[str, Sequence[str]] = {
    "first": ("dataset", "ipc", "seed"),
    "images": ("network", "decoder", "sampler", "augmentation", "init", "whitening"),
    "beside": ("name", "labels", "priority", "limits"),
}
"""Fields that stand together. Those of no section, but for method, regularisers and evaluation, are about the run."""
KEY_LIMIT = 64

Sent = Annotated[Mapping[str, str], Depends(fields)]
Word = Annotated[str, Query(max_length=200)]


@dataclass(frozen=True)
class Told:
    """What the page says above the form."""

    title: str
    sentences: Sequence[str]
    kind: Literal["error", "info"] = "error"


AGAIN = Told(
    "This form has made a job before",
    ["It has changed since, or that job was deleted. Submit it once more to make another one."],
    "info",
)


@router.get("/jobs/new")
def form_page(
    request: Request,
    jobs: PageJobs,
    preset: Word = "",
    clone: Word = "",
    extends: Word = "",
    dataset: Word = "",
    method: Word = "",
    ipc: Word = "",
    seed: Word = "",
    find: Word = "",
    find_method: Word = "",
    find_dataset: Word = "",
) -> Response:
    """The form, empty or filled with a preset, with a job to copy or to extend, or with what the address says."""
    if jobs is None:
        return login_page(f"/jobs/new?{request.url.query}" if request.url.query else "/jobs/new")
    given = {"dataset": dataset, "method": method, "ipc": ipc, "seed": seed}
    try:
        draft = _begun(jobs, preset, clone, extends)
    except ServiceError as error:
        return error_page(error, jobs.principal, "/jobs/new", "An empty form")
    draft = replace(draft, values={**draft.values, **{name: text for name, text in given.items() if text}})
    search = Search(find, find_method, find_dataset)
    return _page(request, jobs, draft, new_key(), search=search, preset=preset)


@router.post("/jobs/new", dependencies=[SameOrigin, Turn])
def send(request: Request, jobs: PageJobs, sent: Sent) -> Response:
    """Submit what the form says; or show it again, with what is wrong with it and what it would cost."""
    if jobs is None:
        return login_page("/jobs/new")
    draft, key = from_form(sent), sent.get("key", "")[:KEY_LIMIT] or new_key()
    if sent.get("do") != "submit":
        return _page(request, jobs, draft, key)
    if sent.get("outline") != draft.outline or draft.left_out:
        sentences = ["What is chosen has other fields than the form had. Look at them, and submit it again."]
        return _page(request, jobs, draft, key, Told("Not submitted yet", sentences, "info"))
    try:
        check_writer(jobs.principal, "jobs")
        return RedirectResponse(f"/jobs/{_submitted(jobs, draft, key)}", 303)
    except Invalid as error:
        return _page(request, jobs, draft, key, status=error.status, submitted=True)
    except (Gone, IdempotencyMismatch) as error:
        return _page(request, jobs, draft, new_key(), AGAIN, error.status)
    except ServiceError as error:
        return _page(request, jobs, draft, key, Told(error.title, [error.detail]), error.status)


@router.post("/jobs/{job_id}/rerun", dependencies=[SameOrigin, Turn])
def rerun(job_id: JobId, jobs: PageJobs, sent: Sent) -> Response:
    """Make the result of a job once more, and show the new job."""
    if jobs is None:
        return login_page(f"/jobs/{job_id}")
    key = sent.get("key", "")[:KEY_LIMIT] or new_key()
    digest = idempotency.request_digest(f"rerun {job_id}", {})
    try:
        check_writer(jobs.principal, "jobs")
        made = jobs.create(lambda reader: reader.again(job_id), f"form-{key}", digest, job_id)
    except ServiceError as error:
        return error_page(error, jobs.principal, f"/jobs/{job_id}", "Back to the job")
    return RedirectResponse(f"/jobs/{idempotency.identifier(made)}", 303)


def _begun(jobs: JobTransactions, preset: str, clone: str, extends: str) -> Draft:
    if clone or extends:
        job = jobs.get(clone or extends)
        if "clone" not in job.actions:
            raise IllegalTransition(f"{job.id} takes a dataset in; only jobs that distil can be copied or extended")
        settings = jobs.settings
        copy = from_job(job, {"max_runtime_s": settings.max_runtime_s, "max_queue_s": settings.max_queue_s})
        # A set without its version is the newest one, which is what has grown.
        newest = copy.values.get("dataset", "").partition("@")[0]
        return copy if clone else Draft({**copy.values, "extends": job.id, "dataset": newest})
    return from_preset(preset) if preset else Draft(FIRST)


def _submitted(jobs: JobTransactions, draft: Draft, key: str) -> str:
    """Make the job, or find the one that this very form has made already; its identifier."""
    body = draft.body
    parent = jobs.get(draft.clone).id if draft.clone else None
    digest = idempotency.request_digest(f"form {draft.clone}", body)
    made = jobs.create(lambda reader: reader.read(body), f"form-{key}", digest, parent)
    return idempotency.identifier(made)


def _page(
    request: Request,
    jobs: JobTransactions,
    draft: Draft,
    key: str,
    told: Told | None = None,
    status: int = 200,
    *,
    submitted: bool = False,
    search: Search | None = None,
    preset: str = "",
) -> Response:
    judgement = judged(draft, jobs, sent=submitted)
    if submitted and judgement.faults.none and judgement.over is None:
        told = Told("Not submitted", ["What was wrong is no longer so. Submit the form again."], "info")
    form = draft.fields(judgement.faults, judgement.known)
    with jobs.read() as lookup:
        own = DatasetRepository(lookup.session, jobs.principal).ready_names()
    return render(
        "submit.html",
        status,
        here="jobs",
        principal=jobs.principal,
        may_submit=jobs.principal.may(Scope.JOBS_WRITE),
        told=told,
        draft=draft,
        key=key,
        form=form,
        sections=_sections(form),
        judgement=judgement,
        labels={one.path: one.label for top in form.values() for one in top.all()},
        commands=_commands(draft, judgement, base_url(request)),
        datasets=sorted({*DATASETS, *own, *names_in(jobs.settings.data_root)}),
        search=search or Search(),
        preset_methods=presets.methods(),
        preset_datasets=presets.datasets(),
        shown_presets=presets.SHOWN,
        shape_words=shape_words,
        preset=preset,
    )


def _sections(form: Mapping[str, Field]) -> Mapping[str, Sequence[Field]]:
    """The fields at the top of the form, section by section, whatever the specification gains."""
    placed = {name for names in SECTIONS.values() for name in names} | {"method", "regularizers", "evaluation"}
    run = [one for name, one in form.items() if name not in placed]
    return {"run": run} | {section: [form[name] for name in names] for section, names in SECTIONS.items()}


def _commands(draft: Draft, judgement: Judgement, url: str) -> Mapping[str, str]:
    """The same by hand; nothing where it would be refused."""
    if judgement.validation is None or judgement.over is not None:
        return {}
    body: dict[str, Any] = snippets.shortest(JobSpec.model_validate(judgement.validation.spec))
    return snippets.again(body | {name: one for name, one in draft.body.items() if name in Envelope.model_fields}, url)


def new_key() -> str:
    """What tells a form from all others: sent twice, it makes one job."""
    return secrets.token_urlsafe(24)
