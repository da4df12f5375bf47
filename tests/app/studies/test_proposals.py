"""Trials that Optuna proposes: what it learns from, that nothing decides but the rows, and what is refused."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from app.models.jobs import Job
from app.models.keys import Tenant
from app.models.studies import Study
from app.studies import proposals
from app.studies.progress import advance
from app.studies.proposals import BATCH, Tried, proposed
from app.studies.schemas import Range
from app.studies.space import Space
from tests.app.studies.playing import play, queued, run

if TYPE_CHECKING:
    from tests.app.conftest import Api

POINTS = 8
FIRST = proposals.drawn(POINTS)
SPACE: dict[str, Any] = {
    "method.lr_img": {"from": 0.1, "to": 10, "count": 60, "scale": "log"},
    "method.batch_real": [16, 32, 64],
    "augmentation": ["none", "color_crop"],
}


@pytest.fixture
def searching(study: dict[str, Any]) -> dict[str, Any]:
    """A study that tries eight points of 360."""
    study["base"]["ipc"] = 1
    return study | {"space": SPACE, "sampler": "tpe", "budget": {"jobs": POINTS}, "seed": 3}


def space() -> Space:
    return Space({path: Range.model_validate(v) if isinstance(v, dict) else v for path, v in SPACE.items()})


def quality(values: dict[str, Any]) -> float:
    """An accuracy with one hill, at a rate of 1."""
    rate, batch = float(values["method.lr_img"]), float(values["method.batch_real"])
    return 80 - 20 * abs(rate - 1) / (rate + 1) - batch / 64


def of_job(job: Job, _step: int) -> float:
    method = job.spec["method"]
    return quality({"method.lr_img": method["lr_img"], "method.batch_real": method["batch_real"]})


def make(api: Api, study: dict[str, Any], **fields: Any) -> dict[str, Any]:
    response = api.post("/v1/studies", json={**study, **fields})
    assert response.status_code == 201, response.text
    document: dict[str, Any] = response.json()
    return document


class TestProposed:
    def tried(self, count: int) -> list[Tried]:
        return [Tried(point, quality(point)) for point in space().draw(count, 5)]

    def test_they_are_new_and_different(self) -> None:
        tried = self.tried(20)
        found = list(islice(proposed(space(), tried, 0), 10))
        numbers = {space().number(point) for point in found}
        assert len(numbers) == 10
        assert numbers.isdisjoint(space().number(each.values) for each in tried)

    def test_they_follow_from_scores_and_seed(self) -> None:
        def first(tried: list[Tried], seed: int) -> list[dict[str, Any]]:
            return list(islice(proposed(space(), tried, seed), BATCH))

        tried = self.tried(20)
        assert first(tried, 0) == first(tried, 0)
        assert first(tried, 0) != first(tried, 1)
        worst_first = [Tried(each.values, 0 if each.score is None else -each.score) for each in tried]
        assert first(tried, 0) != first(worst_first, 0)

    def test_they_are_better_than_chance(self) -> None:
        learned = [quality(point) for seed in range(8) for point in islice(proposed(space(), self.tried(30), seed), 4)]
        chance = [quality(point) for point in space().grid()]
        assert sum(learned) / len(learned) > sum(chance) / len(chance) + 2

    def test_points_without_a_score_teach_nothing(self) -> None:
        tried = [Tried(each.values, None) for each in self.tried(20)]
        assert len(list(islice(proposed(space(), tried, 0), BATCH))) == BATCH

    def test_a_small_space_is_used_up(self) -> None:
        small = Space({"ipc": [1, 2, 5], "method": ["dm", "idm"]})
        found = list(proposed(small, [Tried(small.point(0), 50.0)], 0))
        assert sorted(small.number(point) for point in found) == [1, 2, 3, 4, 5]


class TestStudy:
    def test_the_first_rung_grows_until_the_budget_is_used(self, api: Api, searching: dict[str, Any]) -> None:
        made = make(api, searching)
        assert len(made["trials"]) == FIRST
        whole = api.post("/v1/studies:validate", json=searching).json()
        assert (whole["points"], whole["jobs"], len(whole["trials"]), whole["later"]) == (
            360,
            POINTS,
            FIRST,
            POINTS - FIRST,
        )
        assert made["ahead_minutes"] == pytest.approx(whole["minutes"])
        play(api, made["id"], score=of_job)
        found = api.get(made["links"]["self"]).json()
        assert found["status"] == "succeeded"
        assert found["rungs"][0]["scored"] == len(found["trials"]) == POINTS
        assert found["trials"][:FIRST] != made["trials"]
        assert [trial["values"] for trial in found["trials"][:FIRST]] == [trial["values"] for trial in made["trials"]]
        assert len({str(trial["values"]) for trial in found["trials"]}) == POINTS
        jobs = api.get(f"{made['links']['jobs']}&limit=100").json()["data"]
        assert len(jobs) == POINTS
        assert {job["priority"] for job in jobs} == {4}

    def test_a_transaction_that_is_lost_is_made_again(self, api: Api, searching: dict[str, Any]) -> None:
        made = make(api, searching)
        with api.database.write() as session:
            for job_id in queued(session):
                run(session, job_id, of_job)
        seen = []
        for keep in (False, True):
            with api.database.write() as session:
                assert advance(session, made["id"], api.settings)
                document = api.get(made["links"]["self"]).json() if keep else None
                assert document is None or len(document["trials"]) == FIRST  # nothing is seen before the commit
                seen.append([job.spec for job in session.query(Job).order_by(Job.number)][FIRST:])
                if not keep:
                    session.rollback()
        assert seen[0] == seen[1]
        assert len(seen[0]) == BATCH
        grown = api.get(made["links"]["self"]).json()
        assert (len(grown["trials"]), grown["version"] > made["version"]) == (FIRST + BATCH, True)

    def test_a_trial_that_fails_counts_as_tried(self, api: Api, searching: dict[str, Any]) -> None:
        made = make(api, searching)
        api.force(made["trials"][0]["jobs"][0], status="failed", error={"code": "oom", "message": "no memory"})
        play(api, made["id"], score=of_job)
        found = api.get(made["links"]["self"]).json()
        assert (len(found["trials"]), found["failures"]) == (POINTS, [{"reason": "no memory", "trials": 1}])

    def test_no_more_than_the_space_has(self, api: Api, searching: dict[str, Any]) -> None:
        made = make(api, searching, space={"ipc": [1, 2, 3, 10_001]})
        play(api, made["id"])
        found = api.get(made["links"]["self"]).json()
        assert sorted(trial["values"]["ipc"] for trial in found["trials"]) == [1, 2, 3]
        (refused,) = found["refused"]
        assert refused["reason"] == "`ipc` is 10001, but must be at most 10000"
        assert found["status"] == "succeeded"

    def test_the_quota_is_asked_for_all_of_them_at_once(self, api: Api, searching: dict[str, Any]) -> None:
        with api.database.write() as session:
            session.execute(update(Tenant).values(max_queued=POINTS - 1))
        assert "ask for 8 more" in api.post("/v1/studies", json=searching).json()["detail"]
        with api.database.write() as session:
            session.execute(update(Tenant).values(max_queued=POINTS))
        made = make(api, searching)
        with api.database.write() as session:
            session.execute(update(Tenant).values(max_queued=0, max_work_hours=1e-6))
        with api.database.write() as session:
            for job_id in queued(session):
                run(session, job_id, of_job)
            assert advance(session, made["id"], api.settings)
        assert len(api.get(made["links"]["self"]).json()["trials"]) == POINTS

    def test_nothing_is_proposed_once_the_minutes_are_over(self, api: Api, searching: dict[str, Any]) -> None:
        made = make(api, searching, budget={"jobs": POINTS, "minutes": 1})
        with api.database.write() as session:
            for job_id in queued(session):
                run(session, job_id, of_job)
            session.execute(update(Job).values(runtime_s=30.0))
        play(api, made["id"], score=of_job)
        assert len(api.get(made["links"]["self"]).json()["trials"]) == FIRST

    def test_it_waits_where_optuna_is_missing(
        self, api: Api, searching: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = make(api, searching)
        with api.database.write() as session:
            for job_id in queued(session):
                run(session, job_id, of_job)
        with monkeypatch.context() as patch:
            patch.setattr(proposals, "available", lambda: False)
            with api.database.write() as session:
                assert not advance(session, made["id"], api.settings)
            waiting = api.get(made["links"]["self"]).json()
        assert {trial["status"] for trial in waiting["trials"]} == {"held"}
        with api.database.write() as session:
            assert advance(session, made["id"], api.settings)
        assert len(api.get(made["links"]["self"]).json()["trials"]) == POINTS


class TestRefusals:
    def faults(self, api: Api, study: dict[str, Any], **fields: Any) -> dict[str, str]:
        response = api.post("/v1/studies", json={**study, **fields})
        assert response.status_code == 422, response.text
        assert api.count(Study) == 0
        return {fault["pointer"]: fault["detail"] for fault in response.json()["errors"]}

    def test_without_optuna(self, api: Api, searching: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(proposals, "available", lambda: False)
        assert "pip install 'ddservice[optuna]'" in self.faults(api, searching)["/sampler"]
        make(api, searching, sampler="random")

    def test_without_a_number_of_jobs(self, api: Api, searching: dict[str, Any]) -> None:
        found = self.faults(api, searching, budget={"minutes": 3})
        assert found == {"/budget/jobs": "`sampler` is 'tpe', which fills `budget.jobs`; give 1 to 256"}

    def test_with_an_objective_that_changes_meanwhile(self, api: Api, searching: dict[str, Any]) -> None:
        assert "take 'accuracy'" in self.faults(api, searching, objective="accuracy_per_minute")["/objective"]

    def test_of_an_automatic_study(self, api: Api) -> None:
        study = {"base": {"dataset": "digits", "ipc": 1, "method": "auto"}, "budget": {"minutes": 5}, "sampler": "tpe"}
        assert "leave `sampler` out" in self.faults(api, study)["/sampler"]
