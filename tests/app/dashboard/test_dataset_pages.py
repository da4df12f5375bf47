from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from app.core.security import Scope
from app.logs import repository as logs
from app.models.jobs import Job
from ddcore.spec.ingest import IngestOptions, LargestIpc, SizeCount, SplitReport
from tests.app.dashboard.page import HERE, Page
from tests.app.dashboard.sets import ERROR, HOSTILE, Sets, report

if TYPE_CHECKING:
    from tests.app.conftest import Api

MISSING = "set_01m7wfazz0fpcr59g52gcd7d4a"


def page_of(api: Api, made: str) -> Page:
    answer = api.get(f"/datasets/{made}")
    assert answer.status_code == 200
    return Page(answer)


def forms(page: Page) -> set[str]:
    """Where forms on the page lead, but for signing out."""
    return {a["action"] for a in page.all("form") if a.get("action", "/logout") != "/logout"}


def value_of(page: Page, name: str) -> str:
    """What a field of the page shows."""
    (field,) = [a for a in page.all("input") if a.get("name") == name]
    return field.get("value", "")


class TestList:
    def test_a_row_says_it_all(self, api: Api, sets: Sets) -> None:
        made = sets.ready()
        page = Page(api.get("/datasets"))
        assert re.search(r"ready photos@1 24 \+ 6 2 8 × 8 colour \d+ B just now", page.text), page.text
        assert f"/datasets/{made}" in {a["href"] for a in page.all("a")}

    def test_what_is_on_its_way(self, api: Api, sets: Sets) -> None:
        sets.receiving("holidays")
        decoding = sets.queued("portraits")
        sets.force(decoding, status="running", phase="decoding", phase_done=250, phase_total=1000)
        page = Page(api.get("/datasets"))
        assert "receiving holidays 50 % Receiving its files · 1.0 KiB of 2.0 KiB" in page.text
        assert "ingesting portraits 25 % Decoding its images · 250 of 1,000 images" in page.text
        assert [a["data-every"] for _, a in page.tags if "data-every" in a] == ["2"]

    def test_what_failed_says_why(self, api: Api, sets: Sets) -> None:
        sets.failed()
        assert (
            "failed mixed Images must agree in size; size 8 cuts out their middle." in Page(api.get("/datasets")).text
        )

    def test_other_sets_come_after_ones_own(self, api: Api, sets: Sets) -> None:
        sets.ready()
        text = Page(api.get("/datasets")).text
        assert text.index("photos@1") < text.index("Digits 8x8") < text.index("CIFAR-10")
        assert "digits Digits 8x8 1,437 + 360 10 8 × 8 grey here" in text

    def test_nothing_yet(self, api: Api) -> None:
        page = Page(api.get("/datasets"))
        assert "None yet." in page.text
        assert [a["data-every"] for _, a in page.tags if "data-every" in a] == ["10"]

    def test_page_by_page(self, api: Api, sets: Sets) -> None:
        made = {sets.announce(f"set-{number}") for number in range(60)}
        first = Page(api.get("/datasets"))
        (following,) = [a["href"] for a in first.all("a") if a.get("rel") == "next"]
        second = Page(api.get(following))
        links = [[a["href"][10:] for a in p.all("a") if a.get("class") == "name"] for p in (first, second)]
        assert [len(part) for part in links] == [50, 10]
        assert {*links[0], *links[1]} == made
        assert "Digits 8x8" not in first.text
        assert "Digits 8x8" in second.text

    def test_a_cursor_of_something_else_starts_afresh(self, api: Api) -> None:
        answer = api.get("/datasets?cursor=nonsense")
        assert (answer.status_code, answer.headers["Location"]) == (303, "/datasets")

    def test_other_tenants_see_nothing(self, api: Api, rival: Api, sets: Sets) -> None:
        sets.ready()
        assert "photos" not in re.sub(
            r"<noscript>.*?</noscript>|placeholder=\S+", "", rival.get("/datasets").text, flags=re.S
        )

    def test_the_options_are_explained_by_the_schema(self, api: Api) -> None:
        page = Page(api.get("/datasets"))
        for name in ("size", "fit", "test_split", "skip_unreadable", "drop_leaks", "drop_unlabelled"):
            assert (IngestOptions.model_fields[name].description or "?").replace("`", "")[:40] in page.text
        assert value_of(page, "test_split") == "0.2"

    def test_commands_stand_in_for_scripts(self, api: Api) -> None:
        """They are run as they are shown, but for the file that the second one sends."""
        shown = re.findall(r"<noscript>(.*?)</noscript>", api.get("/datasets").text, re.S)[-1]
        body = re.search(r"-d &#39;(.*?)&#39;", shown)
        assert body is not None
        answer = api.post("/v1/datasets", json=json.loads(body[1].replace("&#34;", '"')))
        assert answer.status_code == 201
        target = re.search(r"http://test(/v1/datasets/\$ID/content)", shown)
        assert target is not None
        path = target[1].replace("$ID", answer.json()["id"])
        assert api.request("PUT", path, content=b"zip").status_code == 202


class TestStates:
    def test_receiving(self, api: Api, sets: Sets) -> None:
        made = sets.receiving()
        page = page_of(api, made)
        assert "receiving Receiving its files 1.0 KiB of 2.0 KiB" in page.text
        assert [a["value"] for a in page.all("progress")] == ["0.5"]
        assert forms(page) == {f"/datasets/{made}/delete"}
        assert [a["content"] for a in page.all("meta") if a.get("http-equiv") == "refresh"] == ["5"]

    def test_queued_follows_its_job(self, api: Api, sets: Sets) -> None:
        made = sets.queued()
        page, job = page_of(api, made), sets.job(made)
        assert "Waiting for a worker" in page.text
        (stream,) = [a["data-stream"] for _, a in page.tags if "data-stream" in a]
        assert re.fullmatch(rf"/v1/jobs/{job}/events:stream\?progress=true&last_event_id=\d+", stream)
        version = api.get(f"/v1/jobs/{job}").json()["version"]
        assert [a["data-version"] for _, a in page.tags if "data-version" in a] == [str(version)]
        assert forms(page) == {f"/datasets/{made}/delete", f"/jobs/{job}/pause", f"/jobs/{job}/cancel"}

    @pytest.mark.parametrize(
        ("phase", "done", "total", "words"),
        [
            (None, 0, None, "Starting"),
            ("reading", 0, None, "Reading its files"),
            ("decoding", 250, 1000, "Decoding its images 250 of 1,000 images"),
        ],
    )
    def test_ingesting(self, api: Api, sets: Sets, phase: str | None, done: int, total: int | None, words: str) -> None:
        made = sets.queued()
        sets.force(made, status="running", phase=phase, phase_done=done, phase_total=total)
        page = page_of(api, made)
        assert f"ingesting {words}" in page.text
        assert [a["value"] for a in page.all("progress")] == (["0.25"] if total else [])
        assert f"Delete {words.split(' 250')[0]}{', 20 %' if total else ''} ingesting" in page.text

    def test_paused(self, api: Api, sets: Sets) -> None:
        made = sets.queued()
        answer = api.post(f"/jobs/{sets.job(made)}/pause", headers=HERE)
        assert api.get(answer.headers["Location"]).headers["Location"] == f"/datasets/{made}"
        page = page_of(api, made)
        assert "paused Paused" in page.text
        assert f"/jobs/{sets.job(made)}/resume" in forms(page)
        assert "data-live-state" in page.answer.text
        assert [a for a in page.all("meta") if a.get("http-equiv") == "refresh"] == []

    def test_failed(self, api: Api, sets: Sets) -> None:
        made = sets.failed()
        page = page_of(api, made)
        assert "Data error Images must agree in size; size 8 cuts out their middle." in page.text
        assert forms(page) >= {f"/datasets/{made}/ingest", f"/datasets/{made}/delete"}
        assert f"/datasets/{made}/distil" not in forms(page)

    def test_the_log_of_its_job(self, api: Api, sets: Sets) -> None:
        made = sets.queued()
        assert "What the job says and prints appears here" in page_of(api, made).text
        with api.database.write() as session:
            logs.append(session, sets.job(made), b"decoding <b>\n")
        page = page_of(api, made)
        assert "decoding <b>" in page.text
        assert {"href": f"/v1/jobs/{sets.job(made)}/log"} in page.all("a")

    def test_cancelled(self, api: Api, sets: Sets) -> None:
        made = sets.queued()
        api.post(f"/jobs/{sets.job(made)}/cancel", headers=HERE)
        page = page_of(api, made)
        assert "cancelled Taking it in was cancelled" in page.text
        assert f"/datasets/{made}/ingest" in forms(page)

    def test_ready(self, api: Api, sets: Sets) -> None:
        made = sets.ready()
        page = page_of(api, made)
        for words in ("photos@1", "Images 24 and 6 for scoring", "Classes 2 at least 7 images each", "8 × 8 colour"):
            assert words in page.text
        assert forms(page) == {f"/datasets/{made}/delete", f"/datasets/{made}/distil"}
        assert f"/v1/datasets/{made}/samples.png" in {a["src"] for a in page.all("img")}
        assert "/?dataset=photos%401" in {a["href"] for a in page.all("a")}
        assert "data-live-state" not in page.answer.text

    @pytest.mark.parametrize("verb", ["", "/ingest", "/distil", "/delete"])
    def test_nobody_elses(self, api: Api, rival: Api, sets: Sets, verb: str) -> None:
        made = sets.ready()
        for asking, one in ((rival, made), (api, MISSING)):
            path = f"/datasets/{one}{verb}"
            answer = asking.post(path, headers=HERE) if verb else asking.get(path)
            assert answer.status_code == 404
            assert f"You have no set {one}." in Page(answer).text
        assert api.get(f"/v1/datasets/{made}").status_code == 200


class TestReport:
    def test_counts_and_statistics(self, api: Api, sets: Sets) -> None:
        page = page_of(api, sets.ready())
        for words in (
            "Read as class folders: images lie in folders ('cat', 'dog').",
            "none was resized or converted",
            "Class Training Scoring cat 17 4 dog 7 2",
            "Red 0.5 0.2 Green 0.25 0.3 Blue 0.125 0",
            "starting from real images 7",
            "8 × 8 30",
            "RGB colour 30",
            "No image occurs twice",
        ):
            assert words in page.text
        for words in ("Left out", "never varies", "Remarks", "cannot be decoded"):
            assert words not in page.text

    def test_what_was_done_is_said(self, api: Api, sets: Sets) -> None:
        found = report(
            sizes=[SizeCount(width=8, height=8, images=10), SizeCount(width=30, height=20, images=20)],
            distinct_sizes=2,
            modes={"RGB": 20, "CMYK": 1, "I;16": 9},
            levels=(12, 4095),
            options=IngestOptions(size=8, fit="pad"),
            constant_channels=[2],
            remarks=["there is no test split"],
        )
        text = page_of(api, sets.ready(found=found)).text
        for words in (
            "Images of other sizes were brought to 8 × 8: black bars were added.",
            "10 images were converted to colour of 8 bits.",
            "Pixels of 16 bits from 12 to 4,095 were scaled to 0 to 255.",
            "30 × 20 20",
            "I;16 grey of 16 bits 9",
            "Blue never varies 0.125 0",
            "There is no test split.",
        ):
            assert words in text
        assert "none was resized" not in text

    def test_many_sizes_and_classes(self, api: Api, sets: Sets) -> None:
        classes = [f"class {number}" for number in range(300)]
        counts = dict.fromkeys(classes, 2)
        found = report(
            classes=classes,
            splits={name: SplitReport(images=600, per_class=counts) for name in ("train", "test")},
            sizes=[SizeCount(width=side, height=side, images=1) for side in range(1, 51)],
            distinct_sizes=70,
        )
        text = page_of(api, sets.ready(found=found)).text
        assert "and 58 more sizes" in text
        assert "class 0 2 2" in text
        assert "class 299 2 2" in text

    def test_names_cannot_become_markup(self, api: Api, sets: Sets) -> None:
        made = sets.ready(found=HOSTILE)
        page = page_of(api, made)
        for words in (
            "<i>cat</i> 17 4",
            "<script>alert(1)</script>.png <b>cut</b> after 12 bytes",
            "<b>notes</b> 3",
            "images that cannot be decoded 1",
            "Test images that are training images too 1 0",
            "<b>a</b>.png and b.png",
            "Labels are <b>bold</b>.",
        ):
            assert words in page.text
        assert [tag for tag, _ in page.tags if tag in ("i", "b")] == []
        assert [a.get("src") for a in page.all("script")] == ["/static/app.js"]

    def test_files_and_reasons_cannot_become_markup(self, api: Api, sets: Sets) -> None:
        made = sets.failed(error={**ERROR, "message": "<b>bad</b> image `<b>x</b>.png`"})
        other = sets.announce("other", file='"><b>x.zip')
        for path in ("/datasets", f"/datasets/{made}", f"/datasets/{other}"):
            assert [tag for tag, _ in Page(api.get(path)).tags if tag == "b"] == []
        assert '"><b>x.zip' in page_of(api, other).text


class TestAgain:
    def test_with_other_options(self, api: Api, sets: Sets) -> None:
        made = sets.failed()
        sent = {
            "size": "16 x 24",
            "fit": "pad",
            "test_split": "0.5",
            "skip_unreadable": "true",
            "layout": "",
            "seed": "3",
        }
        answer = api.post(f"/datasets/{made}/ingest", data=sent, headers=HERE)
        assert (answer.status_code, answer.headers["Location"]) == (303, f"/datasets/{made}")
        document = api.get(f"/v1/datasets/{made}").json()
        assert document["state"] == "queued"
        given = {name: value for name, value in document["options"].items() if value not in (None, False)}
        assert given == {
            "size": [16, 24], "fit": "pad", "test_split": 0.5, "skip_unreadable": True, "seed": 3, "validation": "auto",
        }  # fmt: skip

    @pytest.mark.parametrize(("text", "size"), [("64", 64), ("keep", "keep"), ("48×64", [48, 64]), ("", None)])
    def test_sizes(self, api: Api, sets: Sets, text: str, size: object) -> None:
        made = sets.failed()
        assert api.post(f"/datasets/{made}/ingest", data={"size": text}, headers=HERE).status_code == 303
        assert api.get(f"/v1/datasets/{made}").json()["options"]["size"] == size

    @pytest.mark.parametrize(
        ("sent", "words"),
        [
            (
                {"size": "big"},
                "Size is 'big', but must be a number (64), height x width (48x64) or keep, up to 4096 a side.",
            ),
            ({"size": "0"}, "Size is '0', but must be a number"),
            ({"size": "64x9999"}, "Size is '64x9999', but must be a number"),
            ({"test_split": "2"}, "test_split"),
            ({"fit": "melt"}, "fit"),
        ],
    )
    def test_what_is_wrong_stands_beside_what_was_sent(
        self, api: Api, sets: Sets, sent: dict[str, str], words: str
    ) -> None:
        made = sets.failed()
        answer = api.post(f"/datasets/{made}/ingest", data={"seed": "7", **sent}, headers=HERE)
        page = Page(answer)
        assert answer.status_code == 422
        (fault,) = re.findall(r"The request is not valid (.*?) Its files are still here", page.text)
        assert words.lower() in fault.lower()
        assert value_of(page, "seed") == "7"
        assert api.get(f"/v1/datasets/{made}").json()["state"] == "failed"

    def test_the_form_shows_what_was_chosen_before(self, api: Api, sets: Sets) -> None:
        made = sets.queued("mixed", options={"size": [48, 64], "skip_unreadable": True})
        sets.force(made, status="failed", error=ERROR)
        page = page_of(api, made)
        assert value_of(page, "size") == "48x64"
        checked = {a["name"] for a in page.all("input") if "checked" in a}
        assert checked == {"skip_unreadable"}
        assert value_of(page, "seed") == "0"

    def test_not_of_a_set_that_is_ready(self, api: Api, sets: Sets) -> None:
        answer = api.post(f"/datasets/{sets.ready()}/ingest", headers=HERE)
        assert answer.status_code == 409


class TestDistil:
    def spec_of(self, api: Api, location: str) -> dict[str, Any]:
        spec: dict[str, Any] = api.get(f"/v1{location}").json()["spec"]
        return spec

    def test_submits_a_job(self, api: Api, sets: Sets) -> None:
        made = sets.ready()
        sent = {"method": "random", "ipc": "3", "seed": "5"}
        answer = api.post(f"/datasets/{made}/distil", data=sent, headers=HERE)
        assert answer.status_code == 303
        spec = self.spec_of(api, answer.headers["Location"])
        assert (spec["dataset"], spec["method"]["name"], spec["ipc"], spec["seed"]) == ("photos@1", "random", 3, 5)

    def test_proposes_what_the_smallest_class_allows(self, api: Api, sets: Sets) -> None:
        made = sets.ready()
        page = page_of(api, made)
        (ipc,) = [a for a in page.all("input") if a.get("name") == "ipc"]
        assert (ipc["value"], ipc["max"]) == ("7", "7")
        answer = api.post(f"/datasets/{made}/distil", data={"method": "dm", "ipc": "7"}, headers=HERE)
        assert answer.status_code == 303

    def test_more_than_that_is_refused_beside_the_form(self, api: Api, sets: Sets) -> None:
        made = sets.ready()
        answer = api.post(f"/datasets/{made}/distil", data={"method": "random", "ipc": "8", "seed": "5"}, headers=HERE)
        page = Page(answer)
        assert answer.status_code == 422
        assert re.search(r"Distil this The request is not valid [^.]*\b7\b", page.text), page.text
        assert (value_of(page, "ipc"), value_of(page, "seed")) == ("8", "5")

    def test_the_commands_mean_the_same(self, api: Api, sets: Sets) -> None:
        page = page_of(api, sets.ready())
        assert "ddctl submit photos@1 --method dm --ipc 7 --seed 0 --watch" in page.text
        assert "Client().distill('photos@1', method='dm', ipc=7, seed=0)" in page.text
        body = re.search(r"-d '(\{.*?\})'", page.text)
        assert body is not None
        assert api.submit(json.loads(body[1]))["spec"]["dataset"] == "photos@1"


class TestDelete:
    def test_deletes(self, api: Api, sets: Sets) -> None:
        made = sets.ready()
        answer = api.post(f"/datasets/{made}/delete", headers=HERE)
        assert (answer.status_code, answer.headers["Location"]) == (303, "/datasets")
        assert api.get(f"/datasets/{made}").status_code == 404

    def test_asks_first(self, api: Api, sets: Sets) -> None:
        page = page_of(api, sets.ready())
        (form,) = [a for a in page.all("form") if a.get("action", "").endswith("/delete")]
        assert form["data-confirm"].startswith("Delete photos@1?")

    def test_not_while_jobs_need_it(self, api: Api, sets: Sets) -> None:
        made = sets.ready()
        job = api.submit({"dataset": "photos", "ipc": 1, "method": "random"})["id"]
        answer = api.post(f"/datasets/{made}/delete", headers=HERE)
        page = Page(answer)
        assert answer.status_code == 409
        assert (
            f"The set is in use Jobs that have not ended use photos: {job}; wait for them, or cancel them." in page.text
        )
        assert f"/jobs/{job}" in {a["href"] for a in page.all("a")}
        assert api.get(f"/v1/datasets/{made}").status_code == 200


class TestForms:
    @pytest.mark.parametrize("verb", ["ingest", "distil", "delete"])
    def test_only_from_our_pages_and_with_a_key_that_may(self, api: Api, sets: Sets, verb: str) -> None:
        made = sets.ready()
        before = api.get(f"/v1/datasets/{made}").json()
        for origin in ({}, {"Origin": "null"}, {"Origin": "http://evil.example"}):
            assert api.post(f"/datasets/{made}/{verb}", headers=origin).status_code == 403
        reader = api.acting_as(api.key(scopes=(Scope.JOBS_READ,)))
        answer = reader.post(f"/datasets/{made}/{verb}", data={"method": "random", "ipc": "1"}, headers=HERE)
        assert answer.status_code == 403
        assert "Your key may look at datasets, but not change them" in Page(answer).text
        assert api.acting_as(None).post(f"/datasets/{made}/{verb}", headers=HERE).status_code == 401
        assert api.get(f"/v1/datasets/{made}").json() == before
        with api.database.read() as session:
            assert session.scalars(select(Job.id).where(Job.kind == "distillation")).all() == []

    def test_unknown_verbs(self, api: Api, sets: Sets) -> None:
        assert api.post(f"/datasets/{sets.ready()}/explode", headers=HERE).status_code == 404


class TestJobs:
    def submit(self, api: Api, dataset: str = "photos") -> str:
        return str(api.submit({"dataset": dataset, "ipc": 1, "method": "random"})["id"])

    def test_the_job_of_an_ingest_leads_to_its_set(self, api: Api, rival: Api, sets: Sets) -> None:
        made = sets.failed()
        path = f"/jobs/{sets.job(made)}"
        answer = api.get(path)
        assert (answer.status_code, answer.headers["Location"]) == (303, f"/datasets/{made}")
        assert rival.get(path).status_code == 404

    def test_jobs_link_to_their_set_while_it_is_there(self, api: Api, sets: Sets) -> None:
        made = sets.ready()
        job = self.submit(api)
        for path in ("/", f"/jobs/{job}"):
            page = Page(api.get(path))
            assert "photos@1" in page.text
            assert f"/datasets/{made}" in {a["href"] for a in page.all("a")}
        api.force(job, status="succeeded")
        assert api.delete(f"/v1/datasets/{made}").status_code == 204
        for path in ("/", f"/jobs/{job}"):
            page = Page(api.get(path))
            assert "photos@1" in page.text
            assert f"/datasets/{made}" not in {a["href"] for a in page.all("a")}

    def test_ceilings_follow_the_classes_of_the_set(self, api: Api, sets: Sets) -> None:
        """Also where it has the name of a built-in set, with other classes."""
        for name in ("photos", "digits"):
            sets.ready(name, report(largest_ipc=[LargestIpc(kind="any", most=1)]))
            charts = [a for a in Page(api.get(f"/jobs/{self.submit(api, name)}")).all("figure") if "data-keys" in a]
            assert "log 2 = 0.693" in [a.get("data-limit-label") for a in charts]

    def test_the_filter_offers_names_and_finds_all_versions(self, api: Api, sets: Sets) -> None:
        sets.ready()
        first = self.submit(api)
        sets.ready()
        second = self.submit(api)
        sets.ready("photos_at_night")
        other = self.submit(api, "photos_at_night")
        page = Page(api.get("/"))
        offered = [a["value"] for a in page.all("option") if a.get("value", "").startswith(("photos", "digits"))]
        assert offered == ["digits", "photos", "photos_at_night"]

        def shown(dataset: str) -> set[str]:
            page = Page(api.get(f"/?dataset={dataset}"))
            return {a["href"][6:] for a in page.all("a") if a.get("class") == "name"}

        assert shown("photos") == {first, second}
        assert shown("photos@2") == {second}
        assert shown("photos_at_night") == {other}
        assert shown("photos_at%") == set()
