"""The leaderboard, and the pages of what it shows that no job made."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse

from app.core.dependencies import DatabaseDep, SettingsDep
from app.core.errors import NotFound, ServiceError
from app.core.paths import ScoreId
from app.dashboard import snippets
from app.dashboard.rendering import SameOrigin, base_url, check_writer, error_page, login_page, render
from app.datasets.names import Names
from app.keys.principals import OptionalPrincipal
from app.scores.board_schemas import Choice
from app.scores.leaderboard import leaderboard
from app.scores.schemas import ScoreDocument
from app.scores.service import ScoreService
from app.scores.transactions import ScoreTransactions
from ddcore.spec.recipe import recipe_of
from ddcore.spec.worth import in_words

router = APIRouter()


async def page_scores(
    principal: OptionalPrincipal, database: DatabaseDep, settings: SettingsDep
) -> ScoreTransactions | None:
    """The scores that a page may show; ``None`` where nobody is logged in."""
    return None if principal is None else ScoreTransactions(principal, database, settings)


PageScores = Annotated[ScoreTransactions | None, Depends(page_scores)]


@router.get("/leaderboard")
def leaderboard_page(
    request: Request,
    scores: PageScores,
    on: Annotated[str | None, Query(max_length=220, description="A dataset, a colon, images per class.")] = None,
) -> Response:
    """Everything that is scored on a dataset with as many images of each class, by recipe."""
    if scores is None:
        return login_page("/leaderboard" if on is None else f"/leaderboard?on={on}")
    dataset, _, ipc = (on or "").rpartition(":")
    with scores.database.read() as session:
        chosen = (dataset, int(ipc)) if dataset and ipc.isdecimal() else (None, None)
        found = leaderboard(session, scores.principal, scores.settings, *chosen)
    return render(
        "leaderboard.html",
        here="leaderboard",
        principal=scores.principal,
        found=found,
        named=_named,
        worth=in_words,
        commands=snippets.score(base_url(request)),
    )


@router.get("/scores/{score_id}")
def score_page(score_id: ScoreId, scores: PageScores) -> Response:
    """One set that others made."""
    return login_page(f"/scores/{score_id}") if scores is None else _page(scores, score_id)


@router.post("/scores/{score_id}/{verb}", dependencies=[SameOrigin])
def act(score_id: ScoreId, verb: str, scores: PageScores) -> Response:
    """Stop scoring a set, or delete its score; what is not possible is said on its page."""
    if scores is None:
        return login_page(f"/scores/{score_id}")
    try:
        check_writer(scores.principal, "scores")
        with scores.write() as service:
            return RedirectResponse(_apply(service, score_id, verb), 303)
    except ServiceError as error:
        return _page(scores, score_id, error)


def _apply(service: ScoreService, score_id: str, verb: str) -> str:
    """Do it; the page that shows what came of it."""
    if verb == "cancel":
        service.cancel(score_id)
        return f"/scores/{score_id}"
    if verb == "delete":
        service.delete(score_id)
        return "/leaderboard"
    raise NotFound(f"a score cannot be told to {verb}")


def _page(scores: ScoreTransactions, score_id: str, fault: ServiceError | None = None) -> Response:
    with scores.read() as service:
        try:
            document = service.get(score_id)
        except NotFound as error:
            return error_page(error, scores.principal, "/leaderboard", "Leaderboard")
        names = Names.of(service.session, scores.principal, scores.settings)
        recipe = None if document.spec is None else recipe_of(document.spec, names.facts(document.dataset))
    return render(
        "score.html",
        200 if fault is None else fault.status,
        here="leaderboard",
        principal=scores.principal,
        score=document,
        recipe=recipe,
        worth="" if document.results is None or document.results.worth is None else in_words(document.results.worth),
        fault=fault,
        busy=_is_busy(document),
    )


def _is_busy(document: ScoreDocument) -> bool:
    return document.status in ("queued", "running", "pausing", "cancelling")


def _named(choice: Choice) -> str:
    """What the choice is called in the address of the page."""
    return f"{choice.dataset}:{choice.ipc}"
