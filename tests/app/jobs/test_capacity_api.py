"""Jobs that are too long, or too large for every worker that is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from app.core.ids import new_id
from app.jobs import capacity
from app.models.fleet import Worker
from app.models.jobs import Job
from ddcore.spec import Problem

if TYPE_CHECKING:
    from tests.app.conftest import Api

LARGE = {"dataset": "cifar10", "ipc": 50, "method": {"name": "dm", "iterations": 10_000}, "evaluation": {"repeats": 0}}


@pytest.fixture
def hire(api: Api) -> Callable[..., None]:
    """Announces an idle worker."""

    def act(device_class: str = "cpu", **facts: Any) -> None:
        with api.database.write() as session:
            session.add(
                Worker(
                    id=new_id("wrk"), name="w", host="h", pid=1, device_class=device_class, facts=facts, state="idle"
                )
            )

    return act


def faults(response: Any) -> dict[str, str]:
    assert response.status_code == 422, response.text
    return {fault["code"]: fault["detail"] for fault in response.json()["errors"]}


def limited(seconds: float, **fields: Any) -> dict[str, Any]:
    return {**LARGE, "limits": {"max_runtime_s": seconds, **fields}}


def test_without_a_worker_it_is_accepted_with_a_warning(api: Api) -> None:
    found = api.post("/v1/jobs:validate", json=limited(1)).json()
    assert any("no worker for `device` 'auto' is alive" in text for text in found["warnings"])
    assert api.post("/v1/jobs", json=limited(1)).status_code == 201


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs:validate"])
def test_too_long_is_refused_with_changes_that_fit(api: Api, hire: Callable[..., None], path: str) -> None:
    """The proposed change is accepted as it stands, without a warning; one more step of it is over the likely time."""
    hire()
    detail = faults(api.post(path, json=limited(60)))["runtime_over_limit"]
    assert "`limits.max_runtime_s` is 60" in detail
    assert api.count(Job) == 0
    steps = int(detail.split("`method.iterations` of at most ")[1].split()[0].rstrip(";").replace(",", ""))

    def likely(iterations: int) -> float:
        job = {**limited(60), "method": {"name": "dm", "iterations": iterations}}
        answer = api.post("/v1/jobs:validate", json=job)
        assert answer.status_code == 200, answer.text
        return float(answer.json()["estimate"]["seconds"]["cpu"]["expected"])

    assert likely(steps) <= 60 < likely(steps + 1)


def test_ten_million_iterations_are_more_than_the_service_runs_anything(api: Api, hire: Callable[..., None]) -> None:
    """Without a limit of its own, a job has the largest one of the service."""
    hire()
    job = {**LARGE, "method": {"name": "bptt", "iterations": 10**7}}
    assert f"is {api.settings.max_runtime_s:g}" in faults(api.post("/v1/jobs", json=job))["runtime_over_limit"]
    assert api.count(Job) == 0


def test_the_user_may_overrule_it(api: Api, hire: Callable[..., None]) -> None:
    hire()
    assert "limits.ignore_estimate" in faults(api.post("/v1/jobs", json=limited(60)))["runtime_over_limit"]
    assert api.post("/v1/jobs", json=limited(60, ignore_estimate=True)).status_code == 201


def test_one_fitting_kind_of_worker_is_enough(api: Api, hire: Callable[..., None]) -> None:
    hire("cpu")
    hire("cuda")
    assert api.post("/v1/jobs", json=limited(2000)).status_code == 201
    assert "runtime_over_limit" in faults(api.post("/v1/jobs", json={**limited(2000), "device": "cpu"}))


def test_too_large_is_refused_by_the_memory_that_workers_report(api: Api, hire: Callable[..., None]) -> None:
    hire(memory_bytes=100_000_000)
    detail = faults(api.post("/v1/jobs", json=LARGE))["memory_over_limit"]
    assert "has 100 MB" in detail
    hire(memory_bytes=1_400_000_000)
    found = api.post("/v1/jobs:validate", json=LARGE).json()
    assert any("it may run out of memory" in text for text in found["warnings"])
    hire(memory_bytes=64_000_000_000)
    found = api.post("/v1/jobs:validate", json=LARGE).json()
    assert not any("memory" in text for text in found["warnings"])


def test_a_worker_that_does_not_say_its_memory_may_have_enough(api: Api, hire: Callable[..., None]) -> None:
    hire(memory_bytes=100_000_000)
    hire()
    assert api.post("/v1/jobs", json=LARGE).status_code == 201


def test_the_estimate_says_which_devices_there_are(api: Api, hire: Callable[..., None]) -> None:
    def available() -> list[str]:
        found = api.post("/v1/jobs:validate", json=LARGE).json()["estimate"]
        assert list(found["seconds"]) == ["cpu", "cuda"]
        return list(found["available"])

    assert available() == []
    hire("cpu")
    assert available() == ["cpu"]
    hire("cuda")
    assert available() == ["cpu", "cuda"]


@pytest.mark.parametrize("path", ["/v1/jobs", "CLONE"])
def test_what_fits_is_searched_while_others_write(
    api: Api, add_job: Callable[..., str], monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    job = add_job()

    def elsewhere(*_: object) -> list[Problem]:
        with api.database.write() as session:
            session.execute(update(Job).where(Job.id == job).values(name="written meanwhile"))
        return []

    monkeypatch.setattr(capacity, "refusals", elsewhere)
    body = {"overrides": {"seed": 2}} if path == "CLONE" else LARGE
    made = api.post(f"/v1/jobs/{job}:clone" if path == "CLONE" else path, json=body)
    assert made.status_code == 201
    assert made.json()["parent_id"] == (job if path == "CLONE" else None)
    assert api.get(f"/v1/jobs/{job}").json()["name"] == "written meanwhile"


def test_a_repeated_submission_is_not_judged_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    first = api.post("/v1/jobs", json=LARGE, headers={"Idempotency-Key": "k"})
    monkeypatch.setattr(capacity, "refusals", lambda *_: [Problem("", "runtime_over_limit", "too long by now")])
    again = api.post("/v1/jobs", json=LARGE, headers={"Idempotency-Key": "k"})
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    assert "runtime_over_limit" in faults(api.post("/v1/jobs", json=LARGE, headers={"Idempotency-Key": "other"}))
    other = api.post("/v1/jobs", json={**LARGE, "seed": 9}, headers={"Idempotency-Key": "k"})
    assert other.json()["code"] == "idempotency_mismatch"
