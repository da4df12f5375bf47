"""A result that is made once more, over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from app.artifacts.service import Output, publish
from app.core.security import Scope
from app.core.storage import key_of
from app.models.fleet import Worker
from tests.app.datasets.conftest import Sets
from tests.app.jobs.test_verbs_api import codes

if TYPE_CHECKING:
    from tests.app.conftest import Api

BACKENDS = ("sqlite", "postgres")
ENDED = ("succeeded", "failed", "cancelled", "expired")


@pytest.fixture
def ended(api: Api, spec: dict[str, Any]) -> str:
    """A job that has succeeded, with all that a submission can say."""
    limits = {"max_runtime_s": 900, "max_queue_s": 800}
    job = api.submit({**spec, "seed": 7}, name="mine", labels={"a": "b"}, priority=8, limits=limits)
    api.force(str(job["id"]), status="succeeded", step=10, attempt=2, failures=1)
    return str(job["id"])


@pytest.mark.parametrize("status", ENDED)
def test_the_new_job_is_the_same_and_refers_to_the_first(api: Api, ended: str, status: str) -> None:
    api.force(ended, status=status)
    first = api.get(f"/v1/jobs/{ended}").json()
    assert "rerun" in first["actions"]
    made = api.post(f"/v1/jobs/{ended}:rerun")
    assert made.status_code == 201, made.text
    job = made.json()
    assert made.headers["location"] == job["links"]["self"] == f"/v1/jobs/{job['id']}"
    assert (job["parent_id"], job["links"]["parent"]) == (ended, f"/v1/jobs/{ended}")
    assert (job["status"], job["attempt"], job["progress"]["step"]) == ("queued", 0, 0)
    for same in ("spec", "limits", "name", "labels", "priority", "dataset_id"):
        assert job[same] == first[same], same
    assert job["spec"]["seed"] == 7
    assert "parent" not in first["links"]
    assert api.get(f"/v1/jobs/{ended}").json()["status"] == status


@pytest.mark.parametrize("status", ["queued", "running", "pausing", "paused", "cancelling"])
def test_a_job_that_has_not_ended_is_refused(api: Api, ended: str, status: str) -> None:
    api.force(ended, status=status)
    answer = api.post(f"/v1/jobs/{ended}:rerun")
    assert (answer.status_code, answer.json()["code"]) == (409, "illegal_transition")
    assert answer.json()["allowed"] == api.get(f"/v1/jobs/{ended}").json()["actions"]
    assert "rerun" not in answer.json()["allowed"]


def test_it_keeps_the_version_of_the_set(api: Api, spec: dict[str, Any], tmp_path: Path) -> None:
    sets = Sets(api, tmp_path)
    first = sets.ready("photos", per_class=10)
    job = api.submit({**spec, "dataset": "photos"})
    api.force(str(job["id"]), status="failed")
    sets.ready("photos", per_class=11)
    again = api.post(f"/v1/jobs/{job['id']}:rerun").json()
    assert (again["spec"]["dataset"], again["dataset_id"]) == ("photos@1", first)
    api.force(str(again["id"]), status="cancelled")
    assert api.delete(f"/v1/datasets/{first}").status_code == 204
    assert set(codes(api.post(f"/v1/jobs/{job['id']}:rerun"))) == {"/dataset"}


def test_it_is_not_refused_for_its_estimate(api: Api, spec: dict[str, Any]) -> None:
    """Whatever is known of its machines by now, it was let through once."""
    worker = {"id": "wrk_1", "name": "w", "host": "h", "pid": 1, "device_class": "cpu", "facts": {}, "state": "idle"}
    with api.database.write() as session:
        session.add(Worker(**worker))
    body = {**spec, "method": {"name": "dm", "iterations": 1_000_000}}
    limits = {"max_runtime_s": 1}
    refused = api.post("/v1/jobs", json={**body, "limits": limits})
    assert set(codes(refused).values()) == {"runtime_over_limit"}
    job = api.submit(body, limits={**limits, "ignore_estimate": True})
    api.force(str(job["id"]), status="failed")
    again = api.post(f"/v1/jobs/{job['id']}:rerun")
    assert (again.status_code, again.json()["limits"]["max_runtime_s"]) == (201, 1)


def test_a_key_makes_one_job(api: Api, ended: str) -> None:
    first, again = (api.post(f"/v1/jobs/{ended}:rerun", headers={"Idempotency-Key": "k"}) for _ in "ab")
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.content == again.content
    other = api.post(f"/v1/jobs/{ended}:clone", headers={"Idempotency-Key": "k"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")


def test_it_counts_towards_the_quota(api: Api, ended: str) -> None:
    assert api.patch("/v1/tenants/default", json={"max_queued": 0}).status_code == 200
    answer = api.post(f"/v1/jobs/{ended}:rerun")
    assert (answer.status_code, answer.json()["code"]) == (429, "quota_exceeded")


def test_it_needs_the_right_to_submit_and_is_in_the_trail(api: Api, ended: str) -> None:
    reader = api.acting_as(api.key(scopes=(Scope.JOBS_READ,)))
    assert reader.post(f"/v1/jobs/{ended}:rerun").status_code == 403
    made = api.post(f"/v1/jobs/{ended}:rerun").json()["id"]
    (act,) = api.get("/v1/audit", params={"object": made}).json()["data"]
    assert (act["action"], act["details"]["parent_id"]) == ("job.submit", ended)


def test_an_ingest_is_refused(api: Api, tmp_path: Path) -> None:
    sets = Sets(api, tmp_path)
    set_id = sets.uploaded()
    sets.fail(set_id)
    answer = api.post(f"/v1/jobs/{sets.get(set_id)['job']['id']}:rerun")
    assert (answer.status_code, answer.json()["allowed"]) == (409, ["retry"])


def test_a_damaged_result_names_the_way(api: Api, ended: str, tmp_path: Path) -> None:
    path = tmp_path / "bundle.zip"
    path.write_bytes(b"the bundle")
    api.force(ended, fence=1)
    with api.database.write() as session:
        publish(session, api.state.store, ended, 1, Output("bundle", path, "application/zip"))
    digest = api.get(f"/v1/jobs/{ended}/bundle.zip").headers["ETag"].strip('"')
    stored = api.settings.home / "artifacts" / key_of(digest)
    stored.chmod(0o600)
    stored.write_bytes(b"the bundlE")
    answer = api.get(f"/v1/jobs/{ended}/bundle.zip")
    assert (answer.status_code, answer.json()["code"]) == (500, "checksum_mismatch")
    assert f"POST /v1/jobs/{ended}:rerun (`ddctl rerun {ended}`)" in answer.json()["detail"]
    assert api.post(f"/v1/jobs/{ended}:rerun").status_code == 201
