from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from tests.accessibility import overhang

if TYPE_CHECKING:
    from tests.browser.conftest import Service, Watch
    from tests.browser.worker import Worker

pytestmark = pytest.mark.browser


def numbers(page: Page, title: str) -> Locator:
    """The rows of the table of a chart."""
    chart = page.locator(f'[data-title^="{title}"]')
    chart.get_by_text("Numbers").click()
    return chart.locator("tbody tr")


class TestLive:
    def test_curves_grow_while_the_job_runs(self, worker: Worker, open_job: Callable[[], Page]) -> None:
        worker.report(range(10, 201, 10))
        page = open_job()
        expect(page.locator("#state [data-live-state]")).to_have_text("live")
        rows = numbers(page, "Conditional")
        expect(rows).to_have_count(20)
        worker.report(range(210, 401, 10))
        expect(page.locator("#state")).to_contain_text("step 400 of 1,000")
        expect(rows).to_have_count(40)
        expect(page.locator("#readings tbody tr").first).to_contain_text("400")

    def test_the_log_stays_at_its_end_as_it_grows_until_one_scrolls_back(
        self, worker: Worker, open_job: Callable[[], Page]
    ) -> None:
        worker.say(range(100))
        page = open_job()
        expect(page.locator("#state [data-live-state]")).to_have_text("live")
        box = page.get_by_role("region", name="Last lines of the log")
        beyond = "box => box.querySelector('pre').getBoundingClientRect().bottom - box.getBoundingClientRect().bottom"
        worker.say(range(100, 150))
        expect(box).to_contain_text("line 149")
        assert abs(box.evaluate(beyond)) < 2
        box.evaluate("box => { box.scrollTop = -300; }")
        worker.say(range(150, 160))
        expect(box).to_contain_text("line 159")
        assert box.evaluate(beyond) > 200

    def test_a_page_is_rendered_once_when_it_is_opened(
        self, service: Service, page: Page, worker: Worker, open_job: Callable[[], Page]
    ) -> None:
        worker.report(range(10, 51, 10))
        rendered: list[str] = []
        page.on(
            "request",
            lambda request: rendered.append(request.resource_type) if request.url.endswith(worker.job) else None,
        )
        open_job()
        expect(page.locator("#state [data-live-state]")).to_have_text("live")
        worker.report(range(60, 101, 10))
        expect(page.locator("#state")).to_contain_text("step 100 of 1,000")
        assert rendered == ["document", "fetch"], "once when it was opened, once when the job had changed"

    def test_what_happens_while_the_page_is_opened_is_not_missed(
        self, service: Service, page: Page, worker: Worker, open_job: Callable[[], Page]
    ) -> None:
        def overtaken(route: Route) -> None:
            rendered = route.fetch()
            worker.report(range(10, 201, 10))
            route.fulfill(response=rendered)

        page.route(f"{service.url}/jobs/{worker.job}", overtaken, times=1)
        open_job()
        expect(page.locator("#state")).to_contain_text("step 200 of 1,000")

    def test_what_happens_during_a_refresh_is_not_missed(
        self, service: Service, worker: Worker, open_job: Callable[[], Page]
    ) -> None:
        page = open_job()
        expect(page.locator("#state [data-live-state]")).to_have_text("live")

        def overtaken(route: Route) -> None:
            rendered = route.fetch()
            worker.report(range(210, 401, 10))
            time.sleep(2)  # the browser is told of it while the answer is on its way
            route.fulfill(response=rendered)

        page.route(f"{service.url}/jobs/{worker.job}", overtaken, times=1)
        worker.report(range(10, 201, 10))
        expect(page.locator("#state")).to_contain_text("step 400 of 1,000")

    def test_the_first_reading_and_the_first_picture_appear(self, worker: Worker, open_job: Callable[[], Page]) -> None:
        page = open_job()
        expect(page.locator("#images")).to_contain_text("No picture yet")
        expect(page.locator("#readings")).to_contain_text("No readings yet")
        worker.report(range(10, 51, 10))
        worker.snapshot(50)
        expect(page.locator("#readings tbody tr")).to_have_count(3)
        expect(page.locator("#images output")).to_have_text("step 50")
        assert page.locator("#images img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 16

    def test_the_end_brings_the_score(self, worker: Worker, open_job: Callable[[], Page]) -> None:
        worker.report(range(10, 51, 10))
        page = open_job()
        expect(page.locator("#state [data-live-state]")).to_have_text("live")
        worker.finish()
        expect(page.locator("#state .chip")).to_have_text("succeeded")
        expect(page.locator("#result")).to_contain_text("90.0 ± 0.5 %")
        expect(page.locator("#result")).to_contain_text("+10.0 points")
        expect(page.locator("#events")).to_contain_text("running → succeeded")
        expect(page.locator("#actions button")).to_have_text(["Make again"])

    def test_the_list_follows(self, service: Service, page: Page, worker: Worker) -> None:
        page.goto(service.url)
        row = page.locator("tr", has_text=worker.job[-6:])
        expect(row.locator(".chip")).to_have_text("running")
        expect(page.locator("[data-live-state]")).to_have_text("live")
        worker.finish()
        expect(row.locator(".chip")).to_have_text("succeeded")
        expect(row).to_contain_text("90.0 ± 0.5 %")

    def test_what_the_reader_does_survives_a_refresh(self, worker: Worker, open_job: Callable[[], Page]) -> None:
        worker.report(range(10, 51, 10))
        page = open_job()
        expect(page.locator("#state [data-live-state]")).to_have_text("live")
        page.get_by_text("Full specification").click()
        page.get_by_role("button", name="Pause").focus()
        worker.report(range(60, 101, 10))
        expect(page.locator("#state")).to_contain_text("step 100 of 1,000")
        assert page.evaluate("document.activeElement.textContent") == "Pause"
        expect(page.locator("#specification")).to_have_attribute("open", "")


class TestForm:
    def test_a_job_is_submitted_and_copied_by_keyboard(self, service: Service, page: Page) -> None:
        page.goto(f"{service.url}/jobs/new")
        verdict, fault = page.locator("#verdict"), page.locator("#fault-field-method-iterations")
        expect(verdict).to_have_text("Still needed: Dataset")
        page.get_by_label("Dataset (required)").focus()
        page.keyboard.type("digits")
        expect(verdict).to_have_text("Ready to submit")
        expect(page.locator("#panel")).to_contain_text("1,437 training")
        page.get_by_label("iterations").focus()
        page.keyboard.type("0")
        expect(fault).to_contain_text("iterations is 0, but must be at least 1")
        expect(verdict).to_have_text("1 fault to mend")
        assert page.evaluate("document.activeElement.id") == "field-method-iterations"
        page.keyboard.press("ControlOrMeta+a")
        page.keyboard.type("77")
        page.keyboard.press("Enter")
        expect(verdict).to_have_text("Ready to submit")
        expect(fault).to_have_text("")
        page.get_by_label("Method (required)").select_option("mtt")
        expect(page.locator("#box-field-method")).to_contain_text("Cazenavette et al.")
        expect(page.get_by_label("iterations")).to_have_value("77")
        page.get_by_label("cmi").focus()
        page.keyboard.press("Space")
        expect(page.locator("#fault-field-regularizers-cmi")).to_contain_text("exactly one of")
        assert page.evaluate("document.activeElement.id") == "field-regularizers-cmi"
        page.locator("#field-regularizers-cmi-weight").fill("20")
        page.get_by_role("textbox", name="Name").fill("by keyboard")
        expect(verdict).to_have_text("Ready to submit")
        page.get_by_role("button", name="Submit").focus()
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_have_text("by keyboard")
        page.get_by_role("link", name="Clone and edit").click()
        expect(page.locator("h1")).to_have_text("Clone and edit")
        expect(page.locator("#field-regularizers-cmi-weight")).to_have_value("20")

    def test_presets_are_found_while_one_types(self, service: Service, page: Page) -> None:
        page.goto(f"{service.url}/jobs/new")
        page.get_by_text("Start from a preset").click()
        page.get_by_label("Text").fill("dm mim cmi digits")
        page.get_by_role("link", name="quick/dm-mim-cmi-digits").click()
        expect(page.locator("#field-dataset")).to_have_value("digits")
        expect(page.locator("#verdict")).to_have_text("Ready to submit")


class TestSeveral:
    def test_ticks_survive_what_changes_the_list(self, service: Service, page: Page, worker: Worker) -> None:
        page.goto(f"{service.url}/?search={worker.job}")
        row = page.locator("tbody tr")
        row.get_by_role("checkbox").check()
        expect(page.locator("[data-live-state]")).to_have_text("live")
        worker.finish()
        expect(row.locator(".chip")).to_have_text("succeeded")
        expect(row.get_by_role("checkbox")).to_be_checked()
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Delete").click()
        expect(page.locator("main")).to_contain_text("No job fits this filter")
        assert page.url.endswith(f"/?search={worker.job}")


class TestSavedFilters:
    def test_a_filter_is_saved_by_name_found_again_and_forgotten(
        self, service: Service, page: Page, worker: Worker
    ) -> None:
        page.goto(f"{service.url}/?search={worker.job}&sort=-accuracy")
        page.get_by_text("Saved filters").click()
        field = page.get_by_label("Name for the present one")
        field.fill("  ")
        field.press("Enter")
        expect(page.get_by_role("list", name="Saved filters").get_by_role("listitem")).to_have_count(0)
        field.fill(" <b>mine</b> ")
        field.press("Enter")
        link = page.get_by_role("link", name="<b>mine</b>")
        expect(link).to_have_attribute("aria-current", "page")
        page.goto(service.url)
        page.get_by_text("Saved filters (1)").click()
        expect(link).not_to_have_attribute("aria-current", "page")
        link.click()
        page.wait_for_url(f"**/?search={worker.job}&sort=-accuracy")
        expect(page.locator("tbody tr")).to_have_count(1)
        page.get_by_text("Saved filters (1)").click()
        page.get_by_role("button", name="Forget <b>mine</b>").click()
        expect(link).to_have_count(0)
        page.reload()
        page.get_by_text("Saved filters", exact=True).click()
        expect(link).to_have_count(0)


class TestPictures:
    def test_scrubber_and_film(self, worker: Worker, open_job: Callable[[], Page]) -> None:
        for step in (0, 100, 200):
            worker.snapshot(step)
        page = open_job()
        expect(page.locator("#images output")).to_have_text("step 200")
        last = page.locator("[data-frame]").get_attribute("src")
        page.locator("[data-scrubber]").focus()
        page.keyboard.press("Home")
        expect(page.locator("#images output")).to_have_text("step 0")
        assert page.locator("[data-frame]").get_attribute("src") != last
        page.get_by_role("button", name="Play").click()
        expect(page.locator("#images output")).to_have_text("step 200")
        expect(page.get_by_role("button", name="Play")).to_be_visible()

    def test_an_image_is_enlarged_and_its_neighbours_follow(self, worker: Worker, open_job: Callable[[], Page]) -> None:
        worker.sheet(0)
        worker.sheet(100)
        page = open_job()
        tiles = page.locator("[data-tile]")
        expect(tiles).to_have_count(4)
        width = page.locator("[data-tile]").first.evaluate("tile => tile.getBoundingClientRect().width")
        assert width >= 64
        page.locator("[data-tile]").first.focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_role("heading")).to_have_text("<b>eins</b>, image 1 of 2 · step 100")
        page.keyboard.press("ArrowRight")
        expect(dialog.get_by_role("heading")).to_have_text("<b>eins</b>, image 2 of 2 · step 100")
        box = tiles.nth(3).locator("svg").get_attribute("viewBox")
        expect(dialog.locator("svg").first).to_have_attribute("viewBox", str(box))
        expect(dialog).to_contain_text("The nearest real image is known when the images are finished.")
        expect(dialog.get_by_role("img", name="Nearest real training image")).to_be_hidden()
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        expect(tiles.nth(3)).to_be_focused()
        before = tiles.first.locator("image").get_attribute("href")
        page.locator("[data-scrubber]").focus()
        page.keyboard.press("Home")
        expect(tiles.first.locator("image")).not_to_have_attribute("href", str(before))

    def test_the_nearest_real_image_stands_beside_an_enlarged_one(
        self, service: Service, worker: Worker, open_job: Callable[[], Page]
    ) -> None:
        worker.sheet(0)
        page = open_job()
        expect(page.locator("#state [data-live-state]")).to_have_text("live")
        worker.audit()
        expect(page.locator("#images output")).to_have_text("final")
        page.locator("[data-tile]").nth(3).click()
        dialog = page.get_by_role("dialog")
        near = (
            "Nearest real image: class <b>eins</b>, row 40 of the training images. Distance in pixels 0.3: near copy."
        )
        expect(dialog.locator("[data-neighbour]")).to_have_text(near)
        shown, real = dialog.locator("svg").all()
        assert shown.get_attribute("viewBox") == real.get_attribute("viewBox")
        pictures = [svg.locator("image").get_attribute("href") for svg in (shown, real)]
        assert len(set(pictures)) == 2
        for url in pictures:
            assert page.request.get(f"{service.url}{url}").headers["content-type"] == "image/png"
        page.keyboard.press("ArrowLeft")
        expect(dialog.locator("[data-neighbour]")).to_contain_text("row 30 of the training images")
        expect(dialog.locator("[data-neighbour]")).not_to_contain_text("near copy")
        page.keyboard.press("Escape")
        page.locator("[data-scrubber]").focus()
        page.keyboard.press("Home")
        page.locator("[data-tile]").first.click()
        expect(dialog).to_contain_text("The nearest real image is known of the finished images only.")
        expect(real).to_be_hidden()


class TestUse:
    def test_cancel_asks_first(self, worker: Worker, open_job: Callable[[], Page]) -> None:
        page = open_job()
        page.once("dialog", lambda dialog: dialog.dismiss())
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#state .chip")).to_have_text("running")
        page.once("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#state .chip")).to_have_text("cancelling")

    def test_sign_in_with_a_key_and_out(self, service: Service, browser: Browser) -> None:
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"{service.url}/system")
        page.get_by_label("Or paste an API key").fill(service.key)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="System")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        context.close()

    def test_the_filter_stands_in_the_address(self, service: Service, page: Page, worker: Worker) -> None:
        page.goto(service.url)
        page.locator("select[name=status]").select_option("expired")
        page.wait_for_url("**/?*status=expired&*")
        expect(page.get_by_text("No job fits this filter")).to_be_visible()

    @pytest.mark.parametrize("width", [360, 768, 1280])
    def test_nothing_is_wider_than_the_screen(
        self, worker: Worker, open_job: Callable[[], Page], service: Service, width: int
    ) -> None:
        worker.report(range(10, 101, 10))
        page = open_job()
        page.set_viewport_size({"width": width, "height": 800})
        expect(page.locator('[data-title^="Conditional"] canvas').first).to_be_visible()
        assert overhang(page) <= 0
        page.goto(service.url)
        assert overhang(page) <= 0

    def test_the_documentation_of_the_api_works_offline(self, service: Service, page: Page, watch: Watch) -> None:
        page.goto(f"{service.url}/docs")
        expect(page.get_by_text("/v1/jobs/{job_id}/metrics:query")).to_be_visible()
