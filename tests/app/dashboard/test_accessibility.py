"""What axe-core finds on the pages, in light and dark, on a desk and on a phone. The application answers in process."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Route

from app.studies.progress import advance
from benchmarks.chromium import launched
from tests.accessibility import violations
from tests.app.scores.conftest import Scores
from tests.app.studies.playing import play, queued, run

if TYPE_CHECKING:
    from app.core.database import Database
    from tests.app.conftest import Api
    from tests.app.dashboard.sets import Sets

pytestmark = pytest.mark.browser

MISSING = "job_01m7wfazz0fpcr59g52gcd7d4a"


@pytest.fixture
def page() -> Iterator[Page]:
    with launched() as browser:
        yield browser.new_page()


@pytest.fixture
def show(api: Api, page: Page) -> Callable[..., Page]:
    """Opens a page of the application, asked with a key or, for strangers, with none."""

    def go(path: str, who: Api = api) -> Page:
        def answer(route: Route) -> None:
            parts = urlsplit(route.request.url)
            if parts.path.endswith(":stream"):
                route.abort()
                return
            found = who.get(f"{parts.path}?{parts.query}")
            # On a busy machine a page that looks again after seconds would go away while it is looked through.
            body = re.sub(rb'data-look-again="\d+"', b'data-look-again="3600"', found.content)
            route.fulfill(status=found.status_code, headers=dict(found.headers), body=body)

        page.unroute_all()
        page.route("**/*", answer)
        page.goto(f"http://test{path}", wait_until="load")
        return page

    return go


@pytest.fixture
def studies(api: Api, database: Database) -> tuple[str, str]:
    """A study that has ended, with points that no job can be, and one whose first jobs are scored."""
    base = {"dataset": "digits", "iterations": 9}
    space = {"method": ["dm", "idm", "herding"], "ipc": [1, 2, 100_000]}
    body = {"name": "<b>" + "x" * 60, "base": base, "space": space, "budget": {"jobs": 9}, "labels": {"team": "a"}}
    made = [str(api.post("/v1/studies", json=body).raise_for_status().json()["id"])]
    play(api, made[0])
    made.append(str(api.post("/v1/studies", json=body).raise_for_status().json()["id"]))
    with database.write() as session:
        for job in queued(session)[:3]:
            run(session, job)
        advance(session, made[1], api.settings)
    return made[0], made[1]


def test_no_page_has_a_violation(
    api: Api,
    show: Callable[..., Page],
    sets: Sets,
    finished: str,
    running: str,
    add_job: Callable[..., str],
    studies: tuple[str, str],
) -> None:
    add_job(labels={"team": "a"}, status="failed", error={"code": "poison", "message": "gone"})
    webhook = api.post("/v1/webhooks", json={"url": "https://hooks.example.org/" + "x" * 80}).json()["id"]
    scores = Scores(api)
    scored, waiting = scores.scored(name="theirs"), scores.announce()
    board = "/leaderboard?on=digits:2"
    told = api.post(f"/v1/webhooks/{webhook}:test").json()["id"]
    hooks = "/team/webhooks"
    every_column = "/?columns=labels&columns=gain&columns=id&columns=status&columns=progress&sort=name"
    form = "/jobs/new?preset=quick/dm-cmi-digits&find=dm+mim"
    pages = ["/", every_column, form, f"/jobs/{finished}", f"/jobs/{running}", "/datasets", f"/datasets/{sets.ready()}",
             f"/datasets/{sets.failed()}", "/system", "/team", "/team/audit", f"/jobs/{MISSING}",
             hooks, f"{hooks}/{webhook}", f"{hooks}/{webhook}/deliveries/{told}",
             f"/compare?ids={finished},{running}", board, f"/scores/{scored}", f"/scores/{waiting}",
             "/studies", *(f"/studies/{study}" for study in studies),
             f"/studies/new?clone={studies[0]}&method=dm,idm", f"/?study={studies[0]}"]  # fmt: skip
    found: list[Any] = []
    for path, who in [*((path, api) for path in pages), ("/", api.acting_as(None))]:
        found += violations(show(path, who), path)
    assert found == []
