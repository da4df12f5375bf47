"""How studies go on, with jobs that are taken through their moves one at a time, on both databases."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update

from app.models.events import Event
from app.models.jobs import Job
from app.studies.progress import advance
from tests.app.studies.playing import claim, play, queued, run

if TYPE_CHECKING:
    from tests.app.conftest import Api

BACKENDS = ("sqlite", "postgres")


def make(api: Api, study: dict[str, Any], **fields: Any) -> str:
    response = api.post("/v1/studies", json={**study, **fields})
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


def shown(api: Api, study_id: str) -> dict[str, Any]:
    document: dict[str, Any] = api.get(f"/v1/studies/{study_id}").json()
    return document


def go_on(api: Api, study_id: str) -> dict[str, Any]:
    with api.database.write() as session:
        advance(session, study_id, api.settings)
    return shown(api, study_id)


def run_all(api: Api, **how: Any) -> None:
    """Every job that is queued now, to where it is held."""
    with api.database.write() as session:
        for job_id in queued(session):
            run(session, job_id, **how)


def test_the_best_wins(api: Api, study: dict[str, Any]) -> None:
    study_id = make(api, study)
    play(api, study_id)
    found = shown(api, study_id)
    assert found["status"] == "succeeded"
    assert [(rung["trials"], rung["scored"], rung["promoted"]) for rung in found["rungs"]] == [
        (6, 6, 2),
        (2, 2, 1),
        (1, 1, 1),
    ]
    assert found["winner"]["trial"] == 5
    assert found["winner"]["validation"] == {"accuracy": 54.75, "deviation": 0.125}
    assert found["winner"]["accuracy"] == {"mean": 53.75, "deviation": 0.5, "networks": 3}
    assert found["winner"]["gap"] == -1
    assert "ipc 3, lr_img 1.5 is the best" in found["winner"]["answer"]
    assert [trial["status"] for trial in found["trials"]] == ["dropped"] * 5 + ["winner"]
    assert found["trials"][3]["reason"] == "not promoted: 3rd of 6 at rung 0"
    assert found["trials"][4]["reason"] == "not promoted: 2nd of 2 at rung 1"
    assert found["spent"]["steps"] == 4 * 1 + 3 + 9 < found["full_grid_steps"] == 54
    assert found["ahead_minutes"] == 0
    assert found["actions"] == ["delete"]
    jobs = api.get(f"/v1/jobs?study={study_id}").json()["data"]
    assert sorted(job["status"] for job in jobs) == ["cancelled"] * 5 + ["succeeded"]
    assert {job["study_id"] for job in jobs} == {study_id}


def test_the_order_of_events_does_not_matter(api: Api, study: dict[str, Any]) -> None:
    outcomes = []
    for seed in range(4):
        study_id = make(api, study, seeds=[0, 1], budget={"jobs": 12})
        play(api, study_id, random.Random(seed))
        found = shown(api, study_id)
        outcomes.append((found["winner"]["trial"], [(t["status"], t["scores"], t["reason"]) for t in found["trials"]]))
    assert all(outcome == outcomes[0] for outcome in outcomes)


def test_what_optuna_proposes_does_not_depend_on_the_order_of_events(api: Api, study: dict[str, Any]) -> None:
    study["space"] = {"ipc": [1, 2, 5, 10], "method.lr_img": {"from": 0.1, "to": 10, "count": 30, "scale": "log"}}
    outcomes = []
    for order in (None, random.Random(1)):
        study_id = make(api, study, sampler="tpe", budget={"jobs": 8}, rungs=2)
        play(api, study_id, order)
        found = shown(api, study_id)
        assert found["rungs"][0]["scored"] == 8
        outcomes.append([(trial["values"], trial["scores"], trial["reason"]) for trial in found["trials"]])
    assert outcomes[0] == outcomes[1]


def test_a_rung_waits_for_its_last_job(api: Api, study: dict[str, Any]) -> None:
    study_id = make(api, study)
    with api.database.write() as session:
        *first, last = queued(session)
        for job_id in first:
            run(session, job_id)
        claim(session, last)
    found = go_on(api, study_id)
    assert [trial["status"] for trial in found["trials"]] == ["held"] * 5 + ["running"]
    assert not found["rungs"][0]["decided"]
    assert go_on(api, study_id) == found  # nothing is done twice


def test_close_scores_go_on_together(api: Api, study: dict[str, Any]) -> None:
    study_id = make(api, study)
    run_all(api, deviation=5.0)
    assert go_on(api, study_id)["rungs"][0]["promoted"] == 6


def test_a_job_that_fails_is_counted_and_left_out(api: Api, study: dict[str, Any]) -> None:
    study_id = make(api, study, seeds=[0, 1], budget={"jobs": 12})
    doomed = shown(api, study_id)["trials"][5]["jobs"][1]
    api.force(doomed, status="failed", finished_at=None, error={"code": "data_error", "message": "row 7 is no image"})
    play(api, study_id)
    found = shown(api, study_id)
    assert found["status"] == "succeeded"
    assert found["trials"][5]["status"] == "failed"
    assert found["failures"] == [{"reason": "row 7 is no image", "trials": 1}]
    assert found["rungs"][0]["ended"] == 1
    assert found["winner"]["trial"] == 4
    assert api.get(f"/v1/jobs/{found['trials'][5]['jobs'][0]}").json()["status"] == "cancelled"


def test_no_job_is_left(api: Api, study: dict[str, Any]) -> None:
    study_id = make(api, study)
    for trial in shown(api, study_id)["trials"]:
        assert api.post(f"/v1/jobs/{trial['jobs'][0]}:cancel").status_code == 200
    found = go_on(api, study_id)
    assert (found["status"], found["error"]["code"]) == ("failed", "no_trial_left")
    assert "it was cancelled" in found["error"]["message"]


def test_another_finalist_takes_the_place_of_a_winner_that_fails(api: Api, study: dict[str, Any]) -> None:
    study_id = make(api, study, rungs=1)
    run_all(api)
    found = go_on(api, study_id)
    assert (found["winner"]["trial"], found["trials"][4]["status"]) == (5, "finalist")
    api.post(f"/v1/jobs/{found['winner']['job_id']}:cancel")
    play(api, study_id)
    found = shown(api, study_id)
    assert (found["status"], found["winner"]["trial"], found["trials"][5]["status"]) == ("succeeded", 4, "failed")


def test_coresets_are_scored_once(api: Api, study: dict[str, Any]) -> None:
    study_id = make(
        api,
        study,
        space={"method": ["dm", "random", "k_center"]},
        base={"dataset": "digits", "ipc": 1, "iterations": 9},
    )
    play(api, study_id, score=lambda job, step: {"dm": 60.0 + step, "random": 50, "k_center": 62}[job.method])
    found = shown(api, study_id)
    assert [trial["iterations"] for trial in found["trials"]] == [9, 0, 0]
    assert found["winner"]["trial"] == 2  # dm had taken one step
    assert found["winner"]["best_coreset"]["title"] == "k_center"
    assert "keeps real images" in found["winner"]["answer"]
    attempts = api.get(f"/v1/jobs/{found['winner']['job_id']}").json()["attempt"]
    assert attempts == 2  # its score, and its evaluation


class TestPause:
    def test_pauses_its_jobs_and_goes_on(self, api: Api, study: dict[str, Any]) -> None:
        study_id = make(api, study)
        with api.database.write() as session:
            first, second, *_ = queued(session)
            run(session, first)
            claim(session, second)
        response = api.post(f"/v1/studies/{study_id}:pause")
        assert (response.status_code, response.json()["status"]) == (202, "pausing")
        with api.database.write() as session:
            job = session.execute(select(Job).where(Job.id == second)).scalar_one()
            assert job.status == "pausing"
        with api.database.write() as session:
            session.execute(update(Job).where(Job.id == second).values(status="paused", owner=None, lease_until=None))
        assert go_on(api, study_id)["status"] == "paused"
        with api.database.read() as session:
            assert queued(session) == []
        assert go_on(api, study_id)["actions"] == ["resume", "cancel"]
        assert api.post(f"/v1/studies/{study_id}:resume").json()["status"] == "running"
        with api.database.read() as session:
            assert len(queued(session)) == 5  # the first one is held, and stays so
        play(api, study_id)
        assert shown(api, study_id)["winner"]["trial"] == 5

    def test_cannot_be_paused_twice(self, api: Api, study: dict[str, Any]) -> None:
        study_id = make(api, study)
        api.post(f"/v1/studies/{study_id}:pause")
        response = api.post(f"/v1/studies/{study_id}:pause")
        assert (response.status_code, response.json()["allowed"]) == (409, ["resume", "cancel"])


class TestCancel:
    def test_ends_every_job(self, api: Api, study: dict[str, Any]) -> None:
        study_id = make(api, study)
        with api.database.write() as session:
            claim(session, queued(session)[0])
        assert api.post(f"/v1/studies/{study_id}:cancel").json()["status"] == "cancelling"
        running = shown(api, study_id)["trials"][0]["jobs"][0]
        assert api.get(f"/v1/jobs/{running}").json()["status"] == "cancelling"
        api.force(running, status="cancelled", owner=None, lease_until=None)
        found = go_on(api, study_id)
        assert (found["status"], found["actions"]) == ("cancelled", ["delete"])
        assert api.post(f"/v1/studies/{study_id}:cancel").status_code == 200

    def test_says_why_on_each_job(self, api: Api, study: dict[str, Any]) -> None:
        study_id = make(api, study)
        run_all(api)
        go_on(api, study_id)
        loser = shown(api, study_id)["trials"][0]["jobs"][0]
        with api.database.read() as session:
            *_, last = session.scalars(select(Event).where(Event.job_id == loser).order_by(Event.seq))
        assert last.message == "not promoted: 6th of 6 at rung 0"
        assert last.data["study_id"] == study_id


class TestMinutes:
    def test_the_best_of_the_highest_rung_that_was_decided(self, api: Api, study: dict[str, Any]) -> None:
        study_id = make(api, study, budget={"minutes": 1})
        run_all(api)
        go_on(api, study_id)
        with api.database.write() as session:
            session.execute(update(Job).values(runtime_s=30.0))
        found = go_on(api, study_id)
        assert found["winner"]["trial"] == 5
        assert found["trials"][4]["reason"] == "the minutes were used up: 2nd of 2 at rung 0"
        play(api, study_id)
        assert shown(api, study_id)["status"] == "succeeded"

    def test_the_first_rung_is_decided_by_what_is_there(self, api: Api, study: dict[str, Any]) -> None:
        study_id = make(api, study, budget={"minutes": 1})
        with api.database.write() as session:
            for job_id in queued(session)[:2]:
                run(session, job_id)
            session.execute(update(Job).values(runtime_s=30.0))
        found = go_on(api, study_id)
        assert found["winner"]["trial"] == 1
        assert found["trials"][5]["reason"] == "the minutes were used up before it was scored at rung 0"
        play(api, study_id)
        assert shown(api, study_id)["status"] == "succeeded"


def test_a_method_that_ends_early_counts_with_its_last_score(api: Api, study: dict[str, Any]) -> None:
    study_id = make(api, study, rungs=2)
    with api.database.write() as session:
        jobs = queued(session)
        for job_id in jobs[:-1]:
            run(session, job_id)
        session.execute(update(Job).where(Job.id == jobs[-1]).values(hold_at=2))
        run(session, jobs[-1])
        session.execute(update(Job).where(Job.id == jobs[-1]).values(hold_at=3))
    found = go_on(api, study_id)
    assert found["trials"][5]["scores"][0]["accuracy"] == 53.75 + 2 / 9
    assert found["rungs"][0]["decided"]
