"""What can be done to a job over HTTP."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from app.models.artifacts import Artifact
from app.models.events import Event
from app.models.jobs import Job, Outbox
from app.models.states import State
from app.queue import checkpoints
from app.queue.checkpoints import SavedCheckpoint
from app.queue.states import Actor, actions, transition

if TYPE_CHECKING:
    from tests.app.conftest import Api


def codes(response: Any) -> dict[str, str]:
    """Pointer and code of every fault of a 422."""
    assert response.status_code == 422, response.text
    return {fault["pointer"]: fault["code"] for fault in response.json()["errors"]}


class TestVerbs:
    @pytest.mark.parametrize("state", list(State))
    @pytest.mark.parametrize("verb", ["cancel", "pause", "resume", "retry"])
    def test_every_verb_in_every_state(self, api: Api, spec: dict[str, Any], state: State, verb: str) -> None:
        """Either the job goes where the table says, or nothing changes and the answer lists what is possible."""
        job = api.submit(spec)
        api.force(job["id"], status=state)
        events = api.count(Event)
        response = api.post(f"/v1/jobs/{job['id']}:{verb}")
        after = api.get(job["links"]["self"]).json()
        if verb in actions(state):
            assert response.status_code in (200, 202)
            assert response.json() == after
            assert after["status"] != state
            assert after["version"] == 2
            assert api.count(Event) == events + 1
        elif verb == "cancel" and state in (State.CANCELLING, State.CANCELLED):
            assert response.status_code == (200 if state is State.CANCELLED else 202)
            assert after["version"] == 1
        else:
            assert (response.status_code, response.json()["code"]) == (409, "illegal_transition")
            assert response.json()["allowed"] == actions(state) == after["actions"]
            assert (after["status"], after["version"], api.count(Event)) == (state, 1, events)

    def test_running_job_is_asked_to_stop(self, api: Api, spec: dict[str, Any]) -> None:
        job = api.submit(spec)
        api.force(job["id"], status="running", owner="wrk_1")
        response = api.post(f"/v1/jobs/{job['id']}:cancel", json={"keep_result": True, "reason": "enough"})
        assert (response.status_code, response.json()["status"]) == (202, "cancelling")
        assert response.json()["desired"] == "cancel"
        with api.database.read() as session:
            assert session.scalars(select(Job.keep_result)).one() is True
            last = session.scalars(select(Event).order_by(Event.seq.desc()).limit(1)).one()
        assert last.data["reason"] == "enough"

    @pytest.mark.parametrize(
        ("status", "step", "refused"),
        [("paused", 40, True), ("queued", 40, True), ("pausing", None, True), ("paused", None, False)],
    )
    def test_images_are_not_lost_by_asking_to_keep_them(
        self, api: Api, spec: dict[str, Any], status: str, step: int | None, refused: bool
    ) -> None:
        job = api.submit(spec)
        api.force(job["id"], status=status, checkpoint_step=step)
        response = api.post(f"/v1/jobs/{job['id']}:cancel", json={"keep_result": True})
        assert response.status_code == (409 if refused else 200)
        if refused:
            assert f"this one is {status}; resume it and cancel it with `keep_result`" in response.json()["detail"]
        assert api.get(job["links"]["self"]).json()["status"] == (status if refused else "cancelled")

    def test_pause_and_resume_ring_again(self, api: Api, spec: dict[str, Any], rung: list[float]) -> None:
        job = api.submit(spec)
        api.post(f"/v1/jobs/{job['id']}:pause")
        assert len(rung) == 1
        api.post(f"/v1/jobs/{job['id']}:resume")
        assert len(rung) == 2
        assert api.count(Outbox) == 2

    def test_resume_before_the_worker_acted_rings_nobody(
        self, api: Api, spec: dict[str, Any], rung: list[float]
    ) -> None:
        job = api.submit(spec)
        api.force(job["id"], status="pausing", owner="wrk_1", desired="pause")
        response = api.post(f"/v1/jobs/{job['id']}:resume")
        assert (response.json()["status"], response.json()["desired"]) == ("running", "run")
        assert len(rung) == 1

    def test_retry_renews_the_budget(self, api: Api, spec: dict[str, Any]) -> None:
        job = api.submit(spec)
        error = {"code": "diverged", "message": "loss is NaN", "param": None, "retryable": False, "attempt": 3}
        api.force(job["id"], status="failed", failures=3, error=error)
        assert api.get(job["links"]["self"]).json()["error"] == error
        retried = api.post(f"/v1/jobs/{job['id']}:retry", json={"from_scratch": True}).json()
        assert (retried["status"], retried["error"], retried["id"]) == ("queued", None, job["id"])
        with api.database.read() as session:
            found = session.scalars(select(Job)).one()
        assert (found.failures, found.from_scratch) == (0, True)

    @pytest.mark.parametrize("body", [{"keep": True}, {"keep_result": "maybe"}, {"reason": "x" * 501}])
    def test_faulty_body_is_refused(self, api: Api, spec: dict[str, Any], body: dict[str, Any]) -> None:
        job = api.submit(spec)
        assert api.post(f"/v1/jobs/{job['id']}:cancel", json=body).status_code == 422
        assert api.get(job["links"]["self"]).json()["status"] == "queued"

    def test_cancel_and_finish_at_once_end_in_one_state(self, api: Api, spec: dict[str, Any]) -> None:
        for _ in range(10):
            job = api.submit(spec)
            api.force(job["id"], status="running", owner="wrk_1", fence=1)
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
        job = api.submit(spec, labels={"team": "a"}, name="one")
        overrides = {"ipc": 5, "name": None, "method": {"iterations": 20}, "labels": {"team": None, "run": "2"}}
        response = api.post(f"/v1/jobs/{job['id']}:clone", json={"overrides": overrides})
        assert response.status_code == 201
        copy = response.json()
        assert copy["id"] != job["id"]
        assert response.headers["location"] == copy["links"]["self"]
        assert (copy["parent_id"], copy["name"], copy["labels"]) == (job["id"], None, {"run": "2"})
        assert (copy["spec"]["ipc"], copy["progress"]["total_steps"]) == (5, 20)

    def test_plain_copy_is_the_same_specification(self, api: Api) -> None:
        job = api.submit({"preset": "quick/dm-mim-cmi-digits"})
        assert api.post(f"/v1/jobs/{job['id']}:clone").json()["spec"] == job["spec"]

    def test_another_protocol_replaces_the_evaluation_and_fields_amend_it(self, api: Api, spec: dict[str, Any]) -> None:
        job = api.submit({**spec, "evaluation": {"repeats": 2, "epochs": 7}})

        def clone(evaluation: dict[str, Any]) -> dict[str, Any]:
            overrides = {"evaluation": evaluation}
            copy = api.post(f"/v1/jobs/{job['id']}:clone", json={"overrides": overrides}).json()
            found: dict[str, Any] = copy["spec"]["evaluation"]
            return found

        amended = clone({"protocol": "standard", "repeats": 1})
        assert (amended["repeats"], amended["epochs"]) == (1, 7)
        replaced = clone({"protocol": "idc", "repeats": 1})
        assert (replaced["repeats"], replaced["epochs"], replaced["augmenter"]) == (1, 1000, "stacked")

    def test_faulty_change_is_refused(self, api: Api, spec: dict[str, Any]) -> None:
        job = api.submit(spec)
        assert codes(api.post(f"/v1/jobs/{job['id']}:clone", json={"overrides": {"ipc": 0}})) == {
            "/ipc": "greater_than_equal"
        }

    def test_is_idempotent_with_a_key(self, api: Api, spec: dict[str, Any]) -> None:
        job = api.submit(spec)
        headers = {"Idempotency-Key": "k"}
        first = api.post(f"/v1/jobs/{job['id']}:clone", headers=headers)
        again = api.post(f"/v1/jobs/{job['id']}:clone", headers=headers)
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.content == again.content


class TestAmend:
    def test_changes_name_labels_and_priority(self, api: Api, spec: dict[str, Any]) -> None:
        job = api.submit(spec, name="old", labels={"a": "1"})
        changed = api.patch(job["links"]["self"], json={"name": "new", "labels": {"b": "2"}, "priority": 9})
        assert changed.status_code == 200
        assert changed.headers["etag"] == '"2"'
        found = changed.json()
        assert (found["name"], found["labels"], found["priority"]) == ("new", {"b": "2"}, 9)

    def test_what_is_left_out_stays(self, api: Api, spec: dict[str, Any]) -> None:
        job = api.submit(spec, name="old", priority=3)
        assert api.patch(job["links"]["self"], json={"name": None}).json()["name"] is None
        assert api.get(job["links"]["self"]).json()["priority"] == 3

    def test_nothing_to_change_keeps_the_version(self, api: Api, spec: dict[str, Any]) -> None:
        job = api.submit(spec)
        assert api.patch(job["links"]["self"], json={}).json()["version"] == 1

    def test_precondition(self, api: Api, spec: dict[str, Any]) -> None:
        path = api.submit(spec)["links"]["self"]
        etag = api.get(path).headers["etag"]
        assert api.patch(path, json={"name": "a"}, headers={"If-Match": etag}).status_code == 200
        late = api.patch(path, json={"name": "b"}, headers={"If-Match": etag})
        assert (late.status_code, late.json()["code"]) == (412, "precondition_failed")
        assert api.patch(path, json={"name": "c"}, headers={"If-Match": "*"}).status_code == 200
        assert api.patch(path, json={"name": "d"}, headers={"If-Match": "abc"}).status_code == 400

    @pytest.mark.parametrize("body", [{"spec": {}}, {"status": "succeeded"}, {"priority": 10}, {"labels": None}])
    def test_nothing_else_can_be_changed(self, api: Api, spec: dict[str, Any], body: dict[str, Any]) -> None:
        path = api.submit(spec)["links"]["self"]
        assert api.patch(path, json=body).status_code == 422
        assert api.get(path).json()["version"] == 1


class TestDelete:
    def test_hides_the_job_and_its_files(self, api: Api, spec: dict[str, Any]) -> None:
        job = api.submit(spec)
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
        api.force(job["id"], status="succeeded")
        assert api.delete(job["links"]["self"]).status_code == 204
        assert api.get(job["links"]["self"]).status_code == 404
        assert api.get("/v1/jobs").json()["data"] == []
        assert api.delete(job["links"]["self"]).status_code == 404
        with api.database.read() as session:
            assert session.scalars(select(Artifact.state)).one() == "deleted"

    @pytest.mark.parametrize("state", ["queued", "running", "pausing", "paused", "cancelling"])
    def test_not_before_it_has_ended(self, api: Api, spec: dict[str, Any], state: str) -> None:
        job = api.submit(spec)
        api.force(job["id"], status=state)
        response = api.delete(job["links"]["self"])
        assert (response.status_code, response.json()["code"]) == (409, "illegal_transition")
        assert "delete" not in response.json()["allowed"]


class TestCheckpoints:
    def test_saved_states_are_listed_newest_first(self, api: Api, spec: dict[str, Any]) -> None:
        job_id = api.submit(spec)["id"]
        assert api.get(f"/v1/jobs/{job_id}/checkpoints").json()["data"] == []
        with api.database.write() as session:
            for step in (5, 10):
                saved = SavedCheckpoint(step, f"{step:064x}", 100 + step)
                checkpoints.add(session, job_id, 1, 0, saved, None, {"loss": 1 / step})
        found = api.get(f"/v1/jobs/{job_id}/checkpoints").json()["data"]
        assert [(one["step"], one["size"], one["metrics"]) for one in found] == [
            (10, 110, {"loss": 0.1}), (5, 105, {"loss": 0.2}),
        ]  # fmt: skip
        assert api.get("/v1/jobs/job_01m7wewc2pfn6v37mwaesxmpy7/checkpoints").status_code == 404


class TestRequiredVersions:
    def test_a_change_without_a_version_is_refused_where_the_setting_says_so(
        self, api: Api, spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = api.submit(spec)
        assert api.patch(f"/v1/jobs/{job['id']}", json={"name": "a"}).status_code == 200
        strict = api.settings.model_copy(update={"require_if_match": True})
        monkeypatch.setattr(api.state, "settings", strict)
        refused = api.patch(f"/v1/jobs/{job['id']}", json={"name": "b"})
        assert (refused.status_code, refused.json()["code"]) == (428, "precondition_required")
        assert "send the ETag" in refused.json()["detail"]
        etag = api.get(f"/v1/jobs/{job['id']}").headers["ETag"]
        assert api.patch(f"/v1/jobs/{job['id']}", json={"name": "b"}, headers={"If-Match": etag}).status_code == 200
