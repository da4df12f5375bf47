"""How much work studies count for, on both databases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from app.jobs.quota import hours
from app.models.jobs import Job
from app.models.states import StudyState
from app.models.studies import Study
from tests.app.jobs.test_quota_api import bind, left, refused
from tests.app.studies.playing import play
from tests.app.studies.test_studies_api import make

if TYPE_CHECKING:
    from tests.app.conftest import Api

BACKENDS = ("sqlite", "postgres")
LARGE: dict[str, Any] = {
    "base": {"dataset": "cifar10", "method": {"name": "dm", "iterations": 9000}},
    "space": {"ipc": [1, 2, 3], "method.lr_img": {"from": 0.5, "to": 1.5, "count": 2}},
    "budget": {"jobs": 6},
}
"""Hours on any CPU."""


@pytest.fixture
def whole(api: Api) -> float:
    """Seconds that the large study should take."""
    return float(api.post("/v1/studies:validate", json=LARGE).json()["minutes"]) * 60


def forced(api: Api, study_id: str, **values: Any) -> None:
    with api.database.write() as session:
        session.execute(update(Study).where(Study.id == study_id).values(**values))


def test_a_study_counts_what_it_says_that_it_takes(api: Api, whole: float) -> None:
    study = make(api, LARGE)
    assert left(api) == pytest.approx(whole)
    whole_jobs = sum(trial["minutes"] for trial in api.post("/v1/studies:validate", json=LARGE).json()["trials"]) * 60
    assert left(api) < whole_jobs
    make(api, {**LARGE, "seeds": [1]})
    assert left(api) == pytest.approx(2 * whole)
    api.post(f"/v1/studies/{study['id']}:cancel")
    assert left(api) == pytest.approx(whole)


@pytest.mark.parametrize("path", ["/v1/studies", "/v1/studies:validate"])
def test_one_that_is_too_much_is_refused_with_the_numbers(api: Api, whole: float, path: str) -> None:
    make(api, LARGE)
    bind(api, 1.5 * whole)
    detail = refused(api.post(path, json=LARGE))
    assert f"this study should take {hours(whole)}, your unfinished jobs still need {hours(whole)}" in detail
    assert f"may need {1.5 * whole / 3600:g} h (`max_work_hours`); try fewer points" in detail
    assert (api.count(Study), api.count(Job)) == (1, 6)


def test_it_counts_at_most_the_minutes_of_its_budget(api: Api, whole: float) -> None:
    minutes = whole / 600
    bind(api, whole / 5)
    make(api, LARGE, budget={"jobs": 6, "minutes": minutes})
    assert left(api) == pytest.approx(minutes * 60)


def test_one_of_unknown_size_counts_all_that_its_jobs_may_run(api: Api, study: dict[str, Any]) -> None:
    (api.settings.data_root / "my_birds").mkdir(parents=True)
    study["base"] |= {"dataset": "my_birds", "limits": {"max_runtime_s": 600}}
    bind(api, 3000)
    assert "(`base.limits.max_runtime_s` of its jobs)" in refused(api.post("/v1/studies", json=study))
    bind(api, 3600)
    make(api, study)
    assert left(api) == 3600


def test_the_time_that_its_jobs_run_counts_off(api: Api, whole: float) -> None:
    study = make(api, LARGE)
    first, second = (study["trials"][i]["jobs"][0] for i in range(2))
    api.force(first, runtime_s=whole / 4, status="paused")
    assert left(api) == pytest.approx(0.75 * whole)
    api.force(second, runtime_s=whole)
    assert left(api) == 0


def test_one_that_was_never_estimated_counts_what_its_jobs_may_run(api: Api) -> None:
    study = make(api, LARGE)
    forced(api, study["id"], expected_s=None)
    for trial in study["trials"]:
        api.force(trial["jobs"][0], max_runtime_s=100)
    api.force(study["trials"][0]["jobs"][0], status="cancelled")
    assert left(api) == 500


@pytest.mark.parametrize(("status", "counts"), [("paused", True), ("pausing", True), ("cancelling", False)])
def test_what_is_paused_counts_and_what_ends_does_not(api: Api, whole: float, status: str, counts: bool) -> None:
    forced(api, make(api, LARGE)["id"], status=StudyState(status))
    assert left(api) == pytest.approx(whole if counts else 0)


def test_it_goes_on_to_its_end_whatever_the_bound_is_then(api: Api, study: dict[str, Any]) -> None:
    made = make(api, study)["id"]
    bind(api, 1e-3)
    assert api.post(f"/v1/studies/{made}:pause").status_code == 202
    assert api.post(f"/v1/studies/{made}:resume").status_code == 202
    play(api, made)
    assert api.get(f"/v1/studies/{made}").json()["status"] == "succeeded"
    assert left(api) == 0


def test_a_study_and_jobs_count_together(api: Api, whole: float) -> None:
    make(api, LARGE)
    job = {"dataset": "cifar10", "ipc": 1, "method": {"name": "dm", "iterations": 9000}}
    alone = float(api.post("/v1/jobs:validate", json=job).json()["estimate"]["seconds"]["cpu"]["expected"])
    bind(api, whole + alone / 2)
    assert f"still need {hours(whole)}" in refused(api.post("/v1/jobs", json=job))
    bind(api, whole + alone * 1.01)
    api.submit(job)
    assert left(api) == pytest.approx(whole + alone)
