"""The dashboard's form by which a study is begun: from nothing, or as a copy of another one."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse

from app.core.errors import Gone, IdempotencyMismatch, Invalid, ServiceError
from app.core.security import Scope
from app.dashboard import snippets
from app.dashboard.job_form.faults import NO_FAULTS, Faults
from app.dashboard.job_form.field import Field
from app.dashboard.rendering import SameOrigin, base_url, check_writer, error_page, fields, login_page, render
from app.dashboard.study_form.draft import StudyDraft, from_form, from_request
from app.dashboard.study_pages import PageStudies
from app.dashboard.submit_pages import KEY_LIMIT, Told
from app.datasets.repository import DatasetRepository
from app.jobs import idempotency
from app.keys.principals import Turn
from app.studies import planning
from app.studies.schemas import StudyValidation
from app.studies.transactions import StudyTransactions
from ddcore.spec import DATASETS
from ddcore.spec.local_sets import names_in

router = APIRouter()

FIRST: Mapping[str, str] = {"method": "auto", "ipc": "10", "study.budget.minutes": "20"}
"""What an empty form proposes."""
OF_JOB: Mapping[str, Sequence[str]] = {
    "first": ("dataset", "ipc"),
    "images": ("network", "decoder", "sampler", "augmentation", "init", "whitening"),
}
OF_STUDY: Mapping[str, Sequence[str]] = {
    "search": ("budget", "objective", "seeds"),
    "halving": ("sampler", "seed", "rungs", "reduction", "scoring"),
    "beside": ("name", "labels", "priority"),
}
"""Fields that stand together. Those of the job that stand nowhere else are about the run."""

AGAIN = Told(
    "This form has begun a study before",
    ["It has changed since, or that study was deleted. Submit it once more to begin another one."],
    "info",
)

Sent = Annotated[Mapping[str, str], Depends(fields)]
Word = Annotated[str, Query(max_length=200)]


@dataclass(frozen=True)
class Judgement:
    """What the service says of a draft: it would become a study, or what is wrong with it."""

    faults: Faults
    validation: StudyValidation | None = None
    over: str | None = None
    """Why the quota has no room for it."""


@router.get("/studies/new")
def form_page(
    request: Request, studies: PageStudies, clone: Word = "", dataset: Word = "", method: Word = "", ipc: Word = ""
) -> Response:
    """The form, empty or filled with a study to copy, or with what the address says."""
    if studies is None:
        return login_page(f"/studies/new?{request.url.query}" if request.url.query else "/studies/new")
    given = {"dataset": dataset, "method": method, "ipc": ipc}
    try:
        draft = _begun(studies, clone)
    except ServiceError as error:
        return error_page(error, studies.principal, "/studies/new", "An empty form")
    draft = StudyDraft({**draft.values, **{name: text for name, text in given.items() if text}})
    return _page(request, studies, draft, _new_key())


@router.post("/studies/new", dependencies=[SameOrigin, Turn])
def send(request: Request, studies: PageStudies, sent: Sent) -> Response:
    """Begin the study that the form says; or show it again, with what is wrong with it and what it would cost."""
    if studies is None:
        return login_page("/studies/new")
    draft, key = from_form(sent), sent.get("key", "")[:KEY_LIMIT] or _new_key()
    if sent.get("do") != "submit":
        return _page(request, studies, draft, key)
    if sent.get("outline") != draft.outline or draft.left_out:
        sentences = ["What is chosen has other fields than the form had. Look at them, and submit it again."]
        return _page(request, studies, draft, key, Told("Not begun yet", sentences, "info"))
    if draft.parted.unread:
        return _page(request, studies, draft, key, status=Invalid.status, submitted=True)
    try:
        check_writer(studies.principal, "studies")
        return RedirectResponse(f"/studies/{_begin(studies, draft, key)}", 303)
    except Invalid as error:
        return _page(request, studies, draft, key, status=error.status, submitted=True)
    except (Gone, IdempotencyMismatch) as error:
        return _page(request, studies, draft, _new_key(), AGAIN, error.status)
    except ServiceError as error:
        return _page(request, studies, draft, key, Told(error.title, [error.detail]), error.status)


def _begun(studies: StudyTransactions, clone: str) -> StudyDraft:
    if not clone:
        return StudyDraft(FIRST)
    return from_request(studies.get(clone).spec)


def _begin(studies: StudyTransactions, draft: StudyDraft, key: str) -> str:
    """Begin the study, or find the one that this very form has begun already; its identifier."""
    body = draft.body
    digest = idempotency.request_digest("study form", body)
    made = studies.create(lambda service: service.plan(planning.read(body)), f"form-{key}", digest)
    return idempotency.identifier(made)


def _judged(draft: StudyDraft, studies: StudyTransactions, *, sent: bool) -> Judgement:
    try:
        with studies.read() as service:
            plan = service.plan(planning.read(draft.body))
            validation, refused = service.foresee(plan), service.over(plan)
    except Invalid as error:
        return Judgement(draft.placed(error.problems, sent=sent))
    faults = draft.placed([], sent=sent) if draft.parted.unread else NO_FAULTS
    return Judgement(faults, validation, None if refused is None else refused.detail)


def _page(
    request: Request,
    studies: StudyTransactions,
    draft: StudyDraft,
    key: str,
    told: Told | None = None,
    status: int = 200,
    *,
    submitted: bool = False,
) -> Response:
    judgement = _judged(draft, studies, sent=submitted)
    if submitted and judgement.faults.none and judgement.over is None:
        told = Told("Not begun", ["What was wrong is no longer so. Submit the form again."], "info")
    job, beside = draft.job_fields(judgement.faults), draft.study_fields(judgement.faults)
    with studies.read() as service:
        own = DatasetRepository(service.session, studies.principal).ready_names()
    return render(
        "study_submit.html",
        status,
        here="studies",
        principal=studies.principal,
        may_submit=studies.principal.may(Scope.JOBS_WRITE),
        told=told,
        draft=draft,
        key=key,
        job=job,
        sections=_sections(job, beside),
        judgement=judgement,
        labels={one.path: one.label for one in draft.all_fields},
        commands=snippets.study(draft.body, base_url(request)) if judgement.validation and not judgement.over else {},
        datasets=sorted({*DATASETS, *own, *names_in(studies.settings.data_root)}),
    )


def _sections(job: Mapping[str, Field], beside: Mapping[str, Field]) -> Mapping[str, Sequence[Field]]:
    """The fields at the top of the form, section by section, whatever the specification gains."""
    found: dict[str, Any] = {section: [job[name] for name in names] for section, names in OF_JOB.items()}
    found |= {section: [beside[name] for name in names] for section, names in OF_STUDY.items()}
    found["beside"] = [*found["beside"], job["limits"]]
    placed = {name for names in OF_JOB.values() for name in names} | {"limits", "method", "regularizers", "evaluation"}
    found["run"] = [one for name, one in job.items() if name not in placed]
    found["halving"] += [one for name, one in beside.items() if not any(name in names for names in OF_STUDY.values())]
    return found


def _new_key() -> str:
    return secrets.token_urlsafe(24)
