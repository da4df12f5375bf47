"""What people do with a finished job: keep its report, and make another like it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.accessibility import overhang
from tests.browser.conftest import PATIENCE_MS
from tests.browser.worker import Worker

if TYPE_CHECKING:
    from tests.browser.conftest import Service

pytestmark = pytest.mark.browser


def test_a_report_is_kept_and_read_without_a_network(
    browser: Browser, worker: Worker, open_job: Callable[[], Page], tmp_path: Path
) -> None:
    worker.report(range(10, 201, 10))
    worker.audit()
    page = open_job()
    with page.expect_download() as download:
        page.get_by_role("link", name="Report").click()
    kept = tmp_path / download.value.suggested_filename
    download.value.save_as(kept)
    assert kept.name == f"{worker.job}.html"
    context = browser.new_context(offline=True, viewport={"width": 390, "height": 800})
    try:
        report = context.new_page()
        asked: list[str] = []
        complaints: list[str] = []
        report.on("request", lambda request: asked.append(request.url))
        report.on("console", lambda message: complaints.append(message.text))
        report.goto(kept.as_uri())
        expect(report.get_by_role("heading", level=1)).to_have_text(worker.job[-6:], timeout=PATIENCE_MS)
        for title in ("Accuracy", "Synthetic images", "Images and their real neighbours", "Curves", "Specification"):
            expect(report.get_by_role("heading", name=title, exact=True)).to_be_visible(timeout=PATIENCE_MS)
        decoded = "images => Promise.all(images.map((image) => image.decode().then(() => image.naturalWidth)))"
        assert min(report.locator("img").evaluate_all(decoded)) > 0
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
        assert complaints == []
        assert overhang(report) <= 0
    finally:
        context.close()


def test_a_finished_job_is_cloned_edited_and_followed_to_its_end(
    service: Service, worker: Worker, open_job: Callable[[], Page], tmp_path: Path
) -> None:
    worker.finish()
    page = open_job()
    page.get_by_role("link", name="Clone and edit").click()
    expect(page.locator("#field-method-iterations")).to_have_value("1000")
    page.get_by_label("seed").fill("7")
    page.get_by_role("textbox", name="Name").fill("another seed")
    expect(page.locator("#verdict")).to_have_text("Ready to submit")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("h1")).to_have_text("another seed")
    expect(page.locator("#state [data-live-state]")).to_have_text("live")
    second = Worker(service, tmp_path, job=page.url.rpartition("/")[2])
    second.report(range(10, 51, 10))
    expect(page.locator("#state")).to_contain_text("step 50 of 1,000")
    expect(page.locator("#state")).to_contain_text("seed 7")
    second.finish()
    expect(page.locator("#state .chip")).to_have_text("succeeded")
    expect(page.locator("#result")).to_contain_text("90.0 ± 0.5 %")
    page.get_by_role("link", name=worker.job).click()
    expect(page.locator("h1")).to_have_text(worker.job[-6:])


def test_what_is_scored_is_ranked(service: Service, worker: Worker, open_job: Callable[[], Page]) -> None:
    worker.finish()
    page = open_job()
    page.get_by_role("link", name="Leaderboard").click()
    expect(page.locator("h1")).to_have_text("Leaderboard")
    row = page.locator("main tr").filter(has=page.locator(f'a[href="/jobs/{worker.job}"]'))
    expect(row).to_contain_text("90.0 ± 0.5 %")
    page.set_viewport_size({"width": 390, "height": 800})
    assert overhang(page) <= 0
    page.goto(f"{service.url}/leaderboard?on=cifar100:1")
    expect(page.locator("main")).to_contain_text("Nothing is scored so")
    expect(page.locator("main")).to_contain_text("ddctl score set.npz --dataset cifar10")
    page.get_by_role("combobox").select_option("digits:2")
    page.get_by_role("button", name="Show").click()
    row.get_by_role("link").click()
    expect(page).to_have_url(f"{service.url}/jobs/{worker.job}")
