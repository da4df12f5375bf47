"""The jobs resource over HTTP."""

from __future__ import annotations

import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, select, update

from app.core.ids import pattern
from app.events.models import Event
from app.jobs import outbox
from app.jobs.models import IdempotencyKey, Job, Outbox
from app.jobs.states import State, actions
from app.system.models import Worker

if TYPE_CHECKING:
    from tests.app.conftest import Api

BACKENDS = ("sqlite", "postgres")


@pytest.fixture(autouse=True)
def rung(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Doorbells rung after a commit, instead of being sent to a broker."""
    calls: list[float] = []

    def publish(_database: object, _settings: object, *, limit_s: float) -> int:
        calls.append(limit_s)
        return 0

    monkeypatch.setattr(outbox, "publish_pending", publish)
    return calls


def submit(api: Api, spec: dict[str, Any], **fields: Any) -> dict[str, Any]:
    response = api.post("/v1/jobs", json={**spec, **fields})
    assert response.status_code == 201, response.text
    return response.json()


def force(api: Api, job_id: str, **values: Any) -> None:
    """Put a job into a situation that only a worker could bring about."""
    with api.database.write() as session:
        session.execute(update(Job).where(Job.id == job_id).values(**values))


def count(api: Api, model: Any) -> int:
    with api.database.read() as session:
        return session.execute(select(func.count()).select_from(model)).scalar_one()


def codes(response: Any) -> dict[str, str]:
    """Pointer and code of every fault of a 422."""
    assert response.status_code == 422, response.text
    return {fault["pointer"]: fault["code"] for fault in response.json()["errors"]}


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
        }
        assert job["actions"] == ["cancel", "pause", "clone"]
        assert job["desired"] == "run"
        assert job["created_at"].endswith("Z")
        assert api.get(job["links"]["self"]).json() == job

    def test_writes_job_event_and_doorbell_together(self, api: Api, spec: dict[str, Any], rung: list[float]) -> None:
        job = submit(api, spec)
        with api.database.read() as session:
            (event,) = session.scalars(select(Event))
            (owed,) = session.scalars(select(Outbox))
        assert (event.job_id, event.seq, event.type) == (job["id"], 1, "job.created")
        assert owed.payload == {"device_class": "any"}
        assert rung == [api.settings.publish_limit_s]

    def test_short_full_and_preset_spellings(self, api: Api) -> None:
        short = submit(api, {"dataset": "digits", "ipc": 2, "method": "dm", "regularizers": {"mim": 0.8, "cmi": 20}})
        full = submit(
            api,
            {
                "dataset": "digits",
                "ipc": 2,
                "method": {"name": "dm"},
                "regularizers": [{"name": "mim", "weight": 0.8}, {"name": "cmi", "weight": 20}],
            },
        )
        preset = submit(api, {"preset": "quick/dm-digits", "ipc": 3})
        assert short["spec"] == full["spec"]
        assert preset["spec"]["ipc"] == 3

    def test_device_decides_the_queue(self, api: Api, spec: dict[str, Any]) -> None:
        submit(api, spec, device="cuda:1")
        with api.database.read() as session:
            assert session.scalars(select(Job.device_class)).one() == "cuda"

    def test_limits_are_capped_by_the_service(self, api: Api, spec: dict[str, Any]) -> None:
        job = submit(api, spec, limits={"max_runtime_s": 10**9, "max_queue_s": 60})
        assert job["limits"]["max_runtime_s"] == api.settings.max_runtime_s
        assert job["limits"]["max_queue_s"] == 60

    def test_dataset_may_be_a_folder_of_the_data_root(self, api: Api, spec: dict[str, Any]) -> None:
        (api.settings.data_root / "my_birds").mkdir(parents=True)
        assert submit(api, {**spec, "dataset": "my_birds"})["spec"]["dataset"] == "my_birds"

    def test_broker_down_is_no_error(self, api: Api, spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.undo()
        broken = api.settings.model_copy(update={"broker_url": "redis://127.0.0.1:1/0"})
        monkeypatch.setattr(api.state, "settings", broken)
        with api.database.write() as session:
            session.add(Worker(id="wrk_1", name="w", host="h", pid=1, device_class="cpu", facts={}, state="idle"))
        started = time.perf_counter()
        submit(api, spec)
        assert time.perf_counter() - started < 3
        assert count(api, Outbox) == 1

    def test_quota(self, api: Api, spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(api.state, "settings", api.settings.model_copy(update={"max_queued": 2}))
        first = submit(api, spec)
        submit(api, spec)
        response = api.post("/v1/jobs", json=spec)
        assert (response.status_code, response.json()["code"]) == (429, "quota_exceeded")
        assert "Retry-After" in response.headers
        api.post(f"/v1/jobs/{first['id']}:cancel")
        submit(api, spec)


class TestBadSubmissions:
    """Each is refused with its place and a way out, and nothing is queued."""

    @pytest.fixture(autouse=True)
    def nothing_is_queued(self, api: Api) -> Any:
        yield
        assert count(api, Job) == count(api, Event) == count(api, Outbox) == 0

    @pytest.mark.parametrize(
        ("change", "pointer", "words"),
        [
            ({"dataset": "cifar_10"}, "/dataset", "did you mean 'cifar10'"),
            ({"dataset": "../../etc"}, "/dataset", "unknown dataset"),
            ({"method": "dmm"}, "/method", "did you mean 'dm'"),
            ({"method": {"name": "dm", "iteration": 5}}, "/method/iteration", "did you mean `iterations`"),
            ({"regularizers": {"cmii": 1}}, "/regularizers/0", "did you mean 'cmi'"),
            ({"ipcs": 3}, "/ipcs", "did you mean `ipc`"),
            ({"ipc": 0}, "/ipc", "at least 1"),
            ({"ipc": -4}, "/ipc", "at least 1"),
            ({"ipc": 1000}, "/ipc", "smallest class"),
            ({"ipc": 1, "regularizers": {"cmi": 10}}, "/regularizers/0", "one image a class"),
            ({"regularizers": {"mim": float("nan")}}, "/regularizers/0/weight", "finite"),
            ({"regularizers": {"mim": float("inf")}}, "/regularizers/0/weight", "finite"),
            ({"regularizers": {"mim": float("-inf")}}, "/regularizers/0/weight", "finite"),
            ({"preset": "paper/dm-cifar10"}, "/preset", "did you mean"),
            ({"priority": 10}, "/priority", "at most 9"),
            ({"priority": "high"}, "/priority", "'high'"),
            ({"labels": {"bad key!": "x"}}, "/labels/bad key!/[key]", "match"),
            ({"labels": {f"l{n}": "" for n in range(33)}}, "/labels", "32"),
            ({"name": "x" * 201}, "/name", "200"),
            ({"limits": {"max_runtime_s": 0}}, "/limits/max_runtime_s", "greater than 0"),
            ({"limits": {"max_time": 5}}, "/limits/max_time", "unknown field"),
        ],
    )
    def test_is_named(self, api: Api, spec: dict[str, Any], change: dict[str, Any], pointer: str, words: str) -> None:
        body = json.dumps({**spec, **change})
        response = api.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
        assert pointer in codes(response)
        (fault,) = [f for f in response.json()["errors"] if f["pointer"] == pointer]
        assert words in fault["detail"]

    def test_every_fault_is_listed(self, api: Api) -> None:
        response = api.post("/v1/jobs", json={"ipc": 0, "dataset": "digits", "method": "dn", "priority": -1, "x": 1})
        assert set(codes(response)) == {"/ipc", "/method", "/priority", "/x"}
        assert "and 3 more" in response.json()["detail"]

    def test_specification_too_large(self, api: Api, spec: dict[str, Any]) -> None:
        assert codes(api.post("/v1/jobs", json={**spec, "augmentation": "x" * 70_000})) == {
            "": "specification_too_large"
        }


class TestIdempotency:
    def test_repetition_returns_the_first_answer(self, api: Api, spec: dict[str, Any]) -> None:
        headers = {"Idempotency-Key": "k1"}
        first = api.post("/v1/jobs", json=spec, headers=headers)
        api.post(f"/v1/jobs/{first.json()['id']}:pause")
        again = api.post("/v1/jobs", json=spec, headers=headers)
        assert (first.status_code, again.status_code) == (201, 200)
        assert again.headers["idempotent-replayed"] == "true"
        assert again.headers["location"] == first.headers["location"]
        assert again.content == first.content
        assert count(api, Job) == 1

    def test_spacing_and_order_do_not_matter(self, api: Api, spec: dict[str, Any]) -> None:
        kind = {"Idempotency-Key": "k1", "Content-Type": "application/json"}
        api.post("/v1/jobs", content=json.dumps(spec), headers=kind)
        turned = json.dumps(dict(reversed(spec.items())), indent=3)
        assert api.post("/v1/jobs", content=turned, headers=kind).status_code == 200

    def test_other_request_is_refused(self, api: Api, spec: dict[str, Any]) -> None:
        headers = {"Idempotency-Key": "k1"}
        api.post("/v1/jobs", json=spec, headers=headers)
        response = api.post("/v1/jobs", json={**spec, "ipc": 3}, headers=headers)
        assert (response.status_code, response.json()["code"]) == (422, "idempotency_mismatch")
        assert count(api, Job) == 1

    def test_faulty_request_is_not_remembered(self, api: Api, spec: dict[str, Any]) -> None:
        headers = {"Idempotency-Key": "k1"}
        assert api.post("/v1/jobs", json={**spec, "ipc": 0}, headers=headers).status_code == 422
        assert count(api, IdempotencyKey) == 0
        assert api.post("/v1/jobs", json=spec, headers=headers).status_code == 201

    def test_key_is_forgotten_after_its_time(self, api: Api, spec: dict[str, Any]) -> None:
        headers = {"Idempotency-Key": "k1"}
        api.post("/v1/jobs", json=spec, headers=headers)
        with api.database.write() as session:
            session.execute(update(IdempotencyKey).values(expires_at=IdempotencyKey.created_at))
        time.sleep(0.005)
        assert api.post("/v1/jobs", json=spec, headers=headers).status_code == 201
        assert count(api, Job) == 2

    def test_tenants_do_not_share_keys(self, api: Api, rival: Api, spec: dict[str, Any]) -> None:
        headers = {"Idempotency-Key": "k1"}
        mine = api.post("/v1/jobs", json=spec, headers=headers)
        theirs = rival.post("/v1/jobs", json=spec, headers=headers)
        assert (mine.status_code, theirs.status_code) == (201, 201)
        assert mine.json()["id"] != theirs.json()["id"]

    @pytest.mark.parametrize("key", ["", "x" * 256])
    def test_impossible_key_is_refused(self, api: Api, spec: dict[str, Any], key: str) -> None:
        response = api.post("/v1/jobs", json=spec, headers={"Idempotency-Key": key})
        assert (response.status_code, response.json()["code"]) == (400, "invalid_parameter")

    def test_fifty_at_once_make_one_job(self, api: Api, spec: dict[str, Any]) -> None:
        with ThreadPoolExecutor(16) as pool:
            answers = list(
                pool.map(lambda _: api.post("/v1/jobs", json=spec, headers={"Idempotency-Key": "k"}), range(50))
            )
        assert sorted({answer.status_code for answer in answers}) == [200, 201]
        assert [answer.status_code for answer in answers].count(201) == 1
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert count(api, Job) == 1


class TestValidate:
    def test_tells_plan_and_cost_and_queues_nothing(self, api: Api) -> None:
        response = api.post("/v1/jobs:validate", json={"preset": "paper/dm-cifar10-ipc10"})
        assert response.status_code == 200
        found = response.json()
        assert [phase["phase"] for phase in found["plan"]] == ["loading", "distilling", "evaluating", "finalizing"]
        assert found["estimate"]["distilled_bytes"] == 10 * 10 * 3072 * 4
        assert found["estimate"]["seconds"]["cuda"]["low"] < found["estimate"]["seconds"]["cpu"]["high"]
        assert count(api, Job) == 0

    def test_refuses_what_submission_refuses(self, api: Api, spec: dict[str, Any]) -> None:
        assert codes(api.post("/v1/jobs:validate", json={**spec, "ipc": 0})) == {"/ipc": "greater_than_equal"}

    def test_warns(self, api: Api, spec: dict[str, Any]) -> None:
        changed = {**spec, "regularizers": {"mim": 0}, "evaluation": {"repeats": 0}, "augmentation": "flip"}
        warnings = " ".join(api.post("/v1/jobs:validate", json=changed).json()["warnings"])
        assert "`mim` has weight 0" in warnings
        assert "not be scored" in warnings
        assert "mirrors" in warnings

    def test_unknown_size_has_no_estimate(self, api: Api, spec: dict[str, Any]) -> None:
        (api.settings.data_root / "my_birds").mkdir(parents=True)
        found = api.post("/v1/jobs:validate", json={**spec, "dataset": "my_birds"}).json()
        assert found["estimate"] is None
        assert {phase["image_passes"] for phase in found["plan"]} == {None}


class TestGet:
    def test_unchanged_job_is_not_sent_again(self, api: Api, spec: dict[str, Any]) -> None:
        path = submit(api, spec)["links"]["self"]
        etag = api.get(path).headers["etag"]
        for known in (etag, f"W/{etag}", f'"99", {etag}'):
            response = api.get(path, headers={"If-None-Match": known})
            assert (response.status_code, response.content) == (304, b"")
        api.post(f"{path}:pause")
        assert api.get(path, headers={"If-None-Match": etag}).status_code == 200

    def test_waits_for_a_change(self, api: Api, spec: dict[str, Any]) -> None:
        path = submit(api, spec)["links"]["self"]
        pausing = threading.Timer(0.3, lambda: api.post(f"{path}:pause"))
        pausing.start()
        started = time.perf_counter()
        response = api.get(f"{path}?wait=20&version=1")
        pausing.join()
        assert response.json()["status"] == "paused"
        assert 0.2 < time.perf_counter() - started < 10

    def test_waiting_ends(self, api: Api, spec: dict[str, Any]) -> None:
        path = submit(api, spec)["links"]["self"]
        response = api.get(f"{path}?wait=0.2&version=1")
        assert (response.status_code, response.json()["version"]) == (200, 1)

    def test_does_not_wait_for_what_is_there(self, api: Api, spec: dict[str, Any]) -> None:
        path = submit(api, spec)["links"]["self"]
        started = time.perf_counter()
        api.get(f"{path}?wait=20&version=0")
        assert time.perf_counter() - started < 3

    def test_running_job(self, api: Api, spec: dict[str, Any]) -> None:
        job = submit(api, spec)
        force(api, job["id"], status="running", owner="wrk_1", phase="distilling", step=4, phase_done=4, phase_total=10)
        force(api, job["id"], steps_per_s=2.0)
        found = api.get(job["links"]["self"]).json()
        assert found["progress"]["fraction"] == 0.4
        assert found["progress"]["eta_s"] == 3.0
        assert found["actions"] == ["cancel", "pause", "clone"]
        assert {c["type"]: c["status"] for c in found["conditions"]}["LeaseHeld"] is True

    def test_last_metrics(self, api: Api, spec: dict[str, Any]) -> None:
        from app.metrics import repository as metrics

        job = submit(api, spec)
        with api.database.write() as session:
            readings = [(10, 1, "loss", 2.0), (20, 2, "loss", 1.5), (20, 2, "cmi", float("nan")), (20, 2, "other", 9.0)]
            metrics.ingest(session, job["id"], "default", readings)
        found = api.get(job["links"]["self"]).json()["last_metrics"]
        assert found == {"loss": 1.5, "mi_lower_bound": None, "cmi": None, "at_step": 20}

    @pytest.mark.parametrize(
        "job_id", ["job_x", "JOB_01m7wewc2pfn6v37mwaesxmpy7", "..%2f..%2fetc", "job_01m7wewc2pfn6v37mwaesxmpy7"]
    )
    def test_unknown(self, api: Api, job_id: str) -> None:
        response = api.get(f"/v1/jobs/{job_id}")
        assert (response.status_code, response.json()["code"]) == (404, "not_found")


class TestList:
    def test_newest_first_in_pages(self, api: Api, spec: dict[str, Any]) -> None:
        ids = [submit(api, spec)["id"] for _ in range(7)]
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
        ids = [submit(api, spec)["id"] for _ in range(4)]
        first = api.get("/v1/jobs?limit=2").json()
        submit(api, spec)
        second = api.get("/v1/jobs", params={"limit": 2, "cursor": first["next_cursor"]}).json()
        assert [job["id"] for job in first["data"] + second["data"]] == ids[::-1]
        assert second["next_cursor"] is None

    def test_same_millisecond_is_ordered_by_id(self, api: Api, spec: dict[str, Any]) -> None:
        ids = [submit(api, spec)["id"] for _ in range(5)]
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
        ids = [submit(api, spec)["id"] for _ in range(3)]
        first = api.get("/v1/jobs?order=created_asc&limit=2").json()
        rest = api.get("/v1/jobs", params={"order": "created_asc", "limit": 2, "cursor": first["next_cursor"]}).json()
        assert [job["id"] for job in first["data"] + rest["data"]] == ids

    def test_filters(self, api: Api, spec: dict[str, Any]) -> None:
        one = submit(api, spec, labels={"team": "a", "run": "1"})
        two = submit(api, {**spec, "method": "random"}, labels={"team": "b"})
        three = submit(api, {**spec, "dataset": "mnist"})
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
        job = submit(api, spec, labels={"note": 'it\'s "100%" :ok'})
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
            submit(api, spec)
        cursor = api.get("/v1/jobs?limit=1").json()["next_cursor"]
        for asked in (
            api.get("/v1/jobs", params={"cursor": cursor, "status": "queued"}),
            api.get("/v1/jobs", params={"cursor": cursor, "order": "created_asc"}),
            rival.get("/v1/jobs", params={"cursor": cursor}),
        ):
            assert (asked.status_code, asked.json()["code"]) == (400, "invalid_cursor")

    def test_uses_the_index(self, api: Api, backend: str, spec: dict[str, Any]) -> None:
        if backend != "sqlite":
            pytest.skip("the planner of PostgreSQL scans small tables whatever their indexes")
        with api.database.read() as session:
            plan = (
                session.connection()
                .exec_driver_sql(
                    "EXPLAIN QUERY PLAN SELECT * FROM jobs WHERE tenant_id = 'default' AND deleted_at IS NULL "
                    "AND (created_at, id) < (5, 'x') ORDER BY created_at DESC, id DESC LIMIT 20"
                )
                .all()
            )
        text = " ".join(str(row) for row in plan)
        assert "ix_jobs_listing" in text
        assert "TEMP B-TREE" not in text


class TestVerbs:
    @pytest.mark.parametrize("state", list(State))
    @pytest.mark.parametrize("verb", ["cancel", "pause", "resume", "retry"])
    def test_every_verb_in_every_state(self, api: Api, spec: dict[str, Any], state: State, verb: str) -> None:
        """Either the job goes where the table says, or nothing changes and the answer lists what is possible."""
        job = submit(api, spec)
        force(api, job["id"], status=state)
        events = count(api, Event)
        response = api.post(f"/v1/jobs/{job['id']}:{verb}")
        after = api.get(job["links"]["self"]).json()
        if verb in actions(state):
            assert response.status_code in (200, 202)
            assert response.json() == after
            assert after["status"] != state
            assert after["version"] == 2
            assert count(api, Event) == events + 1
        elif verb == "cancel" and state in (State.CANCELLING, State.CANCELLED):
            assert response.status_code == (200 if state is State.CANCELLED else 202)
            assert after["version"] == 1
        else:
            assert (response.status_code, response.json()["code"]) == (409, "illegal_transition")
            assert response.json()["allowed"] == actions(state) == after["actions"]
            assert (after["status"], after["version"], count(api, Event)) == (state, 1, events)

    def test_running_job_is_asked_to_stop(self, api: Api, spec: dict[str, Any]) -> None:
        job = submit(api, spec)
        force(api, job["id"], status="running", owner="wrk_1")
        response = api.post(f"/v1/jobs/{job['id']}:cancel", json={"keep_result": True, "reason": "enough"})
        assert (response.status_code, response.json()["status"]) == (202, "cancelling")
        assert response.json()["desired"] == "cancel"
        with api.database.read() as session:
            assert session.scalars(select(Job.keep_result)).one() is True
            last = session.scalars(select(Event).order_by(Event.seq.desc()).limit(1)).one()
        assert last.data["reason"] == "enough"

    def test_pause_and_resume_ring_again(self, api: Api, spec: dict[str, Any], rung: list[float]) -> None:
        job = submit(api, spec)
        api.post(f"/v1/jobs/{job['id']}:pause")
        assert len(rung) == 1
        api.post(f"/v1/jobs/{job['id']}:resume")
        assert len(rung) == 2
        assert count(api, Outbox) == 2

    def test_resume_before_the_worker_acted_rings_nobody(
        self, api: Api, spec: dict[str, Any], rung: list[float]
    ) -> None:
        job = submit(api, spec)
        force(api, job["id"], status="pausing", owner="wrk_1", desired="pause")
        response = api.post(f"/v1/jobs/{job['id']}:resume")
        assert (response.json()["status"], response.json()["desired"]) == ("running", "run")
        assert len(rung) == 1

    def test_retry_renews_the_budget(self, api: Api, spec: dict[str, Any]) -> None:
        job = submit(api, spec)
        error = {"code": "diverged", "message": "loss is NaN", "param": None, "retryable": False, "attempt": 3}
        force(api, job["id"], status="failed", failures=3, error=error)
        assert api.get(job["links"]["self"]).json()["error"] == error
        retried = api.post(f"/v1/jobs/{job['id']}:retry", json={"from_scratch": True}).json()
        assert (retried["status"], retried["error"], retried["id"]) == ("queued", None, job["id"])
        with api.database.read() as session:
            found = session.scalars(select(Job)).one()
        assert (found.failures, found.from_scratch) == (0, True)

    @pytest.mark.parametrize("body", [{"keep": True}, {"keep_result": "maybe"}, {"reason": "x" * 501}])
    def test_faulty_body_is_refused(self, api: Api, spec: dict[str, Any], body: dict[str, Any]) -> None:
        job = submit(api, spec)
        assert api.post(f"/v1/jobs/{job['id']}:cancel", json=body).status_code == 422
        assert api.get(job["links"]["self"]).json()["status"] == "queued"

    def test_cancel_and_finish_at_once_end_in_one_state(self, api: Api, spec: dict[str, Any]) -> None:
        from app.jobs.states import Actor, transition

        for _ in range(10):
            job = submit(api, spec)
            force(api, job["id"], status="running", owner="wrk_1", fence=1)
            start = threading.Barrier(2)
            won: list[bool] = []

            def finish(job_id: str = job["id"], start: threading.Barrier = start, won: list[bool] = won) -> None:
                start.wait()
                with api.database.write() as session:
                    won.append(transition(session, job_id, State.SUCCEEDED, Actor.WORKER, fence=1))

            worker = threading.Thread(target=finish)
            worker.start()
            start.wait()
            response = api.post(f"/v1/jobs/{job['id']}:cancel")
            worker.join()
            assert won == [True], "a worker that finishes first, or while it is being cancelled, has succeeded"
            assert response.status_code in (202, 409)
            assert api.get(job["links"]["self"]).json()["status"] == "succeeded"


class TestClone:
    def test_copies_with_changes(self, api: Api, spec: dict[str, Any]) -> None:
        job = submit(api, spec, labels={"team": "a"}, name="one")
        overrides = {"ipc": 5, "name": None, "method": {"iterations": 20}, "labels": {"team": None, "run": "2"}}
        response = api.post(f"/v1/jobs/{job['id']}:clone", json={"overrides": overrides})
        assert response.status_code == 201
        copy = response.json()
        assert copy["id"] != job["id"]
        assert response.headers["location"] == copy["links"]["self"]
        assert (copy["parent_id"], copy["name"], copy["labels"]) == (job["id"], None, {"run": "2"})
        assert (copy["spec"]["ipc"], copy["progress"]["total_steps"]) == (5, 20)

    def test_plain_copy_is_the_same_specification(self, api: Api) -> None:
        job = submit(api, {"preset": "quick/dm-mim-cmi-digits"})
        assert api.post(f"/v1/jobs/{job['id']}:clone").json()["spec"] == job["spec"]

    def test_faulty_change_is_refused(self, api: Api, spec: dict[str, Any]) -> None:
        job = submit(api, spec)
        assert codes(api.post(f"/v1/jobs/{job['id']}:clone", json={"overrides": {"ipc": 0}})) == {
            "/ipc": "greater_than_equal"
        }

    def test_is_idempotent_with_a_key(self, api: Api, spec: dict[str, Any]) -> None:
        job = submit(api, spec)
        headers = {"Idempotency-Key": "k"}
        first = api.post(f"/v1/jobs/{job['id']}:clone", headers=headers)
        again = api.post(f"/v1/jobs/{job['id']}:clone", headers=headers)
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.content == again.content


class TestAmend:
    def test_changes_name_labels_and_priority(self, api: Api, spec: dict[str, Any]) -> None:
        job = submit(api, spec, name="old", labels={"a": "1"})
        changed = api.patch(job["links"]["self"], json={"name": "new", "labels": {"b": "2"}, "priority": 9})
        assert changed.status_code == 200
        assert changed.headers["etag"] == '"2"'
        found = changed.json()
        assert (found["name"], found["labels"], found["priority"]) == ("new", {"b": "2"}, 9)

    def test_what_is_left_out_stays(self, api: Api, spec: dict[str, Any]) -> None:
        job = submit(api, spec, name="old", priority=3)
        assert api.patch(job["links"]["self"], json={"name": None}).json()["name"] is None
        assert api.get(job["links"]["self"]).json()["priority"] == 3

    def test_nothing_to_change_keeps_the_version(self, api: Api, spec: dict[str, Any]) -> None:
        job = submit(api, spec)
        assert api.patch(job["links"]["self"], json={}).json()["version"] == 1

    def test_precondition(self, api: Api, spec: dict[str, Any]) -> None:
        path = submit(api, spec)["links"]["self"]
        etag = api.get(path).headers["etag"]
        assert api.patch(path, json={"name": "a"}, headers={"If-Match": etag}).status_code == 200
        late = api.patch(path, json={"name": "b"}, headers={"If-Match": etag})
        assert (late.status_code, late.json()["code"]) == (412, "precondition_failed")
        assert api.patch(path, json={"name": "c"}, headers={"If-Match": "*"}).status_code == 200
        assert api.patch(path, json={"name": "d"}, headers={"If-Match": "abc"}).status_code == 400

    @pytest.mark.parametrize("body", [{"spec": {}}, {"status": "succeeded"}, {"priority": 10}, {"labels": None}])
    def test_nothing_else_can_be_changed(self, api: Api, spec: dict[str, Any], body: dict[str, Any]) -> None:
        path = submit(api, spec)["links"]["self"]
        assert api.patch(path, json=body).status_code == 422
        assert api.get(path).json()["version"] == 1


class TestDelete:
    def test_hides_the_job_and_its_files(self, api: Api, spec: dict[str, Any]) -> None:
        from app.artifacts.models import Artifact

        job = submit(api, spec)
        with api.database.write() as session:
            session.add(
                Artifact(
                    id="art_1",
                    tenant_id="default",
                    job_id=job["id"],
                    attempt=1,
                    fence=1,
                    kind="preview",
                    name="preview.png",
                    media_type="image/png",
                    state="ready",
                )
            )
        force(api, job["id"], status="succeeded")
        assert api.delete(job["links"]["self"]).status_code == 204
        assert api.get(job["links"]["self"]).status_code == 404
        assert api.get("/v1/jobs").json()["data"] == []
        assert api.delete(job["links"]["self"]).status_code == 404
        with api.database.read() as session:
            assert session.scalars(select(Artifact.state)).one() == "deleted"

    @pytest.mark.parametrize("state", ["queued", "running", "pausing", "paused", "cancelling"])
    def test_not_before_it_has_ended(self, api: Api, spec: dict[str, Any], state: str) -> None:
        job = submit(api, spec)
        force(api, job["id"], status=state)
        response = api.delete(job["links"]["self"])
        assert (response.status_code, response.json()["code"]) == (409, "illegal_transition")
        assert "delete" not in response.json()["allowed"]
