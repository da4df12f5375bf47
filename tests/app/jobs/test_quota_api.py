"""The bound on the work that a tenant has unfinished, over HTTP and on both databases."""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from app.core.errors import QuotaExceeded
from app.core.ids import new_id
from app.core.security import Principal, Scope
from app.jobs.admission import Admission
from app.jobs.quota import hours
from app.jobs.reading import SubmissionReader
from app.jobs.submitting import Submitter
from app.models.fleet import Worker
from app.models.jobs import Job
from app.models.states import Kind
from tests.app.jobs.test_extend_api import finish

if TYPE_CHECKING:
    from tests.app.conftest import Api

BACKENDS = ("sqlite", "postgres")
LARGE: dict[str, Any] = {
    "dataset": "cifar10", "ipc": 50, "method": {"name": "dm", "iterations": 10_000}, "evaluation": {"repeats": 0},
}  # fmt: skip
"""Some hours on any CPU."""


@pytest.fixture
def each(api: Api) -> float:
    """Seconds that the large job should take."""
    return expected(api, LARGE)


def expected(api: Api, job: dict[str, Any], device: str = "cpu") -> float:
    found = api.post("/v1/jobs:validate", json=job).json()["estimate"]["seconds"]
    return float(found[device]["expected"])


def bind(api: Api, seconds: float | None) -> None:
    """Bound the work of the tenant."""
    changed = api.patch("/v1/tenants/default", json={"max_work_hours": None if seconds is None else seconds / 3600})
    assert changed.status_code == 200, changed.text


def left(api: Api) -> float:
    """Seconds of work that the service says are unfinished."""
    return float(api.get("/v1/usage").json()["work_hours"]["used"]) * 3600


def refused(answer: Any) -> str:
    assert (answer.status_code, answer.json()["code"]) == (429, "quota_exceeded"), answer.text
    assert int(answer.headers["Retry-After"]) > 0
    return str(answer.json()["detail"])


def test_without_a_bound_nothing_is_refused_and_all_is_counted(api: Api, each: float) -> None:
    for _ in range(3):
        api.submit(LARGE)
    assert left(api) == pytest.approx(3 * each)
    assert api.get("/v1/usage").json()["work_hours"]["limit"] is None


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs:validate"])
def test_more_work_is_refused_with_the_numbers_and_the_steps_that_fit(api: Api, each: float, path: str) -> None:
    """The proposed steps are accepted as they stand; one more is refused."""
    api.submit(LARGE)
    bind(api, 1.5 * each)
    detail = refused(api.post(path, json=LARGE))
    assert f"this job should take {hours(each)}, your unfinished jobs still need {hours(each)}" in detail
    assert f"together they may need {1.5 * each / 3600:g} h (`max_work_hours`)" in detail
    assert detail.endswith("; otherwise wait for some to end, cancel some or ask the operator for more")
    found = re.search(r"`method\.iterations` of at most ([\d,]+)", detail)
    assert found is not None, detail
    steps = int(found[1].replace(",", ""))
    more = {**LARGE, "method": {"name": "dm", "iterations": steps + 1}}
    refused(api.post("/v1/jobs:validate", json=more))
    assert api.count(Job) == 1
    api.submit({**LARGE, "method": {"name": "dm", "iterations": steps}})


def test_what_no_waiting_makes_room_for_is_told_so(api: Api, each: float) -> None:
    bind(api, each / 2)
    detail = refused(api.post("/v1/jobs", json=LARGE))
    assert "your unfinished jobs still need 0 h" in detail
    assert "wait" not in detail
    assert detail.endswith("; otherwise ask the operator for more")


def test_the_bound_of_the_service_holds_where_a_tenant_has_none(
    api: Api, each: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.state, "settings", api.settings.model_copy(update={"max_work_hours": each / 7200}))
    refused(api.post("/v1/jobs", json=LARGE))
    assert api.get("/v1/usage").json()["work_hours"]["limit"] == each / 7200
    bind(api, 2 * each)
    api.submit(LARGE)
    bind(api, None)
    refused(api.post("/v1/jobs:validate", json=LARGE))


@pytest.mark.parametrize("value", [0, -1, "many", 1e9])
def test_a_bound_that_is_none_is_refused(api: Api, value: object) -> None:
    answer = api.patch("/v1/tenants/default", json={"max_work_hours": value})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/max_work_hours")


def test_an_estimate_that_is_ignored_counts_all_the_same(api: Api, each: float) -> None:
    bind(api, each / 2)
    refused(api.post("/v1/jobs", json={**LARGE, "limits": {"ignore_estimate": True}}))


def test_a_job_counts_no_more_than_it_may_run(api: Api, each: float) -> None:
    bind(api, each / 2)
    api.submit(LARGE, limits={"max_runtime_s": int(each / 2), "ignore_estimate": True})
    assert left(api) == pytest.approx(int(each / 2))


def test_the_fastest_device_of_a_live_worker_is_expected(api: Api) -> None:
    with api.database.write() as session:
        session.add(Worker(id=new_id("wrk"), name="w", host="h", pid=1, device_class="cuda", facts={}, state="idle"))
    api.submit(LARGE)
    assert left(api) == pytest.approx(expected(api, LARGE, "cuda"))


def test_a_job_of_unknown_size_counts_its_longest_running_time(api: Api) -> None:
    (api.settings.data_root / "my_birds").mkdir(parents=True)
    bind(api, 7200)
    job = {"dataset": "my_birds", "ipc": 1, "method": "dm"}
    detail = refused(api.post("/v1/jobs", json=job))
    assert f"{hours(api.settings.max_runtime_s)} (`limits.max_runtime_s`, since the size" in detail
    assert "set a smaller `limits.max_runtime_s`" in detail
    api.submit(job, limits={"max_runtime_s": 7000})
    assert left(api) == 7000


class TestWhatIsLeft:
    def test_the_time_run_counts_off_and_never_below_nothing(self, api: Api, each: float) -> None:
        begun, over = api.submit(LARGE)["id"], api.submit(LARGE)["id"]
        ago = datetime.now(UTC) - timedelta(seconds=each / 4)
        api.force(begun, status="running", runtime_s=each / 4, claimed_at=ago)
        assert left(api) == pytest.approx(1.5 * each, abs=30)
        api.force(over, status="running", runtime_s=10 * each)
        assert left(api) == pytest.approx(0.5 * each, abs=30)

    def test_an_attempt_that_is_over_is_not_counted_twice(self, api: Api, each: float) -> None:
        job = api.submit(LARGE)["id"]
        api.force(job, runtime_s=each / 4, claimed_at=datetime.now(UTC) - timedelta(seconds=each))
        assert left(api) == pytest.approx(0.75 * each)

    @pytest.mark.parametrize(
        ("status", "counts"),
        [("paused", True), ("pausing", True), ("cancelling", False), ("cancelled", False), ("failed", False)],
    )
    def test_what_is_paused_counts_and_what_ends_does_not(
        self, api: Api, each: float, status: str, counts: bool
    ) -> None:
        api.force(api.submit(LARGE)["id"], status=status)
        assert left(api) == pytest.approx(each if counts else 0)

    def test_cancelling_makes_room(self, api: Api, each: float) -> None:
        job = api.submit(LARGE)
        bind(api, 1.5 * each)
        refused(api.post("/v1/jobs", json=LARGE))
        api.post(f"/v1/jobs/{job['id']}:cancel")
        api.submit(LARGE)

    def test_a_job_that_was_never_estimated_counts_its_longest_running_time(self, api: Api) -> None:
        api.force(api.submit(LARGE, limits={"max_runtime_s": 9000, "ignore_estimate": True})["id"], expected_s=None)
        assert left(api) == 9000

    def test_taking_a_set_in_counts_nothing(self, api: Api) -> None:
        api.force(api.submit(LARGE)["id"], kind=Kind.INGEST, expected_s=None)
        assert left(api) == 0

    def test_that_of_others_does_not_count(self, api: Api, rival: Api, each: float) -> None:
        rival.submit(LARGE)
        assert left(api) == 0
        assert left(rival) == pytest.approx(each)
        assert api.get("/v1/tenants/rival/usage").json()["work_hours"]["used"] == pytest.approx(each / 3600)


class TestVerbs:
    def test_copies_are_counted(self, api: Api, each: float) -> None:
        done = finish(api, api.submit(LARGE), 10_000)
        bind(api, each / 2)
        refused(api.post(f"/v1/jobs/{done}:clone"))
        refused(api.post(f"/v1/jobs/{done}:rerun"))
        assert api.count(Job) == 1
        bind(api, 2.5 * each)
        for verb in ("clone", "rerun"):
            assert api.post(f"/v1/jobs/{done}:{verb}").status_code == 201
        assert left(api) == pytest.approx(2 * each)

    def test_an_extension_counts_its_own_steps_alone(self, api: Api, each: float) -> None:
        done = finish(api, api.submit(LARGE), 10_000)
        few, many = (expected(api, {**LARGE, "method": {"name": "dm", "iterations": n}}) for n in (1000, 5000))
        bind(api, each / 4)
        assert hours(many) in refused(api.post(f"/v1/jobs/{done}:extend", json={"iterations": 5000}))
        assert api.post(f"/v1/jobs/{done}:extend", json={"iterations": 1000}).status_code == 201
        assert left(api) == pytest.approx(few)

    def test_a_retried_job_counts_again(self, api: Api, each: float) -> None:
        job, other = api.submit(LARGE)["id"], api.submit(LARGE)["id"]
        api.force(job, status="failed", runtime_s=each)
        bind(api, 1.5 * each)
        detail = refused(api.post(f"/v1/jobs/{job}:retry"))
        assert "clone it with fewer steps" in detail
        assert api.get(f"/v1/jobs/{job}").json()["status"] == "failed"
        api.post(f"/v1/jobs/{other}:cancel")
        assert api.post(f"/v1/jobs/{job}:retry").status_code == 202
        assert left(api) == pytest.approx(each)

    def test_a_job_that_cannot_be_retried_is_told_that(self, api: Api, each: float) -> None:
        job = api.submit(LARGE)["id"]
        bind(api, each / 2)
        assert api.post(f"/v1/jobs/{job}:retry").json()["code"] == "illegal_transition"

    def test_a_paused_job_goes_on_whatever_the_bound_is_now(self, api: Api, each: float) -> None:
        job = api.submit(LARGE)["id"]
        api.post(f"/v1/jobs/{job}:pause")
        bind(api, each / 2)
        assert api.post(f"/v1/jobs/{job}:resume").status_code == 202


class TestAtOnce:
    def test_what_fitted_a_moment_ago_is_counted_again(self, api: Api, each: float) -> None:
        bind(api, 1.5 * each)
        principal = Principal("default", None, frozenset(Scope))
        with api.database.read() as session:
            reader = SubmissionReader(session, principal, api.settings)
            admission = Admission(session, principal, api.settings)
            first, second = (admission.admit(reader.read(LARGE)) for _ in range(2))
        with api.database.write() as session:
            Submitter(session, principal, api.settings).submit(first)
        with api.database.write() as session, pytest.raises(QuotaExceeded, match="make it smaller"):
            Submitter(session, principal, api.settings).submit(second)
        assert api.count(Job) == 1

    def test_of_two_one_is_accepted(self, api: Api, each: float) -> None:
        bind(api, 1.5 * each)
        start, statuses = threading.Barrier(2), []

        def send() -> None:
            start.wait()
            statuses.append(api.post("/v1/jobs", json=LARGE).status_code)

        threads = [threading.Thread(target=send) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [201, 429]
        assert left(api) == pytest.approx(each)
