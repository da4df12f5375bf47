from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from sqlalchemy import select

from app.core.security import Scope
from app.metrics import repository as metrics
from app.models.fleet import Worker
from app.models.jobs import Job
from ddcore.spec import parse
from tests.app.dashboard.page import HERE, Page

if TYPE_CHECKING:
    from tests.app.conftest import Api
    from tests.app.dashboard.sets import Sets

MISSING = "job_01m7wfazz0fpcr59g52gcd7d4a"
MISSING_SET = "set_01m7wfazz0fpcr59g52gcd7d4a"


def status_of(api: Api, job_id: str) -> str:
    with api.database.read() as session:
        return session.execute(select(Job.status).where(Job.id == job_id)).scalar_one()


def test_a_job_says_where_defaults_are_not_the_published_setting(api: Api, add_job: Callable[..., str]) -> None:
    body = {"dataset": "cifar10", "ipc": 10, "method": "mtt", "regularizers": {"cmi": 1}}
    text = Page(api.get(f"/jobs/{add_job(spec=parse(body).model_dump(mode='json'))}")).text
    assert "Where defaults are not the published setting" in text
    assert "mtt : Published figures for CIFAR are of whitened images" in text
    assert "cmi : Published teachers are 200 to 1000 ResNet-18" in text
    plain = parse({"dataset": "digits", "ipc": 1, "method": "random"}).model_dump(mode="json")
    assert "not the published setting" not in Page(api.get(f"/jobs/{add_job(spec=plain)}")).text


class TestEveryPage:
    @pytest.fixture
    def pages(self, api: Api, sets: Sets, finished: str, running: str) -> list[Page]:
        own = [sets.receiving(), sets.failed(), sets.ready()]
        paths = ["/", f"/jobs/{finished}", f"/jobs/{running}", "/system", "/?status=failed", f"/jobs/{MISSING}"]
        paths += ["/jobs/new?preset=quick/dm-mim-cmi-digits", f"/jobs/new?clone={finished}&find=dm"]
        paths += ["/compare", f"/compare?ids={finished},{running}"]
        paths += ["/datasets", *(f"/datasets/{one}" for one in own)]
        return [*(Page(api.get(path)) for path in paths), Page(api.acting_as(None).get("/"))]

    def test_nothing_but_our_own_files_is_loaded(self, pages: list[Page]) -> None:
        for page in pages:
            loaded = [a[key] for _, a in page.tags for key in ("src", "href", "action") if a.get(key)]
            assert loaded
            assert [url for url in loaded if not url.startswith(("/", "#")) or url.startswith("//")] == []

    def test_the_content_security_policy_has_nothing_to_forbid(self, pages: list[Page]) -> None:
        for page in pages:
            assert "default-src 'self'" in page.answer.headers["Content-Security-Policy"]
            assert "unsafe" not in page.answer.headers["Content-Security-Policy"]
            assert page.all("style") == []
            assert [a for a in page.all("script") if not a.get("src")] == []
            inline = [name for _, a in page.tags for name in a if name == "style" or name.startswith("on")]
            assert inline == []

    def test_nothing_is_cached(self, pages: list[Page]) -> None:
        assert {page.answer.headers["Cache-Control"] for page in pages} == {"no-store"}

    def test_what_a_screen_reader_needs(self, pages: list[Page]) -> None:
        for page in pages:
            assert page.all("html")[0]["lang"] == "en"
            assert len(page.all("h1")) == 1
            assert len(page.all("main")) == 1
            assert [a for a in page.all("img") if a.get("alt") is None] == []
            assert [a for a in page.all("th") if not a.get("scope")] == []
            identifiers = [a["id"] for _, a in page.tags if a.get("id")]
            assert len(set(identifiers)) == len(identifiers)
            labels = {a["aria-labelledby"] for _, a in page.tags if a.get("aria-labelledby")}
            assert labels <= set(identifiers)

    def test_links_on_the_page_lead_somewhere(self, pages: list[Page]) -> None:
        for page in pages:
            identifiers = {a["id"] for _, a in page.tags if a.get("id")}
            wanted = {a["href"][1:] for a in page.all("a") if a["href"].startswith("#")}
            assert wanted <= identifiers

    def test_every_file_that_a_page_names_exists(self, api: Api, pages: list[Page]) -> None:
        named = {a[key] for page in pages for _, a in page.tags for key in ("src", "href") if a.get(key)}
        static = {url for url in named if url.startswith("/static/")}
        assert {"/static/app.js", "/static/style.css", "/static/icon.svg"} <= static
        assert {url: api.get(url).status_code for url in named if not url.startswith("#")} == {
            url: 200 for url in named if not url.startswith("#")
        }


class TestList:
    def test_a_row_says_it_all(self, api: Api, finished: str, running: str) -> None:
        page = Page(api.get("/"))
        for word in ("succeeded", "running", "A <b>bold</b> name", "DM on Digits 8x8", "2 per class", "cmi 2,000"):
            assert word in page.text
        for word in ("88.2 ± 0.8 %", "random 79.0 ± 1.4 %", "+9.2 points", "about 30 s left in this phase"):
            assert word in page.text
        assert {"/jobs/" + finished, "/jobs/" + running} <= {a["href"] for a in page.all("a")}

    def test_names_cannot_become_markup(self, api: Api, finished: str) -> None:
        for path in ("/", f"/jobs/{finished}"):
            assert "<b>bold" not in api.get(path).text

    def test_empty(self, api: Api) -> None:
        page = Page(api.get("/"))
        assert "No jobs yet" in page.text
        assert "ddctl submit --preset quick/dm-mim-cmi-digits --watch" in page.text
        assert "http://test/v1/jobs" in page.text

    def test_the_command_shown_works(self, api: Api) -> None:
        body = re.search(r"-d '([^']*)'", Page(api.get("/")).text)
        assert body is not None
        assert api.post("/v1/jobs", content=body[1], headers={"Content-Type": "application/json"}).status_code == 201

    @pytest.mark.parametrize(
        ("query", "shown"),
        [
            ("status=running", ["running"]),
            ("status=succeeded", ["finished"]),
            ("method=dm&dataset=digits", ["finished", "running"]),
            ("dataset=mnist", []),
            ("status=nonsense", ["finished", "running"]),
        ],
    )
    def test_filters(self, api: Api, finished: str, running: str, query: str, shown: list[str]) -> None:
        page = Page(api.get(f"/?{query}"))
        found = {a["href"] for a in page.all("a") if a["href"].startswith("/jobs/job_")}
        names = {"finished": f"/jobs/{finished}", "running": f"/jobs/{running}"}
        assert found == {names[name] for name in shown}
        assert ("No job fits this filter" in page.text) == (not shown)

    def test_page_by_page(self, api: Api, add_job: Callable[..., str]) -> None:
        jobs = {add_job() for _ in range(60)}
        first = Page(api.get("/"))
        (following,) = [a["href"] for a in first.all("a") if a.get("rel") == "next"]
        second = Page(api.get(str(following)))
        links = [[a["href"][6:] for a in p.all("a") if a.get("class") == "name"] for p in (first, second)]
        assert [len(part) for part in links] == [50, 10]
        assert {*links[0], *links[1]} == jobs

    def test_a_cursor_of_another_filter_starts_afresh(self, api: Api, add_job: Callable[..., str]) -> None:
        for _ in range(51):
            add_job()
        (following,) = [a["href"] for a in Page(api.get("/")).all("a") if a.get("rel") == "next"]
        answer = api.get(f"{following}&status=queued")
        assert (answer.status_code, answer.headers["Location"]) == (303, "/?status=queued")

    def test_other_tenants_see_nothing(self, rival: Api, finished: str) -> None:
        assert "No jobs yet" in rival.get("/").text


class TestJob:
    def test_finished(self, api: Api, finished: str) -> None:
        page = Page(api.get(f"/jobs/{finished}"))
        for word in ("88.2 ± 0.8 %", "random 79.0 ± 1.4 %", "+9.2 points", "of log 10 = 2.303", "seed 3"):
            assert word in page.text
        for word in ("over 2 networks (convnet, depth 3, width 128, norm instance)", "for 300 epochs"):
            assert word in page.text
        for word in (
            "the teacher is <weak>",
            "bundle.zip",
            "2.9 KiB",
            "versions.torch",
            "2.15.0",
            "ddctl submit --spec -",
        ):
            assert word in page.text
        assert "data-live-state" not in page.answer.text
        assert {a["href"] for a in page.all("a")} >= {f"/v1/jobs/{finished}/bundle.zip"}
        assert [a["action"] for a in page.all("form") if "/jobs/" in a["action"]] == [f"/jobs/{finished}/rerun"]

    def test_readable_without_scripts(self, api: Api, finished: str) -> None:
        page = Page(api.get(f"/jobs/{finished}"))
        assert len(page.all("polyline")) == 4
        for word in ("mi_lower_bound", "loss/total", "step 0", "step 50", "final"):
            assert word in page.text

    def test_running(self, api: Api, running: str) -> None:
        page = Page(api.get(f"/jobs/{running}"))
        for word in ("Distilling", "step 40 of 100", "about 30 s left in this phase", "Comes at the end"):
            assert word in page.text
        assert {a["action"] for a in page.all("form") if running in a["action"]} == {
            f"/jobs/{running}/{verb}" for verb in ("pause", "cancel", "keep")
        }
        assert [a["content"] for a in page.all("meta") if a.get("http-equiv") == "refresh"] == ["5"]

    def test_the_last_lines_of_the_log(self, api: Api, running: str) -> None:
        page = Page(api.get(f"/jobs/{running}"))
        assert "line 299 <b>" in page.text
        assert "line 100 <b>" in page.text
        assert "line 99 <b>" not in page.text
        assert {"href": f"/v1/jobs/{running}/log", "download": f"{running}.log"} in page.all("a")

    def test_a_running_job_says_how_far_all_its_phases_are(self, api: Api, running: str) -> None:
        expected = {"loading": 5.0, "distilling": 60.0, "evaluating": 20.0, "finalizing": 5.0}
        phases = [{"phase": name, "expected_s": seconds} for name, seconds in expected.items()]
        api.force(running, plan={"measured": True, "network_epochs": 0.0, "phases": phases})
        page = Page(api.get(f"/jobs/{running}"))
        for words in ("about 55 s left", "Loading data done", "Distilling 40%", "Scoring to come about 20 s"):
            assert words in page.text
        (bar,) = page.all("progress")
        assert float(bar["value"]) == pytest.approx((5 + 0.4 * 60) / 90)

    def test_charts_name_their_metrics_and_the_ceiling(self, api: Api, running: str) -> None:
        charts = [a for a in Page(api.get(f"/jobs/{running}")).all("figure") if a.get("class") == "chart"]
        assert [a["data-keys"] for a in charts] == ["loss loss/total", "mi_lower_bound", "cmi"]
        assert [a.get("data-limit-label") for a in charts] == [None, "log 10 = 2.303", None]

    def test_accuracy_on_the_way_stands_beside_random_images(self, api: Api, spec: dict[str, Any]) -> None:
        job = api.submit({**spec, "evaluation": {"during": {"every": 5}}})
        with api.database.write() as session:
            metrics.ingest(session, job["id"], "default", [(5, 1, "accuracy/random", 40.0)])
        charts = [a for a in Page(api.get(f"/jobs/{job['id']}")).all("figure") if a.get("class") == "chart"]
        (chart,) = [a for a in charts if a["data-keys"] == "accuracy/validation"]
        assert (chart["data-limit-key"], chart["data-limit-label"]) == ("accuracy/random", "random real images")
        assert chart.get("data-limit") is None

    def test_and_beside_the_best_coreset_where_it_is_a_control(self, api: Api, spec: dict[str, Any]) -> None:
        evaluation = {"during": {"every": 5}, "controls": ["random", "best_coreset"]}
        page = Page(api.get(f"/jobs/{api.submit({**spec, 'evaluation': evaluation})['id']}"))
        (chart,) = [a for a in page.all("figure") if a.get("data-keys") == "accuracy/validation"]
        assert chart["data-limit-key"] == "accuracy/random|accuracy/best_coreset"
        assert chart["data-limit-label"] == "random real images|best coreset"

    def test_what_the_set_does_not_beat_is_said_in_words(self, api: Api, add_job: Callable[..., str]) -> None:
        def score(*values: float) -> dict[str, Any]:
            return {"mean": fmean(values), "std": pstdev(values), "networks": len(values), "values": list(values)}

        controls = {"random": score(60, 61), "best_coreset": {**score(72, 73), "rule": "k_means"}}
        entry = {"network": {"name": "convnet"}, "accuracy": score(71, 72), "controls": controls}
        other = {**entry, "network": {"name": "mlp"}, "accuracy": score(50, 51)}
        curve = [{"images": size, "accuracy": score(60, 62)} for size in (1, 16)]
        worth = {"images": None, "bound": "more than", "low": 14.2, "high": None, "curve": curve}
        results = {**entry, "architectures": [entry, other], "epochs": 3, "checkpoint": "last", "worth": worth}
        results |= {"eight_bit": score(70, 71), "bytes": 25_600}
        ran = {"started_at": datetime(2026, 1, 1, tzinfo=UTC), "runtime_s": 90.0}
        page = Page(api.get(f"/jobs/{add_job(status='succeeded', results=results, **ran)}"))
        assert "The set beats random real images: +11.0 ± 0.7 points." in page.text
        assert "The set does not beat the best coreset: −1.0 ± 0.7 points." in page.text
        assert "is worth more than 16 random real images per class (95 %: 14 to more than 16)." in page.text
        assert "In 8 bits, as exported PNGs hold the images: 70.5 ± 0.5 %." in page.text
        assert "Worst of 2 architectures: mlp, 50.5 ± 0.5 %." in page.text
        assert "This is one distillation" in page.text
        shown = page.text[page.text.index("The set beats random") :]
        cost = "Size 25.0 KiB Running time 1 min 30 s Images of the last"
        order = ("The set does not beat", cost, "Worst of", "is worth", "In 8 bits")
        places = [shown.index(words) for words in order]
        assert places == sorted(places)

    def test_the_teacher_that_goes_with_the_images_is_shown_beside_them(
        self, api: Api, add_job: Callable[..., str]
    ) -> None:
        accuracy = {"mean": 71.0, "std": 0.5, "networks": 2, "values": [70.5, 71.5]}
        teacher = {"network": {"name": "convnet"}, "accuracy": 93.86, "bytes": 2048, "mode": "eval"}
        results = {"accuracy": accuracy, "controls": {}, "epochs": 3, "checkpoint": "last", "bytes": 25_600}
        page = Page(api.get(f"/jobs/{add_job(status='succeeded', results={**results, 'teacher': teacher})}"))
        assert "Size 25.0 KiB Teacher 2.0 KiB labels every batch; right on 93.9 % itself" in page.text
        plain = Page(api.get(f"/jobs/{add_job(status='succeeded', results=results)}"))
        assert "labels every batch" not in plain.text

    def test_labels_that_go_with_the_images_are_shown_beside_them(self, api: Api, add_job: Callable[..., str]) -> None:
        accuracy = {"mean": 71.0, "std": 0.5, "networks": 2, "values": [70.5, 71.5]}
        results = {"accuracy": accuracy, "controls": {}, "epochs": 3, "checkpoint": "last", "bytes": 25_600}
        job_id = add_job(status="succeeded", results={**results, "labels": {"epochs": 300, "bytes": 3 * 2**20}})
        said = "Size 25.0 KiB Labels 3.0 MiB a teacher's, of every batch of 300 epochs"
        assert said in Page(api.get(f"/jobs/{job_id}")).text
        assert said in Page(api.get(f"/v1/jobs/{job_id}/report")).text
        labels = {"epochs": 300, "top": 10, "bytes": 3 * 2**20}
        cut = Page(api.get(f"/jobs/{add_job(status='succeeded', results={**results, 'labels': labels})}"))
        assert "Labels 3.0 MiB a teacher's 10 highest logits of each image, of every batch of 300 epochs" in cut.text
        plain = Page(api.get(f"/jobs/{add_job(status='succeeded', results=results)}"))
        assert "of every batch" not in plain.text

    def test_the_best_step_is_named(self, api: Api, add_job: Callable[..., str]) -> None:
        accuracy = {"mean": 71.0, "std": 0.5, "networks": 2, "values": [70.5, 71.5]}
        results = {"accuracy": accuracy, "controls": {}, "epochs": 3, "checkpoint": "best", "at_step": 1200}
        page = Page(api.get(f"/jobs/{add_job(status='succeeded', results=results)}"))
        assert "on the images of step 1,200, the best on the way, for 3 epochs" in page.text

    def test_what_the_readings_rest_on_is_said_and_named_once_it_is_known(
        self, api: Api, finished: str, running: str
    ) -> None:
        done, under_way = (Page(api.get(f"/jobs/{job}")).text for job in (finished, running))
        assert "read with the probe of the dataset" in done
        assert "read with the probe of the dataset" in under_way
        assert "pr_0123456789ab" in done
        assert "pr_" not in under_way

    def test_failed(self, api: Api, add_job: Callable[..., str]) -> None:
        error = {"code": "diverged", "message": "the loss became NaN", "retryable": False, "attempt": 2}
        page = Page(api.get(f"/jobs/{add_job(status='failed', error=error)}"))
        assert "diverged in attempt 2 the loss became NaN" in page.text
        assert "Try again" in page.text

    def test_not_scored(self, api: Api, add_job: Callable[..., str]) -> None:
        results = {"accuracy": None, "controls": {"random": None}, "epochs": 300, "checkpoint": "last"}
        assert "Not scored" in Page(api.get(f"/jobs/{add_job(status='succeeded', results=results)}")).text

    def test_controls_are_explained(self, api: Api, add_job: Callable[..., str]) -> None:
        score = {"mean": 40.0, "std": 1.0, "networks": 2, "values": [39.0, 41.0]}
        controls = {"random": score, "full": {**score, "epochs": 20, "images": 50_000}}
        results = {
            "accuracy": score,
            "controls": controls,
            "network": {"name": "mlp"},
            "epochs": 1,
            "checkpoint": "last",
        }
        page = Page(api.get(f"/jobs/{add_job(status='succeeded', results=results)}"))
        assert "“random” is a real subset of the same size; “full” is the whole training set" in page.text
        alone = Page(api.get(f"/jobs/{add_job(status='succeeded', results={**results, 'controls': {}})}"))
        assert "identical recipe" not in alone.text

    def test_several_architectures(self, api: Api, add_job: Callable[..., str]) -> None:
        def entry(name: str, mean: float) -> dict[str, Any]:
            accuracy = {"mean": mean, "std": 0.0, "networks": 1, "values": [mean]}
            return {"network": {"name": name}, "accuracy": accuracy, "controls": {}}

        results = {**entry("convnet", 40), "architectures": [entry("convnet", 40), entry("resnet18", 30)], "epochs": 1,
                   "checkpoint": "last"}  # fmt: skip
        page = Page(api.get(f"/jobs/{add_job(status='succeeded', results=results)}"))
        assert [a["aria-label"] for a in page.all("svg") if a.get("class") == "bars"] == [
            "distilled 40.0 %",
            "distilled 30.0 %",
        ]

    def test_a_damaged_manifest_does_not_take_the_page_down(self, api: Api, finished: str) -> None:
        for path in (api.settings.home / "artifacts" / "sha256").rglob("*"):
            if path.is_file():
                path.write_bytes(b"damaged")
        answer = api.get(f"/jobs/{finished}")
        assert answer.status_code == 200
        assert "versions.torch" not in answer.text

    def test_a_specification_of_an_older_version_is_shown(
        self, api: Api, finished: str, add_job: Callable[..., str]
    ) -> None:
        with api.database.read() as session:
            spec = dict(session.execute(select(Job.spec).where(Job.id == finished)).scalar_one())
        answer = api.get(f"/jobs/{add_job(status='succeeded', spec={**spec, 'retired_field': 1})}")
        assert answer.status_code == 200
        assert "retired_field" in answer.text

    def test_missing(self, api: Api, rival: Api, finished: str) -> None:
        for answer in (api.get(f"/jobs/{MISSING}"), rival.get(f"/jobs/{finished}")):
            assert answer.status_code == 404
            assert "Not found" in Page(answer).text


class TestActions:
    @pytest.mark.parametrize(
        ("verb", "status"), [("cancel", "cancelling"), ("keep", "cancelling"), ("pause", "pausing")]
    )
    def test_act_and_show_the_job_again(self, api: Api, running: str, verb: str, status: str) -> None:
        answer = api.post(f"/jobs/{running}/{verb}", headers=HERE)
        assert (answer.status_code, answer.headers["Location"]) == (303, f"/jobs/{running}")
        assert status_of(api, running) == status
        with api.database.read() as session:
            keep = session.execute(select(Job.keep_result).where(Job.id == running)).scalar_one()
        assert keep == (verb == "keep")

    def test_resume_and_retry(self, api: Api, add_job: Callable[..., str]) -> None:
        for verb, before in (("resume", "paused"), ("retry", "failed")):
            job = add_job(status=before)
            assert api.post(f"/jobs/{job}/{verb}", headers=HERE).status_code == 303
            assert status_of(api, job) == "queued"

    def test_an_ended_job_is_made_again_once_for_each_form(self, api: Api, finished: str) -> None:
        page = Page(api.get(f"/jobs/{finished}"))
        assert f"/jobs/{finished}/rerun" in [form.get("action") for form in page.all("form")]
        (key,) = {field["value"] for field in page.all("input") if field.get("name") == "key"}
        first, twice, other = (
            api.post(f"/jobs/{finished}/rerun", data={"key": sent}, headers=HERE) for sent in (key, key, "other")
        )
        assert first.status_code == 303
        assert first.headers["Location"] == twice.headers["Location"] != other.headers["Location"]
        assert api.get("/v1" + first.headers["Location"]).json()["parent_id"] == finished
        assert f'{first.headers["Location"]}"' in api.get(f"/jobs/{finished}").text

    def test_a_job_under_way_is_not_made_again(self, api: Api, running: str) -> None:
        assert "/rerun" not in api.get(f"/jobs/{running}").text
        answer = api.post(f"/jobs/{running}/rerun", headers=HERE)
        assert (answer.status_code, status_of(api, running)) == (409, "running")
        assert "cannot be told to rerun" in Page(answer).text

    def test_what_is_not_possible_is_explained(self, api: Api, finished: str) -> None:
        answer = api.post(f"/jobs/{finished}/cancel", headers=HERE)
        assert answer.status_code == 409
        assert "A job that is succeeded cannot be told to cancel" in Page(answer).text

    @pytest.mark.parametrize("origin", [{}, {"Origin": "null"}, {"Origin": "http://evil.example"}])
    def test_other_sites_cannot_act(self, api: Api, running: str, origin: dict[str, str]) -> None:
        assert api.post(f"/jobs/{running}/cancel", headers=origin).status_code == 403
        assert status_of(api, running) == "running"

    def test_reading_keys_cannot_act(self, api: Api, running: str) -> None:
        reader = api.acting_as(api.key(scopes=(Scope.JOBS_READ,)))
        assert reader.post(f"/jobs/{running}/cancel", headers=HERE).status_code == 403
        assert status_of(api, running) == "running"

    def test_other_tenants_cannot_act(self, rival: Api, api: Api, running: str) -> None:
        assert rival.post(f"/jobs/{running}/cancel", headers=HERE).status_code == 404
        assert status_of(api, running) == "running"

    def test_unknown_verbs(self, api: Api, running: str) -> None:
        assert api.post(f"/jobs/{running}/explode", headers=HERE).status_code == 404


class TestLogin:
    @pytest.mark.parametrize("path", ["/", f"/jobs/{MISSING}", "/system", "/datasets", f"/datasets/{MISSING_SET}"])
    def test_asked_for(self, api: Api, path: str) -> None:
        answer = api.acting_as(None).get(path)
        assert answer.status_code == 401
        page = Page(answer)
        assert "Open the link that ddctl up printed" in page.text
        assert [a["value"] for a in page.all("input") if a.get("name") == "next"] == [path]

    def send(self, api: Api, **form: str) -> httpx.Response:
        return api.acting_as(None).post("/login", data=form, headers=HERE)

    def test_a_pasted_key_starts_a_session(self, api: Api, finished: str) -> None:
        answer = self.send(api, key=f" {api.key()} ", next=f"/jobs/{finished}")
        assert (answer.status_code, answer.headers["Location"]) == (303, f"/jobs/{finished}")
        cookie = answer.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "samesite=strict" in cookie.lower()
        session = {"Cookie": cookie.split(";")[0]}
        api.client.cookies.clear()
        assert api.acting_as(None).get(f"/jobs/{finished}", headers=session).status_code == 200
        assert api.acting_as(None).get(f"/jobs/{finished}").status_code == 401

    @pytest.mark.parametrize("key", ["", "wrong", "dd_local_aaaaaaaa_" + "a" * 43 + "_00000000", "ü"])
    def test_wrong_key(self, api: Api, key: str) -> None:
        answer = self.send(api, key=key)
        assert answer.status_code == 401
        assert "wrong, expired or revoked" in Page(answer).text
        assert "Set-Cookie" not in answer.headers

    @pytest.mark.parametrize("onward", ["//evil.example", "https://evil.example", "/\\evil.example", "/\nx", ""])
    def test_leads_nowhere_else(self, api: Api, onward: str) -> None:
        assert self.send(api, key=api.key(), next=onward).headers["Location"] == "/"

    def test_other_sites_cannot_log_in(self, api: Api) -> None:
        answer = api.acting_as(None).post("/login", data={"key": api.key()}, headers={"Origin": "http://evil.example"})
        assert answer.status_code == 403
        assert "Set-Cookie" not in answer.headers


class TestSystem:
    def test_workers_and_queue(self, api: Api, rival: Api, running: str) -> None:
        assert "No worker is running" in Page(api.get("/system")).text
        with api.database.write() as session:
            common = {"host": "box", "pid": 7, "device_class": "cpu", "facts": {}}
            session.add(Worker(id="wrk_1", name="one@box", state="busy", job_id=running, **common))
            session.add(Worker(id="wrk_2", name="two@box", state="idle", **common))
        page = Page(api.get("/system"))
        for word in ("one@box", "two@box", "pid 7", "Running 1", "busy", "idle"):
            assert word in page.text
        assert f"/jobs/{running}" in {a["href"] for a in page.all("a")}
        theirs = rival.get("/system").text
        assert running not in theirs
        assert "another tenant" in theirs
        assert "Running 0" in Page(rival.get("/system")).text

    def test_an_operator_tells_workers_what_to_do(self, api: Api, rival: Api) -> None:
        with api.database.write() as session:
            common = {"host": "box", "pid": 7, "device_class": "cpu", "facts": {}}
            session.add(Worker(id="wrk_1", name="one@box", state="idle", **common))
        origin = {"Origin": "http://test"}
        for verb, words in (("cordon", "takes no more jobs"), ("drain", "hands its job back")):
            assert api.post(f"/system/workers/wrk_1/{verb}", headers=origin).headers["location"] == "/system"
            assert words in Page(api.get("/system")).text
        assert api.post("/system/workers/wrk_1/uncordon", headers=origin).status_code == 303
        assert "takes no more jobs" not in api.get("/system").text
        assert [one["action"] for one in api.get("/v1/audit").json()["data"]][:3] == [
            "worker.uncordon", "worker.drain", "worker.cordon",
        ]  # fmt: skip
        assert api.post("/system/workers/wrk_2/cordon", headers=origin).status_code == 404
        assert rival.post("/system/workers/wrk_1/cordon", headers=origin).status_code == 403
        assert "Cordon" not in rival.get("/system").text


class TestStatic:
    def test_sent_once(self, api: Api) -> None:
        anybody = api.acting_as(None)
        first = anybody.get("/static/style.css")
        assert (first.status_code, first.headers["Content-Type"]) == (200, "text/css; charset=utf-8")
        again = anybody.get("/static/style.css", headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")

    @pytest.mark.parametrize("name", ["missing.js", "..%2fpages.py", "pages.py", "%2e%2e%2ftemplates%2fbase.html"])
    def test_only_what_is_there(self, api: Api, name: str) -> None:
        assert api.get(f"/static/{name}").status_code == 404
