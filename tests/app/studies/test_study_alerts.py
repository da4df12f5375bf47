"""What a user hears of a study that nobody watches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from app.models.jobs import Job
from app.models.states import State
from app.queue.states import Actor, transition
from app.studies.progress import advance
from tests.app.studies.playing import claim, play, queued, run

if TYPE_CHECKING:
    from tests.app.conftest import Api

BACKENDS = ("sqlite", "postgres")


def make(api: Api, study: dict[str, Any], **fields: Any) -> dict[str, Any]:
    response = api.post("/v1/studies", json={**study, **fields})
    assert response.status_code == 201, response.text
    document: dict[str, Any] = response.json()
    return document


def heard(api: Api, study_id: str) -> dict[str, dict[str, Any]]:
    """The alerts of a study by rule; each came once."""
    listed = [alert for alert in api.get("/v1/alerts").json()["data"] if alert["study_id"] == study_id]
    by_rule = {alert["rule"]: alert for alert in listed}
    assert len(by_rule) == len(listed)
    return by_rule


def test_a_study_that_ended_well(api: Api, rival: Api, study: dict[str, Any]) -> None:
    made = make(api, study, name="first")
    assert heard(api, made["id"]) == {}
    play(api, made["id"])
    found = api.get(made["links"]["self"]).json()
    (alert,) = heard(api, made["id"]).values()
    assert (alert["rule"], alert["level"], alert["job_id"]) == ("study_finished", "info", found["winner"]["job_id"])
    assert alert["message"] == f"first ({made['id']}) has succeeded: {found['winner']['answer']}"
    assert alert["data"] == {"rule": "study_finished", "study_id": made["id"], "status": "succeeded"}
    only = api.get("/v1/alerts", params={"rule": "study_finished"}).json()["data"]
    assert [each["id"] for each in only] == [alert["id"]]
    assert rival.get("/v1/alerts").json()["data"] == []


def test_trials_that_were_dropped_are_no_news_but_the_winner_and_jobs_that_failed_are(
    api: Api, study: dict[str, Any]
) -> None:
    made = make(api, study)
    doomed = made["trials"][0]["jobs"][0]
    with api.database.write() as session:
        claim(session, doomed)
        error = {"code": "data_error", "message": "row 7 is no image"}
        assert transition(session, doomed, State.FAILED, Actor.WORKER, fence=1, values={"error": error})
    play(api, made["id"])
    found = api.get(made["links"]["self"]).json()
    assert [trial["status"] for trial in found["trials"]] == ["failed", *["dropped"] * 4, "winner"]
    listed = api.get("/v1/alerts", params={"rule": "finished"}).json()["data"]
    assert {alert["job_id"]: alert["data"]["to"] for alert in listed} == {
        doomed: "failed",
        found["winner"]["job_id"]: "succeeded",
    }
    alone = api.submit(study["base"] | {"ipc": 1})["id"]
    api.post(f"/v1/jobs/{alone}:cancel")
    assert api.get("/v1/alerts", params={"rule": "finished"}).json()["data"][-1]["job_id"] == alone


def test_a_study_that_was_cancelled(api: Api, study: dict[str, Any]) -> None:
    made = make(api, study)
    api.post(f"{made['links']['self']}:cancel")
    (alert,) = heard(api, made["id"]).values()
    assert (alert["message"], alert["level"]) == (f"{made['id']} was cancelled", "warning")


def test_a_study_none_of_whose_trials_was_scored(api: Api, study: dict[str, Any]) -> None:
    made = make(api, study)
    for trial in made["trials"]:
        api.force(trial["jobs"][0], status="failed", error={"code": "data_error", "message": "row 7 is no image"})
    with api.database.write() as session:
        advance(session, made["id"], api.settings)
    found = heard(api, made["id"])
    assert found.keys() == {"study_finished", "no_trial_scored"}
    assert found["study_finished"]["message"] == (
        f"{made['id']} has failed: no trial could be scored: row 7 is no image"
    )
    assert found["no_trial_scored"]["data"]["trials"] == 6
    assert {alert["level"] for alert in found.values()} == {"error"}


@pytest.mark.parametrize(("runtime_s", "told"), [(8.9, False), (9.1, True), (12.0, True)])
def test_a_budget_that_is_nearly_spent(api: Api, study: dict[str, Any], runtime_s: float, told: bool) -> None:
    made = make(api, study, budget={"minutes": 1})  # six jobs, so a tenth of a minute for each
    with api.database.write() as session:
        for job_id in queued(session)[:3]:
            run(session, job_id)
        session.execute(update(Job).values(runtime_s=runtime_s))
    for _ in range(2):
        with api.database.write() as session:
            advance(session, made["id"], api.settings)
    found = heard(api, made["id"])
    assert ("budget_nearly_spent" in found) == told
    if told:
        assert found["budget_nearly_spent"]["data"]["budget_minutes"] == 1
        assert found["budget_nearly_spent"]["data"]["minutes"] == pytest.approx(runtime_s / 10)


def test_a_winner_that_was_judged_before_its_time_was_over_is_no_news(api: Api, study: dict[str, Any]) -> None:
    made = make(api, study, budget={"minutes": 1}, rungs=1)
    with api.database.write() as session:
        for job_id in queued(session):
            run(session, job_id)
    with api.database.write() as session:
        advance(session, made["id"], api.settings)
        session.execute(update(Job).values(runtime_s=30.0))
    play(api, made["id"])
    assert heard(api, made["id"]).keys() == {"study_finished"}


BEATEN: dict[str, Any] = {
    "base": {"dataset": "digits", "ipc": 1, "iterations": 9},
    "space": {"method": ["dm", "random"]},
}


def test_a_winner_that_ends_below_a_coreset_that_was_dropped(api: Api, study: dict[str, Any]) -> None:
    made = make(api, study, **BEATEN)
    play(api, made["id"], score=lambda job, step: 62.0 if job.method == "random" else 70.0 if step == 1 else 55.0)
    alert = heard(api, made["id"])["below_best_coreset"]
    assert alert["message"] == (
        f"the winner of {made['id']} reaches 55.0 % on validation images, less than the 62.0 % of the best coreset"
    )
    assert alert["data"] == {
        "rule": "below_best_coreset", "study_id": made["id"], "accuracy": 55.0, "best_coreset": 62.0,
        "images": "validation",
    }  # fmt: skip


@pytest.mark.parametrize("control", [68.0, 70.0])
def test_a_winner_that_ends_below_the_control_of_its_evaluation(
    api: Api, study: dict[str, Any], control: float
) -> None:
    made = make(api, study, **BEATEN)
    controls = {"best_coreset": {"mean": control, "std": 0.5, "networks": 3}}
    play(api, made["id"], score=lambda job, step: 62.0 if job.method == "random" else 70.0, controls=controls)
    found = heard(api, made["id"])
    assert api.get(made["links"]["self"]).json()["winner"]["accuracy"]["mean"] == 69.0
    assert ("below_best_coreset" in found) == (control > 69)
    if control > 69:
        assert found["below_best_coreset"]["data"]["images"] == "test"
