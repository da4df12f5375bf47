"""A study from its form to its winner: the real service with a worker, and a real browser."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page, expect

from ddclient import Client, Study, study_text
from ddclient.embedded import Service, running
from tests.browser.conftest import Watch

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PATIENCE_S = 60
"""For something to change; a study changes several times for each of its jobs."""


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """An embedded service with a worker that looks at its queue often."""
    patch = pytest.MonkeyPatch()
    patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=os.pathsep)
    service = Service(tmp_path_factory.mktemp("studies"), port=0, isolated=True, settings={"DD_POLL_S": "0.1"})
    with patch.context(), running(service):
        yield service
    patch.undo()


@pytest.fixture
def client(live: Service) -> Iterator[Client]:
    with Client(live.url, live.api_key) as made:
        yield made


@pytest.fixture
def page(client: Client, context: BrowserContext) -> Iterator[Page]:
    page, watch = context.new_page(), Watch()
    watch.attach(page)
    page.goto(client.login_link())
    yield page
    assert watch.complaints == []
    assert watch.hosts <= {httpx.URL(client.url).netloc.decode()}


def to_its_end(study: Study) -> None:
    """Wait for a study as long as something happens in it."""
    heard = time.monotonic()
    while not study.finished:
        version = study.document.version
        study.document = study.client.next_study(study.document, PATIENCE_S)
        heard = heard if study.document.version == version else time.monotonic()
        assert time.monotonic() - heard < PATIENCE_S, study_text.describe(study.document)
    assert study.status == "succeeded", study.document.error


def fill(page: Page, **fields: str) -> None:
    for name, text in fields.items():
        page.locator(f'[name="{name.replace("__", ".")}"]').fill(text)


def test_a_study_from_its_form_to_its_winner(page: Page, client: Client) -> None:
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Studies").click()
    expect(page.get_by_role("heading", name="No studies yet")).to_be_visible()
    page.get_by_role("link", name="New study").click()

    fill(page, dataset="digits", ipc="1..4", method="dm, random")
    expect(page.locator("#fault-field-ipc")).to_contain_text("'1..4' is no span")
    fill(page, ipc="1, 2")
    expect(page.locator("#fault-field-ipc")).to_be_empty()
    fill(page, study__budget__minutes="", study__budget__jobs="4")
    for title in ("Evaluation of the winner", "Draw, rungs and scores on the way", "Network, decoder"):
        page.locator("summary", has_text=title).click()
    fill(page, evaluation__repeats="2", evaluation__epochs="5", study__rungs="1", study__scoring__networks="2",
         study__scoring__epochs="5", network="convnet")  # fmt: skip
    page.locator("#more-field-network > summary").click()
    fill(page, network__width="8", method__iterations="6")
    expect(page.locator("#verdict")).to_have_text("Ready to begin")
    expect(page.locator("#panel")).to_contain_text("4 trials")
    page.get_by_role("button", name="Begin the study").click()

    expect(page).to_have_url(re.compile(r"/studies/study_[0-9a-z]{26}$"))
    study = client.get_study(page.url.rpartition("/")[2])
    expect(page.locator("#trials tbody tr")).to_have_count(4)
    page.on("dialog", lambda dialog: dialog.accept())
    to_its_end(study)

    assert study.winner is not None
    expect(page.locator("#state .chip")).to_have_text("succeeded")
    expect(page.locator("#winner")).to_contain_text("Chosen by")
    winner = study.trials[study.winner.trial]
    expect(page.locator("#winner .answer strong")).to_have_text(winner.title)
    expect(page.locator("#rungs svg .way")).to_have_count(4)
    expect(page.locator("#rungs svg .way.winner")).to_have_count(1)

    page.locator("#trials").get_by_role("link", name="Trial", exact=True).click()
    expect(page.locator("#trials th[aria-sort=ascending]")).to_have_text("Trial")
    titles = [trial.title for trial in study.trials]
    expect(page.locator("#trials td.main .name")).to_have_text(titles)
    page.get_by_role("link", name="4 jobs").click()
    expect(page.locator("table.jobs tbody tr")).to_have_count(4)
    page.go_back()
    page.get_by_role("link", name="Open the winner's job").click()
    expect(page).to_have_url(re.compile(study.winner.job_id))
    expect(page.locator("#state")).to_contain_text("Accuracy")
