"""Submitting, reading and listing jobs over HTTP, on both databases."""

from __future__ import annotations

import re
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, update

from app.core.ids import pattern
from app.metrics import repository as metrics
from app.models.events import Event
from app.models.fleet import Worker
from app.models.jobs import Job, Outbox

if TYPE_CHECKING:
    from tests.app.conftest import Api

BACKENDS = ("sqlite", "postgres")


class TestSubmit:
    def test_answers_with_the_job(self, api: Api, spec: dict[str, Any]) -> None:
        response = api.post("/v1/jobs", json={**spec, "name": "first", "labels": {"team": "a"}, "priority": 7})
        assert response.status_code == 201
        job = response.json()
        assert re.match(pattern("job"), job["id"])
        assert response.headers["location"] == f"/v1/jobs/{job['id']}" == job["links"]["self"]
        assert response.headers["etag"] == '"1"'
        assert (job["status"], job["name"], job["labels"], job["priority"]) == ("queued", "first", {"team": "a"}, 7)
        assert job["spec"]["method"]["lr_img"] == 1.0
        assert job["progress"] == {
            "step": 0,
            "total_steps": 10,
            "fraction": 0.0,
            "eta_s": None,
            "steps_per_s": None,
            "phase_done": 0,
            "phase_total": None,
            "plan": None,
        }
        assert job["actions"] == ["cancel", "pause", "clone"]
        assert job["desired"] == "run"
        assert job["created_at"].endswith("Z")
        assert api.get(job["links"]["self"]).json() == job

    def test_writes_job_event_and_doorbell_together(self, api: Api, spec: dict[str, Any], rung: list[float]) -> None:
        job = api.submit(spec)
        with api.database.read() as session:
            (event,) = session.scalars(select(Event))
            (owed,) = session.scalars(select(Outbox))
        assert (event.job_id, event.seq, event.type) == (job["id"], 1, "job.created")
        assert owed.payload == {"device_class": "any"}
        assert rung == [api.settings.publish_limit_s]

    def test_short_full_and_preset_spellings(self, api: Api) -> None:
        short = api.submit({"dataset": "digits", "ipc": 2, "method": "dm", "regularizers": {"mim": 0.8, "cmi": 20}})
        full = api.submit(
            {
                "dataset": "digits",
                "ipc": 2,
                "method": {"name": "dm"},
                "regularizers": [{"name": "mim", "weight": 0.8}, {"name": "cmi", "weight": 20}],
            },
        )
        preset = api.submit({"preset": "quick/dm-digits", "ipc": 3})
        assert short["spec"] == full["spec"]
        assert preset["spec"]["ipc"] == 3

    def test_device_decides_the_queue(self, api: Api, spec: dict[str, Any]) -> None:
        api.submit(spec, device="cuda:1")
        with api.database.read() as session:
            assert session.scalars(select(Job.device_class)).one() == "cuda"

    def test_limits_are_capped_by_the_service(self, api: Api, spec: dict[str, Any]) -> None:
        job = api.submit(spec, limits={"max_runtime_s": 10**9, "max_queue_s": 60})
        assert job["limits"]["max_runtime_s"] == api.settings.max_runtime_s
        assert job["limits"]["max_queue_s"] == 60

    def test_dataset_may_be_a_folder_of_the_data_root(self, api: Api, spec: dict[str, Any]) -> None:
        (api.settings.data_root / "my_birds").mkdir(parents=True)
        assert api.submit({**spec, "dataset": "my_birds"})["spec"]["dataset"] == "my_birds"

    def test_broker_down_is_no_error(self, api: Api, spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.undo()
        broken = api.settings.model_copy(update={"broker_url": "redis://127.0.0.1:1/0"})
        monkeypatch.setattr(api.state, "settings", broken)
        with api.database.write() as session:
            session.add(Worker(id="wrk_1", name="w", host="h", pid=1, device_class="cpu", facts={}, state="idle"))
        started = time.perf_counter()
        api.submit(spec)
        assert time.perf_counter() - started < 3
        assert api.count(Outbox) == 1

    def test_quota(self, api: Api, spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(api.state, "settings", api.settings.model_copy(update={"max_queued": 2}))
        first = api.submit(spec)
        api.submit(spec)
        response = api.post("/v1/jobs", json=spec)
        assert (response.status_code, response.json()["code"]) == (429, "quota_exceeded")
        assert "Retry-After" in response.headers
        api.post(f"/v1/jobs/{first['id']}:cancel")
        api.submit(spec)


class TestGet:
    def test_unchanged_job_is_not_sent_again(self, api: Api, spec: dict[str, Any]) -> None:
        path = api.submit(spec)["links"]["self"]
        etag = api.get(path).headers["etag"]
        for known in (etag, f"W/{etag}", f'"99", {etag}'):
            response = api.get(path, headers={"If-None-Match": known})
            assert (response.status_code, response.content) == (304, b"")
        api.post(f"{path}:pause")
        assert api.get(path, headers={"If-None-Match": etag}).status_code == 200

    def test_waits_for_a_change(self, api: Api, spec: dict[str, Any]) -> None:
        path = api.submit(spec)["links"]["self"]
        pausing = threading.Timer(0.3, lambda: api.post(f"{path}:pause"))
        pausing.start()
        started = time.perf_counter()
        response = api.get(f"{path}?wait=20&version=1")
        pausing.join()
        assert response.json()["status"] == "paused"
        assert 0.2 < time.perf_counter() - started < 10

    def test_waiting_ends(self, api: Api, spec: dict[str, Any]) -> None:
        path = api.submit(spec)["links"]["self"]
        response = api.get(f"{path}?wait=0.2&version=1")
        assert (response.status_code, response.json()["version"]) == (200, 1)

    def test_does_not_wait_for_what_is_there(self, api: Api, spec: dict[str, Any]) -> None:
        path = api.submit(spec)["links"]["self"]
        started = time.perf_counter()
        api.get(f"{path}?wait=20&version=0")
        assert time.perf_counter() - started < 3

    def test_running_job(self, api: Api, spec: dict[str, Any]) -> None:
        job = api.submit(spec)
        api.force(job["id"], status="running", owner="wrk_1", phase="distilling", step=4, phase_done=4, phase_total=10)
        api.force(job["id"], steps_per_s=2.0)
        found = api.get(job["links"]["self"]).json()
        assert found["progress"]["fraction"] == 0.4
        assert found["progress"]["eta_s"] == 3.0
        assert found["actions"] == ["cancel", "pause", "clone"]
        assert {c["type"]: c["status"] for c in found["conditions"]}["LeaseHeld"] is True

    def test_last_metrics(self, api: Api, spec: dict[str, Any]) -> None:
        job = api.submit(spec)
        with api.database.write() as session:
            readings = [(10, 1, "loss", 2.0), (20, 2, "loss", 1.5), (20, 2, "cmi", float("nan")), (20, 2, "other", 9.0)]
            metrics.ingest(session, job["id"], "default", readings)
        found = api.get(job["links"]["self"]).json()["last_metrics"]
        assert found == {"loss": 1.5, "loss_total": None, "mi_lower_bound": None, "cmi": None, "at_step": 20}

    @pytest.mark.parametrize("names", [("loss", "loss/total"), ("loss/base", "loss")], ids=["now", "until 0.2"])
    def test_the_loss_is_that_of_the_method_and_the_sum_stands_beside_it(
        self, api: Api, spec: dict[str, Any], names: tuple[str, str]
    ) -> None:
        job = api.submit(spec)
        with api.database.write() as session:
            own, total = names
            metrics.ingest(session, job["id"], "default", [(10, 1, own, 2.0), (10, 1, total, 3.5)])
        found = api.get(job["links"]["self"]).json()["last_metrics"]
        assert (found["loss"], found["loss_total"]) == (2.0, 3.5)

    @pytest.mark.parametrize(
        "job_id", ["job_x", "JOB_01m7wewc2pfn6v37mwaesxmpy7", "..%2f..%2fetc", "job_01m7wewc2pfn6v37mwaesxmpy7"]
    )
    def test_unknown(self, api: Api, job_id: str) -> None:
        response = api.get(f"/v1/jobs/{job_id}")
        assert (response.status_code, response.json()["code"]) == (404, "not_found")


class TestList:
    def test_newest_first_in_pages(self, api: Api, spec: dict[str, Any]) -> None:
        ids = [api.submit(spec)["id"] for _ in range(7)]
        found, cursor, pages = [], None, 0
        while True:
            page = api.get("/v1/jobs", params={"limit": 3, **({"cursor": cursor} if cursor else {})}).json()
            found += [job["id"] for job in page["data"]]
            pages += 1
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert found == ids[::-1]
        assert pages == 3

    def test_pages_do_not_shift_when_jobs_arrive(self, api: Api, spec: dict[str, Any]) -> None:
        ids = [api.submit(spec)["id"] for _ in range(4)]
        first = api.get("/v1/jobs?limit=2").json()
        api.submit(spec)
        second = api.get("/v1/jobs", params={"limit": 2, "cursor": first["next_cursor"]}).json()
        assert [job["id"] for job in first["data"] + second["data"]] == ids[::-1]
        assert second["next_cursor"] is None

    def test_same_millisecond_is_ordered_by_id(self, api: Api, spec: dict[str, Any]) -> None:
        ids = [api.submit(spec)["id"] for _ in range(5)]
        with api.database.write() as session:
            moment = session.scalars(select(Job.created_at).limit(1)).one()
            session.execute(update(Job).values(created_at=moment))
        found, cursor = [], None
        for _ in range(5):
            page = api.get("/v1/jobs", params={"limit": 1, **({"cursor": cursor} if cursor else {})}).json()
            found.append(page["data"][0]["id"])
            cursor = page["next_cursor"]
        assert found == sorted(ids, reverse=True)

    def test_oldest_first(self, api: Api, spec: dict[str, Any]) -> None:
        ids = [api.submit(spec)["id"] for _ in range(3)]
        first = api.get("/v1/jobs?order=created_asc&limit=2").json()
        rest = api.get("/v1/jobs", params={"order": "created_asc", "limit": 2, "cursor": first["next_cursor"]}).json()
        assert [job["id"] for job in first["data"] + rest["data"]] == ids

    def test_filters(self, api: Api, spec: dict[str, Any]) -> None:
        one = api.submit(spec, labels={"team": "a", "run": "1"})
        two = api.submit({**spec, "method": "random"}, labels={"team": "b"})
        three = api.submit({**spec, "dataset": "mnist"})
        api.post(f"/v1/jobs/{three['id']}:cancel")

        def ids(query: str) -> set[str]:
            return {job["id"] for job in api.get(f"/v1/jobs?{query}").json()["data"]}

        assert ids("status=queued") == {one["id"], two["id"]}
        assert ids("status=cancelled,paused") == {three["id"]}
        assert ids("method=random") == {two["id"]}
        assert ids("dataset=mnist") == {three["id"]}
        assert ids("label=team:a") == {one["id"]}
        assert ids("label=team:a&label=run:1") == {one["id"]}
        assert ids("label=team:a&label=run:2") == set()
        assert ids(f"created_before={one['created_at']}") == set()
        assert ids(f"created_after={three['created_at']}") == set()
        assert ids("created_after=2020-01-01T00:00:00Z") == {one["id"], two["id"], three["id"]}

    def test_label_with_quotes_is_only_a_label(self, api: Api, spec: dict[str, Any]) -> None:
        job = api.submit(spec, labels={"note": 'it\'s "100%" :ok'})
        found = api.get("/v1/jobs", params={"label": 'note:it\'s "100%" :ok'}).json()["data"]
        assert [item["id"] for item in found] == [job["id"]]
        assert api.get("/v1/jobs", params={"label": "a' OR '1'='1:x"}).json()["data"] == []

    @pytest.mark.parametrize(
        ("query", "code"),
        [
            ("cursor=nonsense", "invalid_cursor"),
            ("status=runing", "invalid_parameter"),
            ("status=", "invalid_parameter"),
            ("status=queued,", "invalid_parameter"),
            ("label=nocolon", "invalid_parameter"),
            ("created_after=yesterday", "invalid_parameter"),
            ("order=random", "invalid_parameter"),
            ("limit=0", "invalid_parameter"),
            ("limit=201", "invalid_parameter"),
            ("offset=3", "unknown_parameter"),
        ],
    )
    def test_bad_queries(self, api: Api, query: str, code: str) -> None:
        response = api.get(f"/v1/jobs?{query}")
        assert (response.status_code, response.json()["code"]) == (400, code)

    def test_cursor_belongs_to_its_filters(self, api: Api, rival: Api, spec: dict[str, Any]) -> None:
        for _ in range(2):
            api.submit(spec)
        cursor = api.get("/v1/jobs?limit=1").json()["next_cursor"]
        for asked in (
            api.get("/v1/jobs", params={"cursor": cursor, "status": "queued"}),
            api.get("/v1/jobs", params={"cursor": cursor, "order": "created_asc"}),
            rival.get("/v1/jobs", params={"cursor": cursor}),
        ):
            assert (asked.status_code, asked.json()["code"]) == (400, "invalid_cursor")
