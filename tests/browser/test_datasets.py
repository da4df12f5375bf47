"""Images of a user's own, from a folder on their machine to a distilled set, by hand in a browser."""

from __future__ import annotations

import base64
import io
import json
import os
import random
import re
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Page, Route, expect

from tests.accessibility import overhang

if TYPE_CHECKING:
    from tests.browser.conftest import Service

pytestmark = pytest.mark.browser

TAKE_IN_MS = 60_000
"""For a worker to notice a job, start its process and import the engine."""
DISTIL_MS = 300_000
"""The same, and for six small networks."""
DRAG_S = 20
SLICE = 32 << 20


@pytest.fixture(scope="module")
def worker(service: Service) -> Iterator[None]:
    """A real worker beside the API."""
    environment = {**os.environ, "DD_HOME": str(service.settings.home), "DD_LOG_LEVEL": "error"}
    process = subprocess.Popen([sys.executable, "-m", "worker"], env=environment)
    yield
    process.terminate()
    process.wait(60)


@pytest.fixture
def datasets(service: Service, page: Page) -> Page:
    """The page on datasets, in a browser that must not complain."""
    page.goto(f"{service.url}/datasets")
    return page


@pytest.fixture
def rough(service: Service, context: BrowserContext) -> Page:
    """The same in a browser that may complain, for tests in which requests fail."""
    page = context.new_page()
    page.goto(service.login_link())
    page.goto(f"{service.url}/datasets")
    return page


@pytest.fixture
def images(tmp_path: Path) -> Callable[..., Path]:
    """Writes a folder with a folder of twelve images for each class."""

    def make(name: str, *sides: int) -> Path:
        pixels = random.Random(name)
        for label in ("Bäume", "flowers of a kind that has a name of more than a hundred bytes " + "x" * 60):
            (tmp_path / name / label).mkdir(parents=True)
            for number in range(12):
                side = sides[number % len(sides)]
                picture = Image.frombytes("RGB", (side, side), pixels.randbytes(3 * side * side))
                picture.save(tmp_path / name / label / f"{number}.png")
        return tmp_path / name

    return make


def drop(page: Page, *paths: Path) -> None:
    """Drag files or folders from outside of the browser onto the card, as the operating system does."""
    box = page.locator("[data-part=drop]").bounding_box()
    assert box is not None
    where = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    session = page.context.new_cdp_session(page)
    deadline = time.monotonic() + DRAG_S
    session.send("Input.dispatchDragEvent", {"type": "dragEnter", **where, "data": data})
    while "over" not in (part(page, "drop").get_attribute("class") or "").split():  # its script comes after the page
        assert time.monotonic() < deadline, "the card does not light up under what is dragged over it"
        session.send("Input.dispatchDragEvent", {"type": "dragOver", **where, "data": data})
    session.send("Input.dispatchDragEvent", {"type": "drop", **where, "data": data})
    session.detach()


def ask(service: Service, method: str, path: str, *, headers: Mapping[str, str] | None = None, **options: Any) -> Any:
    """What the service answers to a program."""
    headers = {"Authorization": f"Bearer {service.key}", **(headers or {})}
    answer = httpx.request(method, f"{service.url}{path}", headers=headers, timeout=60, **options).raise_for_status()
    return answer.json() if answer.content else None


def own(service: Service, name: str) -> list[dict[str, Any]]:
    """The user's own sets of a name."""
    return [one for one in ask(service, "GET", f"/v1/datasets?name={name}")["data"] if one["id"]]


def part(page: Page, name: str) -> Any:
    return page.locator(f'[data-part="{name}"]')


class TestTar:
    FILES = (
        ("photos/cat/1.png", 700),
        ("photos/Bäume/größer.png", 512),
        ("photos/日本語/😀.png", 1),
        ("photos/empty.txt", 0),
        ("a" * 100, 3),
        ("b" * 101, 3),
        ("photos/" + "long/" * 60 + "1.png", 1025),
    )

    @pytest.mark.parametrize("step", [1 << 20, 512, 700])
    def test_python_reads_what_the_browser_packs(self, service: Service, page: Page, step: int) -> None:
        page.goto(f"{service.url}/login")
        source = """async ([files, step]) => {
            const { Tar } = await import("/static/tar.js");
            const made = files.map(([path, size], index) => ({
                path, file: new File([new Uint8Array(size).fill(index + 1)], "x", { lastModified: 1_700_000_000_000 }),
            }));
            const tar = new Tar(made);
            const slices = [];
            for (let at = 0; at < tar.size; at += step) slices.push(tar.slice(at, Math.min(at + step, tar.size)));
            const bytes = new Uint8Array(await new Blob(slices).arrayBuffer());
            return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
        }"""
        data = base64.b64decode(page.evaluate(source, [self.FILES, step]))
        assert len(data) % 512 == 0
        with tarfile.open(fileobj=io.BytesIO(data), errorlevel=2) as archive:
            members = archive.getmembers()
            found = [(one.name, archive.extractfile(one).read()) for one in members]  # type: ignore[union-attr]
        assert found == [(path, bytes([index + 1]) * size) for index, (path, size) in enumerate(self.FILES)]
        assert {(one.mtime, one.mode, one.type) for one in members} == {(1_700_000_000, 0o644, tarfile.REGTYPE)}

    def test_a_file_of_more_than_eight_gibibytes(self, service: Service, page: Page) -> None:
        """Only the header is looked at: its size is more than ustar can say."""
        page.goto(f"{service.url}/login")
        source = """async (size) => {
            const { Tar } = await import("/static/tar.js");
            const file = Object.defineProperty(new File(["x"], "x"), "size", { value: size });
            const bytes = new Uint8Array(await new Tar([{ path: "large.bin", file }]).slice(0, 2048).arrayBuffer());
            return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
        }"""
        size = (9 << 30) + 1
        data = base64.b64decode(page.evaluate(source, size))
        with tarfile.open(fileobj=io.BytesIO(data)) as packed:
            first = packed.next()
        assert first is not None
        assert (first.name, first.size) == ("large.bin", size)


class TestNames:
    @pytest.mark.parametrize(
        ("given", "name"),
        [
            ("photos", "photos"),
            ("My photos (2024)", "My-photos-2024"),
            ("Bäume", "Bäume"),
            ("..hidden", "hidden"),
            ("set_1", "set-1"),
            ("???", "images"),
            ("x" * 150, "x" * 100),
        ],
    )
    def test_the_service_takes_every_proposal(self, service: Service, page: Page, given: str, name: str) -> None:
        page.goto(f"{service.url}/login")
        source = 'async (text) => (await import("/static/dropped.js")).nameOf(text)'
        assert page.evaluate(source, given) == name
        made = ask(service, "POST", "/v1/datasets", json={"name": name, "file": "x.zip"})
        ask(service, "DELETE", f"/v1/datasets/{made['id']}")


@pytest.mark.usefixtures("worker")
class TestWhole:
    @pytest.mark.slow
    def test_from_a_dropped_folder_to_a_distilled_set(
        self, service: Service, datasets: Page, images: Callable[..., Path]
    ) -> None:
        page = datasets
        drop(page, images("holiday photos", 8))
        expect(part(page, "what")).to_have_text("24 files, sent as holiday-photos.tar, 49.0 KiB")
        expect(page.get_by_label("Name")).to_have_value("holiday-photos")
        page.get_by_role("button", name="Upload").click()
        page.wait_for_url("**/datasets/set_*")
        expect(page.locator("#state .chip")).to_have_text("ready", timeout=TAKE_IN_MS)
        expect(page.get_by_role("heading", level=1)).to_have_text("holiday-photos@1")
        expect(page.locator("#classes")).to_contain_text("Bäume")
        expect(page.locator("#made")).to_contain_text("none was resized or converted")
        assert page.locator("#samples img").evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
        page.get_by_label("Method").select_option("random")
        page.get_by_label("Images per class").fill("1")
        page.get_by_role("button", name="Distil").click()
        page.wait_for_url("**/jobs/job_*")
        expect(page.locator("#state .chip")).to_have_text("succeeded", timeout=DISTIL_MS)
        page.get_by_role("link", name="holiday-photos@1").first.click()
        expect(page.get_by_role("heading", level=1)).to_have_text("holiday-photos@1")

    def test_images_of_several_sizes_are_taken_in_once_one_is_chosen(
        self, service: Service, datasets: Page, images: Callable[..., Path]
    ) -> None:
        page = datasets
        page.locator("[data-files=folder]").set_input_files(images("mixed", 8, 24))
        page.get_by_role("button", name="Upload").click()
        page.wait_for_url("**/datasets/set_*")
        expect(page.locator("#state .chip")).to_have_text("failed", timeout=TAKE_IN_MS)
        expect(page.locator("#state")).to_contain_text("Images must agree in size")
        page.get_by_label("Size").fill("16")
        page.get_by_label("Fit").select_option("stretch")
        page.get_by_role("button", name="Take it in").click()
        expect(page.locator("#state .chip")).to_have_text("ready", timeout=TAKE_IN_MS)
        expect(page.locator("#state")).to_contain_text("16 × 16 colour")
        expect(page.locator("#made")).to_contain_text("brought to 16 × 16: they were stretched")
        page.once("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Delete").click()
        page.wait_for_url("**/datasets")
        assert own(service, "mixed") == []

    def test_options_go_with_the_upload(self, service: Service, datasets: Page, images: Callable[..., Path]) -> None:
        page = datasets
        drop(page, images("options", 8, 24))
        page.get_by_text("Options", exact=True).click()
        page.get_by_label("Size").fill("12 x 16")
        page.get_by_label("Fit").select_option("pad")
        page.get_by_label("Share for scoring").fill("0.5")
        page.get_by_label("Skip unreadable images").check()
        page.get_by_role("button", name="Upload").click()
        page.wait_for_url("**/datasets/set_*")
        expect(page.locator("#state .chip")).to_have_text("ready", timeout=TAKE_IN_MS)
        expect(page.locator("#state")).to_contain_text("16 × 12 colour")
        (made,) = own(service, "options")
        given = {name: value for name, value in made["options"].items() if value is not None and value is not False}
        assert given == {
            "size": [12, 16], "fit": "pad", "test_split": 0.5, "skip_unreadable": True, "seed": 0, "validation": "auto",
        }  # fmt: skip


class TestChoosing:
    def test_one_file_is_sent_as_it_is(self, service: Service, datasets: Page, tmp_path: Path) -> None:
        archive = tmp_path / "my pets.tar.gz"
        archive.write_bytes(b"any bytes")
        drop(datasets, archive)
        expect(part(datasets, "what")).to_have_text("my pets.tar.gz, 9 B")
        expect(datasets.get_by_label("Name")).to_have_value("my-pets")
        datasets.get_by_role("button", name="Upload").click()
        datasets.wait_for_url("**/datasets/set_*")
        (made,) = own(service, "my-pets")
        assert (made["upload"]["file"], made["upload"]["received"]) == ("my pets.tar.gz", 9)

    def test_several_files_and_folders_are_packed(self, datasets: Page, tmp_path: Path) -> None:
        for name in ("train.parquet", "test.parquet", "more/deep/down.txt"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"x")
        drop(datasets, tmp_path / "train.parquet", tmp_path / "test.parquet", tmp_path / "more")
        expect(part(datasets, "what")).to_have_text("3 files, sent as images.tar, 4.0 KiB")

    def test_a_folder_of_more_files_than_a_browser_names_at_once(self, datasets: Page, tmp_path: Path) -> None:
        (tmp_path / "many").mkdir()
        for number in range(250):
            (tmp_path / "many" / f"{number}.txt").write_bytes(b"x")
        drop(datasets, tmp_path / "many")
        expect(part(datasets, "what")).to_contain_text("250 files, sent as many.tar")

    def test_nothing_to_send(self, datasets: Page, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        (tmp_path / "empty.zip").touch()
        drop(datasets, tmp_path / "empty")
        expect(part(datasets, "what")).to_have_text("There are no files in it. Choose others.")
        drop(datasets, tmp_path / "empty.zip")
        expect(part(datasets, "what")).to_have_text("This file is empty. Choose another.")
        expect(datasets.get_by_role("button", name="Upload")).to_be_disabled()

    def test_by_keyboard(self, datasets: Page) -> None:
        datasets.get_by_role("link", name="API").focus()
        reached = []
        for _ in range(8):
            datasets.keyboard.press("Tab")
            reached.append(
                datasets.evaluate("document.activeElement.dataset.files ?? document.activeElement.name ?? ''")
            )
        assert [name for name in reached if name] == ["folder", "files", "name"]


class TestSending:
    @pytest.fixture
    def large(self, tmp_path: Path) -> Path:
        """A file of one slice and a little more."""
        path = tmp_path / "large.zip"
        path.write_bytes(random.Random(1).randbytes(SLICE + 1000))
        return path

    def begin(self, page: Page, path: Path) -> None:
        page.locator("[data-files=files]").set_input_files(path)
        page.get_by_role("button", name="Upload").click()

    def said(self, page: Page) -> list[str]:
        """What the page says of an upload from now on, even where it is left afterwards."""
        heard: list[str] = []
        page.expose_function("hear", lambda text: heard.append(text))
        source = "part => new MutationObserver(() => hear(part.textContent)).observe(part, { childList: true })"
        part(page, "status").evaluate(source)
        return heard

    def test_goes_on_where_it_was_cut(self, service: Service, rough: Page, large: Path) -> None:
        sent: list[str] = []

        def cut(route: Route) -> None:
            sent.append(route.request.headers["content-range"])
            if len(sent) in (1, 3):
                route.abort("connectionreset")
            else:
                route.continue_()

        said = self.said(rough)
        rough.route("**/content", cut)
        self.begin(rough, large)
        rough.wait_for_url("**/datasets/set_*")
        size = large.stat().st_size
        whole, rest = f"bytes 0-{SLICE - 1}/{size}", f"bytes {SLICE}-{size - 1}/{size}"
        assert sent == [whole, whole, rest, rest]
        assert said.count("The connection was lost. Trying again in 1 s.") == 2
        (made,) = own(service, "large")
        assert made["upload"]["received"] == size
        assert made["job"] is not None
        ask(service, "DELETE", f"/v1/datasets/{made['id']}")

    def test_gives_up_after_two_minutes_and_goes_on_when_told(
        self, service: Service, rough: Page, tmp_path: Path
    ) -> None:
        (tmp_path / "patient.zip").write_bytes(b"any bytes")
        rough.clock.install()
        rough.route("**/content", lambda route: route.abort("connectionreset"))
        self.begin(rough, tmp_path / "patient.zip")
        for wait_s in (1, 2, 4, 8, 15, 30, 30, 30):
            expect(part(rough, "status")).to_have_text(f"The connection was lost. Trying again in {wait_s} s.")
            rough.clock.run_for(wait_s * 1000)
        expect(part(rough, "title")).to_have_text("The connection was lost")
        rough.unroute("**/content")
        rough.get_by_role("button", name="Go on").click()
        rough.wait_for_url("**/datasets/set_*")
        (made,) = own(service, "patient")
        assert made["upload"]["received"] == 9

    def test_an_answer_that_was_lost(self, service: Service, rough: Page, tmp_path: Path) -> None:
        """All bytes are there and are being taken in, but the browser does not know."""
        (tmp_path / "lost.zip").write_bytes(b"any bytes")

        def lose(route: Route) -> None:
            route.fetch()
            route.abort("connectionreset")

        rough.route("**/content", lose)
        self.begin(rough, tmp_path / "lost.zip")
        rough.wait_for_url("**/datasets/set_*")
        (made,) = own(service, "lost")
        assert made["job"] is not None

    def test_what_somebody_else_has_sent_is_not_sent_again(self, service: Service, rough: Page, tmp_path: Path) -> None:
        (tmp_path / "shared.zip").write_bytes(b"0123456789")
        sent: list[str] = []

        def overtaken(route: Route) -> None:
            sent.append(route.request.headers["content-range"])
            if len(sent) == 1:
                (made,) = own(service, "shared")
                headers = {"Content-Range": "bytes 0-3/10"}
                ask(service, "PUT", f"/v1/datasets/{made['id']}/content", content=b"0123", headers=headers)
            route.continue_()

        rough.route("**/content", overtaken)
        self.begin(rough, tmp_path / "shared.zip")
        rough.wait_for_url("**/datasets/set_*")
        assert sent == ["bytes 0-9/10", "bytes 4-9/10"]

    def test_progress_and_cancel(self, service: Service, datasets: Page, large: Path) -> None:
        page = datasets
        held: list[Route] = []

        def hold(route: Route) -> None:
            """Let the first slice through, and keep the second one waiting."""
            held.append(route)
            if len(held) == 1:
                route.continue_()

        page.route("**/content", hold)
        self.begin(page, large)
        expect(part(page, "told")).to_contain_text("32.0 MiB of 32.0 MiB")
        assert float(part(page, "bar").evaluate("bar => bar.value")) > 0.9
        # It is said at every tenth, whenever the page looks: less than a tenth goes unsaid before the end.
        expect(part(page, "status")).to_have_text(re.compile(r"^(9\d|100) % is sent$"))
        row = page.locator("tr", has_text="large")
        expect(row).to_contain_text("Receiving its files · 32.0 MiB of 32.0 MiB")
        page.get_by_role("button", name="Cancel").click()
        expect(part(page, "what")).to_have_text("Cancelled. Nothing was kept.")
        expect(part(page, "sending")).to_be_hidden()
        expect(row).to_have_count(0)
        assert own(service, "large") == []
        expect(page.get_by_role("button", name="Upload")).to_be_enabled()

    def test_a_refusal_is_told_in_the_words_of_the_service(self, rough: Page, tmp_path: Path) -> None:
        (tmp_path / "big.zip").write_bytes(b"any bytes")
        problem = {"title": "The images need too much room", "code": "dataset_too_large", "detail": "there is no room"}
        rough.route(
            "**/v1/datasets",
            lambda route: route.fulfill(status=413, content_type="application/problem+json", body=json.dumps(problem)),
        )
        self.begin(rough, tmp_path / "big.zip")
        expect(part(rough, "title")).to_have_text(problem["title"])
        expect(part(rough, "why")).to_have_text("There is no room.")
        expect(part(rough, "resume")).to_be_hidden()
        expect(rough.get_by_role("button", name="Upload")).to_be_enabled()

    def test_a_value_that_the_service_refuses(self, rough: Page, tmp_path: Path) -> None:
        (tmp_path / "odd.zip").write_bytes(b"any bytes")
        rough.get_by_text("Options", exact=True).click()
        rough.get_by_label("Share for scoring").fill("2")
        self.begin(rough, tmp_path / "odd.zip")
        expect(part(rough, "title")).to_have_text("The request is not valid")
        expect(part(rough, "why")).to_contain_text("test_split")

    def test_a_file_that_is_chosen_before_the_script_is_there(
        self, service: Service, context: BrowserContext, tmp_path: Path
    ) -> None:
        path = tmp_path / "early.zip"
        path.write_bytes(b"any bytes")
        page, held = context.new_page(), list[Route]()
        page.goto(service.login_link())
        page.route("**/static/upload_form.js*", lambda route: held.append(route))
        with page.expect_request("**/static/upload_form.js*"):
            page.goto(f"{service.url}/datasets", wait_until="commit")
        page.locator("[data-files=files]").set_input_files(path)
        for route in held:
            route.continue_()
        expect(page.get_by_role("button", name="Upload")).to_be_enabled()

    def test_a_file_that_is_gone(self, service: Service, rough: Page, tmp_path: Path) -> None:
        path = tmp_path / "gone.zip"
        path.write_bytes(b"any bytes")
        rough.locator("[data-files=files]").set_input_files(path)
        expect(part(rough, "what")).to_have_text("gone.zip, 9 B")  # the browser has looked at the file as it was
        path.write_bytes(b"other bytes, and more of them")
        rough.get_by_role("button", name="Upload").click()
        expect(part(rough, "why")).to_have_text(
            "A file was changed or removed since you chose it; choose the files again."
        )
        expect(rough.get_by_role("button", name="Upload")).to_be_enabled()
        assert own(service, "gone") == []


class TestLook:
    def test_the_list_follows_uploads_from_elsewhere(self, service: Service, datasets: Page) -> None:
        made = ask(service, "POST", "/v1/datasets", json={"name": "elsewhere", "file": "x.zip", "size": 4096})
        row = datasets.locator("tr", has_text="elsewhere")
        expect(row.locator(".chip")).to_have_text("receiving")
        ask(service, "DELETE", f"/v1/datasets/{made['id']}")
        expect(row).to_have_count(0)

    @pytest.mark.parametrize("width", [360, 768, 1280])
    def test_nothing_is_wider_than_the_screen(self, service: Service, datasets: Page, width: int) -> None:
        name = "x" * 100
        made = ask(service, "POST", "/v1/datasets", json={"name": name, "file": "y" * 200 + ".zip", "size": 4096})
        datasets.set_viewport_size({"width": width, "height": 800})
        datasets.reload()  # rather than wait until it looks by itself
        expect(datasets.locator("tr", has_text=name)).to_be_visible()
        datasets.get_by_text("Options", exact=True).click()
        row = "(table) => table.parentElement.scrollWidth - table.parentElement.clientWidth"
        assert datasets.locator("table.sets").evaluate(row) <= 0
        for path in ("/datasets", f"/datasets/{made['id']}"):
            datasets.goto(f"{service.url}{path}")
            expect(datasets.get_by_role("heading", level=1)).to_be_visible()
            assert overhang(datasets) <= 0
        ask(service, "DELETE", f"/v1/datasets/{made['id']}")
