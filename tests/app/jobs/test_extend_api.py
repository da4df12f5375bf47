"""A finished job that goes on, over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from app.core.ids import new_id
from app.models.artifacts import Artifact, Blob
from app.models.artifacts import Checkpoint as Row
from app.models.jobs import Job
from app.queue import checkpoints
from app.queue.checkpoints import SavedCheckpoint
from tests.app.jobs.test_verbs_api import codes

if TYPE_CHECKING:
    from tests.app.conftest import Api

BACKENDS = ("sqlite", "postgres")


def finish(api: Api, job: dict[str, Any], *steps: int) -> str:
    """Have a job succeed, with the state after some steps stored; its identifier."""
    job_id = str(job["id"])
    total = job["progress"]["total_steps"]
    with api.database.write() as session:
        for step in steps:
            digest = f"{step:064x}"
            session.merge(Blob(sha256=digest, size=9))
            session.flush()
            artifact = Artifact(
                id=new_id("art"), tenant_id="default", job_id=job_id, attempt=1, fence=1, kind="checkpoint",
                name=f"{step}.safetensors", media_type="x/y", sha256=digest, size=9, step=step, state="ready",
            )  # fmt: skip
            session.add(artifact)
            session.flush()
            checkpoints.add(session, job_id, 1, 1, SavedCheckpoint(step, digest, 9), artifact.id, {"loss": 1.0})
    api.force(job_id, status="succeeded", step=total, checkpoint_step=total)
    return job_id


def test_the_new_job_goes_on_from_the_last_state(api: Api, spec: dict[str, Any]) -> None:
    parent = finish(api, api.submit(spec, name="mine", labels={"a": "b"}), 5, 10)
    made = api.post(f"/v1/jobs/{parent}:extend", json={"iterations": 7})
    assert made.status_code == 201, made.text
    job = made.json()
    assert made.headers["location"] == job["links"]["self"]
    assert (job["parent_id"], job["status"], job["name"], job["labels"]) == (parent, "queued", "mine", {"a": "b"})
    assert job["spec"] == api.get(f"/v1/jobs/{parent}").json()["spec"] | {
        "method": {**job["spec"]["method"], "iterations": 17}
    }
    assert (job["progress"]["step"], job["progress"]["total_steps"]) == (10, 17)
    with api.database.read() as session:
        saved = checkpoints.newest_first(session, job["id"])
    assert [(one.step, one.sha256) for one in saved] == [(10, f"{10:064x}"), (5, f"{5:064x}")]


def test_the_state_outlives_the_job_that_made_it_and_can_be_forgotten(api: Api, spec: dict[str, Any]) -> None:
    parent = finish(api, api.submit(spec), 10)
    job = api.post(f"/v1/jobs/{parent}:extend", json={"iterations": 7}).json()
    assert api.delete(f"/v1/jobs/{parent}").status_code == 204
    with api.database.write() as session:
        kept = session.scalars(select(Artifact).where(Artifact.job_id == job["id"])).one()
        assert (kept.state, kept.sha256) == ("ready", f"{10:064x}")
        checkpoints.forget(session, job["id"])
        assert session.scalars(select(Row).where(Row.job_id == job["id"])).all() == []
    refused = api.post(f"/v1/jobs/{parent}:extend", json={"iterations": 7})
    assert (refused.status_code, refused.json()["detail"]) == (404, f"you have no job {parent}")


def test_a_key_makes_one_job_and_each_extension_can_be_extended(api: Api, spec: dict[str, Any]) -> None:
    parent = finish(api, api.submit(spec), 10)
    first, again = (
        api.post(f"/v1/jobs/{parent}:extend", json={"iterations": 7}, headers={"Idempotency-Key": "k"}) for _ in "ab"
    )
    assert (first.status_code, again.status_code, again.json()) == (201, 200, first.json())
    other = api.post(f"/v1/jobs/{parent}:extend", json={"iterations": 8}, headers={"Idempotency-Key": "k"})
    assert other.json()["code"] == "idempotency_mismatch"
    longer = finish(api, first.json(), 17)
    assert api.post(f"/v1/jobs/{longer}:extend", json={"iterations": 3}).json()["progress"]["total_steps"] == 20


def test_what_somebody_else_has_made_is_not_there(api: Api, rival: Api, spec: dict[str, Any]) -> None:
    parent = finish(api, api.submit(spec), 10)
    assert rival.post(f"/v1/jobs/{parent}:extend", json={"iterations": 7}).status_code == 404


@pytest.mark.parametrize(
    ("status", "way"),
    [("running", "wait until"), ("paused", "resume it"), ("failed", "retry it"), ("cancelled", "clone it")],
)
def test_only_a_finished_job_goes_on(api: Api, spec: dict[str, Any], status: str, way: str) -> None:
    job = api.submit(spec)
    api.force(job["id"], status=status)
    refused = api.post(f"/v1/jobs/{job['id']}:extend", json={"iterations": 7})
    assert (refused.status_code, refused.json()["code"]) == (409, "illegal_transition")
    assert f"this one is {status}; {way}" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"method": "random"}, {"/method": "no_steps"}),
        (
            {"method": {"name": "seqmatch", "iterations": 4, "stages": 2}},
            {"/method": "steps_depend_on_their_number"},
        ),
        (
            {"evaluation": {"during": {"checkpoint": "best", "stop": "plateau"}}},
            {"/evaluation/during/checkpoint": "not_the_last_step", "/evaluation/during/stop": "ends_at_a_plateau"},
        ),
    ],
)
def test_runs_that_depend_on_their_length_are_refused(
    api: Api, spec: dict[str, Any], fields: dict[str, Any], fault: dict[str, str]
) -> None:
    job = api.submit(spec | fields)
    parent = finish(api, job, job["progress"]["total_steps"])
    assert codes(api.post(f"/v1/jobs/{parent}:extend", json={"iterations": 7})) == fault
    assert ("extend" in api.get(f"/v1/jobs/{parent}").json()["actions"]) == ("evaluation" in fields)


@pytest.mark.parametrize("iterations", [0, -1, 10_000_001, "many", 1.5, None])
def test_numbers_out_of_range_are_refused(api: Api, spec: dict[str, Any], iterations: Any) -> None:
    parent = finish(api, api.submit(spec), 10)
    assert set(codes(api.post(f"/v1/jobs/{parent}:extend", json={"iterations": iterations}))) == {"/iterations"}


def test_more_steps_than_the_method_may_take_are_refused(api: Api, spec: dict[str, Any]) -> None:
    parent = finish(api, api.submit(spec), 10)
    refused = api.post(f"/v1/jobs/{parent}:extend", json={"iterations": 9_999_991})
    assert codes(refused) == {"/iterations": "out_of_range"}
    assert "it can go on by 1 to 9,999,990" in refused.text


def test_a_state_that_is_not_kept_is_told(api: Api, spec: dict[str, Any]) -> None:
    without, older = (api.submit(spec) for _ in "ab")
    for parent, word in ((finish(api, without), "none is"), (finish(api, older, 5), "that of step 5 is")):
        refused = api.post(f"/v1/jobs/{parent}:extend", json={"iterations": 7})
        assert codes(refused) == {"": "state_not_kept"}
        assert word in refused.text
    with api.database.read() as session:
        assert session.query(Job).count() == 2


def test_a_method_that_was_done_early_does_not_go_on(api: Api, spec: dict[str, Any]) -> None:
    parent = finish(api, api.submit(spec), 10)
    api.force(parent, step=8)
    assert codes(api.post(f"/v1/jobs/{parent}:extend", json={"iterations": 7})) == {"/iterations": "method_is_done"}
