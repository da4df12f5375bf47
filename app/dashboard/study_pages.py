"""The dashboard's pages of studies: the list, one of them, and what can be done with it."""

from __future__ import annotations

import json
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse

from app.core.dependencies import DatabaseDep, SettingsDep, SignerDep
from app.core.errors import InvalidCursor, NotFound, ServiceError
from app.core.pagination import Cursors
from app.core.paths import StudyId
from app.dashboard import snippets, study_views
from app.dashboard.rendering import SameOrigin, base_url, check_writer, error_page, login_page, render
from app.dashboard.study_views import BEST_FIRST, COLUMNS, view
from app.keys.principals import OptionalPrincipal
from app.studies.transactions import StudyTransactions

router = APIRouter()

PAGE = 50
Verb = Literal["pause", "resume", "cancel", "delete"]


async def page_studies(
    principal: OptionalPrincipal, database: DatabaseDep, settings: SettingsDep
) -> StudyTransactions | None:
    """The studies that a page may show; ``None`` where nobody is logged in."""
    return None if principal is None else StudyTransactions(principal, database, settings)


PageStudies = Annotated[StudyTransactions | None, Depends(page_studies)]


@router.get("/studies")
def list_page(
    request: Request,
    studies: PageStudies,
    signer: SignerDep,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> Response:
    """The studies, newest first."""
    if studies is None:
        return login_page("/studies")
    cursors = Cursors(signer, {"tenant": studies.principal.tenant_id, "page": "studies"})
    try:
        with studies.read() as service:
            page = service.page((), cursors, cursor, PAGE)
    except InvalidCursor:
        return RedirectResponse("/studies", 303)
    shown = [view(one) for one in page.data]
    return render(
        "studies.html",
        here="studies",
        principal=studies.principal,
        studies=shown,
        busy=any(one.active for one in shown),
        following=urlencode({"cursor": page.next_cursor}) if page.next_cursor else None,
        first_page=cursor is None,
        commands=snippets.first_study(base_url(request)),
    )


@router.get("/studies/{study_id}")
def study_page(
    request: Request,
    study_id: StudyId,
    studies: PageStudies,
    sort: Annotated[str, Query(max_length=32)] = BEST_FIRST,
) -> Response:
    """One study."""
    if studies is None:
        return login_page(f"/studies/{study_id}")
    try:
        study = studies.get(study_id)
    except NotFound as error:
        return error_page(error, studies.principal, "/studies", "All studies")
    shown = view(study, sort)
    return render(
        "study.html",
        here="studies",
        principal=studies.principal,
        view=shown,
        reduction=study.spec["reduction"],
        seeds=study.spec["seeds"],
        columns={name: one for name, one in COLUMNS.items() if name != "objective" or not shown.by_accuracy},
        sorted_by=lambda column: study_views.sorted_by(column, sort),
        next_sort=lambda column: study_views.next_sort(column, sort),
        specification=json.dumps(shown.request, indent=2, ensure_ascii=False),
        commands=snippets.study(shown.request, base_url(request)),
    )


@router.post("/studies/{study_id}/{verb}", dependencies=[SameOrigin])
def act(study_id: StudyId, verb: Verb, studies: PageStudies) -> Response:
    """Pause, resume, cancel or delete a study; what is not possible is said."""
    if studies is None:
        return login_page(f"/studies/{study_id}")
    try:
        check_writer(studies.principal, "studies")
        if verb != "delete":
            studies.act(verb, study_id)
        else:
            with studies.write() as service:
                service.delete(study_id)
    except ServiceError as error:
        return error_page(error, studies.principal, f"/studies/{study_id}", "Back to the study")
    return RedirectResponse("/studies" if verb == "delete" else f"/studies/{study_id}", 303)
