from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from app.core.ids import new_id
from app.metrics.repository import ingest
from app.models.jobs import Job
from ddcore.spec import parse
from tests.accessibility import overhang

if TYPE_CHECKING:
    from tests.browser.conftest import Service

pytestmark = pytest.mark.browser

STEPS = 20_000
SPIKE = 13_579


def add(service: Service, values: dict[int, float], **fields: Any) -> str:
    """A running job with readings of its loss."""
    job = new_id("job")
    spec = parse({"dataset": "digits", "ipc": 2, "method": {"name": "dm", "iterations": STEPS}, **fields})
    with service.database.write() as session:
        session.add(
            Job(
                id=job, tenant_id="default", labels={}, priority=5, spec=spec.model_dump(mode="json"),
                dataset=spec.dataset, method="dm", device_class="any", max_runtime_s=3600, max_queue_s=3600,
                status="running", phase="distilling", owner="wrk_1", max_attempts=3, attempt=1, total_steps=STEPS,
            )
        )  # fmt: skip
    points = [(step, step, "loss", value) for step, value in values.items()]
    for start in range(0, len(points), 50_000):
        with service.database.write() as session:
            ingest(session, job, "default", points[start : start + 50_000])
    return job


@pytest.fixture(scope="module")
def long(service: Service) -> str:
    """A job with very many readings and one spike."""
    return add(service, {step: 99.0 if step == SPIKE else math.exp(-step / 6e3) for step in range(STEPS)})


def chart(page: Page) -> Locator:
    found = page.locator('.chart[data-title^="Loss"]')
    expect(found.locator(".plot canvas")).to_be_visible()
    return found


def numbers(page: Page) -> list[list[str]]:
    table = chart(page).locator("details").filter(has_text="Numbers")
    if table.get_attribute("open") is None:
        table.locator("summary").click()
    rows: list[list[str]] = table.locator("tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
    )
    return rows


class TestZoom:
    def test_a_long_run_is_shown_at_once_and_closer_on_request(self, service: Service, page: Page, long: str) -> None:
        page.goto(f"{service.url}/jobs/{long}")
        plot = chart(page).locator(".plot")
        assert max(float(row[4]) for row in numbers(page)) == 99, "a spike of one step is seen from afar"
        chart(page).get_by_text("Range, smoothing, export").click()
        first, last = chart(page).get_by_label("From step"), chart(page).get_by_label("to step")
        assert (first.input_value(), last.input_value()) == ("0", str(STEPS - 1))

        first.fill(str(SPIKE - 5))
        last.fill(str(SPIKE + 5))
        first.press("Tab")
        last.press("Tab")
        expect(chart(page).locator("tbody tr")).to_have_count(11)
        assert ["loss", f"{SPIKE:,}", "99", "99", "99"] in numbers(page)

        plot.focus()
        page.keyboard.press("Escape")
        expect(first).to_have_value("0")
        page.keyboard.press("End")
        page.keyboard.press("+")
        expect(first).not_to_have_value("0")
        assert int(first.input_value()) == pytest.approx(STEPS / 2, rel=0.02)
        assert int(last.input_value()) == pytest.approx(STEPS, rel=0.01)

    def test_dragging_and_brushing_zoom(self, service: Service, page: Page, long: str) -> None:
        page.goto(f"{service.url}/jobs/{long}")
        chart(page).get_by_text("Range, smoothing, export").click()
        first = chart(page).get_by_label("From step")
        for place, expected in ((".plot .u-over", 0.5), (".overview .u-over", 0.25)):
            box = chart(page).locator(place).bounding_box()
            assert box is not None
            for share, act in ((expected, page.mouse.down), (0.9, page.mouse.up)):
                page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] / 2, steps=5)
                act()
            expect(first).not_to_have_value("0")
            assert int(first.input_value()) == pytest.approx(STEPS * expected, abs=STEPS / 100)
        chart(page).get_by_role("button", name="Whole run").click()
        expect(first).to_have_value("0")


class TestReading:
    def test_keyboard_legend_axis_and_export(self, service: Service, page: Page, tmp_path: Path) -> None:
        job = add(service, {step: float(step) if step != 50 else math.nan for step in range(10, 101, 10)})
        page.goto(f"{service.url}/jobs/{job}")
        figure = chart(page)
        figure.locator(".plot").focus()
        page.keyboard.press("End")
        expect(figure.locator("[aria-live]")).to_have_text("step 100: loss 100")
        page.keyboard.press("ArrowLeft")
        expect(figure.locator(".unit")).to_have_text("step 90")
        expect(figure.locator(".legend .value")).to_have_text("90")
        expect(figure.locator(".plot")).to_have_attribute("aria-label", re.compile("step 90: loss 90"))

        axis = figure.get_by_role("button", name="Logarithmic axis")
        axis.click()
        expect(axis).to_have_attribute("aria-pressed", "true")
        figure.get_by_text("Range, smoothing, export").click()
        with page.expect_download() as download:
            figure.get_by_role("button", name="CSV").click()
        rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
        assert [row["mean"] for row in rows] == ["10", "20", "30", "40", "", "60", "70", "80", "90", "100"]
        assert rows[4]["nonfinite"] == "1"
        with page.expect_download() as download:
            figure.get_by_role("button", name="PNG").click()
        with Image.open(download.value.path()) as picture:
            assert picture.width > 200
            assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 3

    def test_smoothing_is_a_corrected_moving_average(self, service: Service, page: Page) -> None:
        page.goto(f"{service.url}/login")
        source = "async (values) => (await import('/static/plot_data.js')).smoothed(values, 0.9)"
        values = [3.0, 1.0, None, 4.0, 1.0, 5.0]
        assert page.evaluate(source, values) == pytest.approx(average(values, 0.9))


class TestCompared:
    def test_seeds_are_one_line(self, service: Service, page: Page) -> None:
        jobs = [add(service, dict.fromkeys(range(0, 50, 10), 2.0 + seed), seed=seed) for seed in range(3)]
        jobs.append(add(service, dict.fromkeys(range(0, 50, 10), 9.0), whitening=True))
        page.goto(f"{service.url}/compare?ids={','.join(jobs)}")
        expect(chart(page).locator(".legend")).to_have_text(re.compile(r"whitening false \(n = 3\)3 \(2 … 4\)"))
        assert len(numbers(page)) == 10
        page.get_by_role("link", name="Seed").click()
        page.wait_for_url("**sort=seed&order=asc*")
        for width in (390, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            assert overhang(page) <= 0


def average(values: Sequence[float | None], share: float) -> list[float | None]:
    """Weighted mean of all readings so far, each older one counting ``share`` times as much."""
    found: list[float | None] = []
    for end, last in enumerate(values):
        past = [value for value in values[: end + 1] if value is not None]
        weights = [share ** (len(past) - 1 - n) for n in range(len(past))]
        mean = sum(w * v for w, v in zip(weights, past, strict=True)) / sum(weights)
        found.append(None if last is None else mean)
    return found
