"""Studies over HTTP, on both databases."""

from __future__ import annotations

import re
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from app.core.ids import pattern
from app.core.tables import clock
from app.models.datasets import Dataset
from app.models.jobs import Job
from app.models.keys import Tenant
from app.models.studies import Study
from app.studies.service import StudyService
from tests.app.studies.playing import play

if TYPE_CHECKING:
    from tests.app.conftest import Api

BACKENDS = ("sqlite", "postgres")
AUTOMATIC: dict[str, Any] = {"base": {"dataset": "digits", "ipc": 1, "method": "auto"}, "budget": {"minutes": 10}}


def make(api: Api, study: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A study that has to be accepted; its document."""
    response = api.post("/v1/studies", json={**study, **fields})
    assert response.status_code == 201, response.text
    document: dict[str, Any] = response.json()
    return document


class TestCreate:
    def test_answers_with_the_study(self, api: Api, study: dict[str, Any]) -> None:
        response = api.post("/v1/studies", json={**study, "name": "first", "labels": {"team": "a"}})
        assert response.status_code == 201, response.text
        made = response.json()
        assert re.match(pattern("study"), made["id"])
        assert response.headers["location"] == f"/v1/studies/{made['id']}" == made["links"]["self"]
        assert response.headers["etag"] == f'"{made["version"]}"'
        assert (made["status"], made["name"], made["labels"]) == ("running", "first", {"team": "a"})
        titles = [trial["title"] for trial in made["trials"]]
        assert titles[:3] == ["ipc 1, lr_img 0.5", "ipc 1, lr_img 1.5", "ipc 2, lr_img 0.5"]
        assert {trial["status"] for trial in made["trials"]} == {"waiting"}
        assert [rung["share"] for rung in made["rungs"]] == [1 / 9, 1 / 3, 1]
        assert made["full_grid_steps"] == 54
        assert made["ahead_minutes"] > 0
        assert made["actions"] == ["pause", "cancel"]
        assert api.get(made["links"]["self"]).json() == made

    def test_its_jobs_are_ordinary_ones(self, api: Api, study: dict[str, Any]) -> None:
        study["base"]["evaluation"] = {"epochs": 7}
        made = make(api, study, name="first", labels={"team": "a"}, seeds=[4, 5], budget={"jobs": 12})
        listed = api.get(made["links"]["jobs"]).json()["data"]
        assert len(listed) == 12
        job = api.get(f"/v1/jobs/{made['trials'][0]['jobs'][1]}").json()
        assert (job["study_id"], job["trial"], job["hold_at"], job["status"]) == (made["id"], 0, 1, "queued")
        assert (job["name"], job["labels"], job["priority"]) == ("first: ipc 1, lr_img 0.5, seed 5", {"team": "a"}, 4)
        assert job["links"]["study"] == made["links"]["self"]
        assert job["spec"]["seed"] == 5
        assert job["spec"]["evaluation"]["epochs"] == 7
        during = job["spec"]["evaluation"]["during"]
        assert {name: during[name] for name in ("at", "held_out", "networks", "epochs", "validation", "stop")} == {
            "at": [1, 3, 9], "held_out": True, "networks": 3, "epochs": 100, "validation": 0.1, "stop": None,
        }  # fmt: skip

    def test_a_repetition_makes_one(self, api: Api, study: dict[str, Any]) -> None:
        first = api.post("/v1/studies", json=study, headers={"Idempotency-Key": "k"})
        again = api.post("/v1/studies", json=study, headers={"Idempotency-Key": "k"})
        other = api.post("/v1/studies", json={**study, "seeds": [1]}, headers={"Idempotency-Key": "k"})
        assert (first.status_code, again.status_code, other.status_code) == (201, 200, 422)
        assert again.json() == first.json()
        assert again.headers["idempotent-replayed"] == "true"
        assert (api.count(Study), api.count(Job)) == (1, 6)

    def test_a_repetition_is_not_judged_again(
        self, api: Api, study: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = api.post("/v1/studies", json=study, headers={"Idempotency-Key": "k"})
        monkeypatch.setattr(StudyService, "plan", lambda *_: pytest.fail("it was judged"))
        again = api.post("/v1/studies", json=study, headers={"Idempotency-Key": "k"})
        assert (again.status_code, again.json()) == (200, first.json())

    def test_counts_against_the_quota(self, api: Api, study: dict[str, Any]) -> None:
        with api.database.write() as session:
            session.execute(update(Tenant).values(max_queued=5))
        response = api.post("/v1/studies", json=study)
        assert response.status_code == 429
        assert "ask for 6 more, and may have 5" in response.json()["detail"]
        assert (api.count(Study), api.count(Job)) == (0, 0)

    def test_presets_methods_and_iterations(self, api: Api, study: dict[str, Any]) -> None:
        base = {"dataset": "digits", "iterations": 30}
        made = make(api, study, base=base, space={"preset": ["quick/dm-digits", "quick/idm-digits"]})
        assert [(trial["title"], trial["iterations"]) for trial in made["trials"]] == [
            ("quick/dm-digits", 30), ("quick/idm-digits", 30)
        ]  # fmt: skip


class TestValidate:
    def test_says_what_would_be_tried(self, api: Api, study: dict[str, Any]) -> None:
        found = api.post("/v1/studies:validate", json=study).json()
        assert (found["points"], found["jobs"], len(found["trials"])) == (6, 6, 6)
        assert found["rungs"] == [[1] * 6, [3] * 6, [9] * 6]
        assert found["steps"] == 6 * 1 + 2 * 2 + 1 * 6
        assert found["full_grid_steps"] == 54
        assert found["minutes"] > 0
        assert found["spec"]["scoring"] == {"networks": 3, "epochs": 100, "validation": 0.1}
        assert api.count(Study) == 0

    def test_an_enormous_space_is_instant(self, api: Api, study: dict[str, Any]) -> None:
        study["base"]["ipc"] = 1
        study["space"] = {f"method.{name}": {"from": 1, "to": 1000, "count": 1000} for name in ("lr_img", "batch_real")}
        study["space"]["regularizers.mim.weight"] = {"from": 0.1, "to": 10, "count": 1000, "scale": "log"}
        begun = time.process_time()
        found = api.post("/v1/studies:validate", json={**study, "sampler": "random"})
        assert time.process_time() - begun < 3
        assert found.json()["points"] == 10**9
        refused = api.post("/v1/studies", json=study)
        assert "1,000,000,000 points, but `budget.jobs` is 6" in refused.json()["detail"]

    def test_lists_refused_points_by_reason(self, api: Api, study: dict[str, Any]) -> None:
        study["space"] = {"ipc": [1, 2, 10_001], "method.lr_img": [1, 2]}
        found = api.post("/v1/studies:validate", json=study).json()
        assert found["refused"] == [{"reason": "`ipc` is 10001, but must be at most 10000", "points": 2}]
        assert len(found["trials"]) == 4
        assert make(api, study)["refused"] == found["refused"]

    def test_warns(self, api: Api, study: dict[str, Any]) -> None:
        study["base"]["evaluation"] = {"during": {"every": 3}}
        study["scoring"] = {"networks": 1}
        text = " ".join(api.post("/v1/studies:validate", json=study).json()["warnings"])
        assert "`base.evaluation.during` gives way" in text
        assert "nothing tells chance from a difference" in text


class TestAutomatic:
    def test_has_a_space_of_its_own(self, api: Api) -> None:
        made = make(api, AUTOMATIC)
        titles = [trial["title"] for trial in made["trials"]]
        assert {"random", "herding", "k_center", "k_means"} < set(titles)
        assert any(trial["iterations"] for trial in made["trials"])

    def test_a_job_cannot_be_automatic(self, api: Api) -> None:
        response = api.post("/v1/jobs", json=AUTOMATIC["base"])
        assert response.status_code == 422
        assert "POST /v1/studies" in response.json()["detail"]

    def test_is_refused_with_what_it_lacks(self, api: Api) -> None:
        response = api.post("/v1/studies", json={**AUTOMATIC, "budget": {"jobs": 3}, "space": {"ipc": [1]}})
        assert {fault["pointer"] for fault in response.json()["errors"]} == {
            "/space",
            "/budget/minutes",
            "/budget/jobs",
        }


class TestRead:
    def test_waits_for_a_change(self, api: Api, study: dict[str, Any]) -> None:
        made = make(api, study)
        path = f"{made['links']['self']}?wait=20&version={made['version']}"
        timer = threading.Timer(0.3, lambda: api.post(f"/v1/studies/{made['id']}:pause"))
        timer.start()
        found = api.get(path).json()
        timer.join()
        assert found["status"] == "paused"
        assert found["version"] > made["version"]

    def test_an_unchanged_one_is_not_sent(self, api: Api, study: dict[str, Any]) -> None:
        made = make(api, study)
        response = api.get(made["links"]["self"], headers={"If-None-Match": f'"{made["version"]}"'})
        assert response.status_code == 304

    def test_pages(self, api: Api, study: dict[str, Any]) -> None:
        ids = [make(api, study)["id"] for _ in range(3)]
        first = api.get("/v1/studies?limit=2").json()
        assert [each["id"] for each in first["data"]] == ids[:0:-1]
        last = api.get(f"/v1/studies?limit=2&cursor={first['next_cursor']}").json()
        assert ([each["id"] for each in last["data"]], last["next_cursor"]) == (ids[:1], None)
        assert api.get("/v1/studies?status=paused").json()["data"] == []
        assert "did you mean 'running'" in api.get("/v1/studies?status=runing").json()["detail"]

    def test_is_nobody_elses(self, api: Api, rival: Api, study: dict[str, Any]) -> None:
        made = make(api, study)
        path = made["links"]["self"]
        assert rival.get("/v1/studies").json()["data"] == []
        answers = [rival.get(path), rival.delete(path), *(rival.post(f"{path}:{v}") for v in ("pause", "cancel"))]
        assert {answer.status_code for answer in answers} == {404}
        assert rival.get(made["links"]["jobs"]).json()["data"] == []


class TestJobsOfAStudy:
    def test_only_the_study_pauses_resumes_retries_and_deletes_them(self, api: Api, study: dict[str, Any]) -> None:
        made = make(api, study)
        job = made["trials"][0]["jobs"][0]
        answers = {verb: api.post(f"/v1/jobs/{job}:{verb}") for verb in ("pause", "resume", "retry")}
        answers["delete"] = api.delete(f"/v1/jobs/{job}")
        for verb, answer in answers.items():
            assert answer.status_code == 409, verb
            assert answer.json()["study_id"] == made["id"]
            assert made["id"] in answer.json()["detail"]
            assert answer.json()["allowed"] == ["cancel", "clone"] == api.get(f"/v1/jobs/{job}").json()["actions"]

    def test_a_copy_stands_alone(self, api: Api, study: dict[str, Any]) -> None:
        job = make(api, study)["trials"][0]["jobs"][0]
        copy = api.post(f"/v1/jobs/{job}:clone").json()
        assert (copy["study_id"], copy["hold_at"], copy["parent_id"]) == (None, None, job)
        assert copy["actions"] == ["cancel", "pause", "clone"]


class TestDelete:
    def test_takes_its_jobs_with_it(self, api: Api, study: dict[str, Any]) -> None:
        made = make(api, study)
        path = made["links"]["self"]
        refused = api.delete(path)
        assert (refused.status_code, refused.json()["allowed"]) == (409, ["pause", "cancel"])
        play(api, made["id"])
        assert api.delete(path).status_code == 204
        assert api.get(path).status_code == 404
        assert api.get(made["links"]["jobs"]).json()["data"] == []
        assert api.get(f"/v1/jobs/{made['trials'][0]['jobs'][0]}").status_code == 404


class TestRefusals:
    def faults(self, api: Api, study: dict[str, Any], **fields: Any) -> dict[str, str]:
        response = api.post("/v1/studies", json={**study, **fields})
        assert response.status_code == 422, response.text
        return {fault["pointer"]: fault["detail"] for fault in response.json()["errors"]}

    def test_every_point_is_refused(self, api: Api, study: dict[str, Any]) -> None:
        found = self.faults(api, study, space={"method.foo": [1, 2], "ipc": [1, 2]})
        assert list(found) == ["/base/method/foo"]
        assert "unknown field `foo`" in found["/base/method/foo"]

    def test_nothing_would_be_evaluated(self, api: Api, study: dict[str, Any]) -> None:
        study["base"]["evaluation"] = {"repeats": 0}
        assert "`evaluation.repeats` is 0" in self.faults(api, study)["/base/evaluation/repeats"]

    def test_a_budget_below_one_point(self, api: Api, study: dict[str, Any]) -> None:
        found = self.faults(api, study, seeds=[0, 1, 2], budget={"jobs": 2})
        assert "each point has 3 jobs" in found["/budget/jobs"]
        assert "equal to 1" in self.faults(api, study, budget={"jobs": 0})["/budget/jobs"]
        assert "`budget` is empty" in self.faults(api, study, budget={})["/budget"]

    def test_paths_that_a_study_does_not_search(self, api: Api, study: dict[str, Any]) -> None:
        found = self.faults(api, study, space={"seed": [1], "dataset": ["digits"], "evaluation.during.at": [[1]]})
        assert "list them in `seeds`" in found["/space/seed"]
        assert "do not compare" in found["/space/dataset"]
        assert "`scoring`" in found["/space/evaluation.during.at"]

    def test_unknown_fields(self, api: Api, study: dict[str, Any]) -> None:
        assert self.faults(api, study, sampeler="grid") == {"/sampeler": "unknown field `sampeler`"}

    def test_a_text_that_no_database_keeps(self, api: Api, study: dict[str, Any]) -> None:
        assert "U+0000" in " ".join(self.faults(api, study, space={"ipc": ["a\0"]}).values())

    def test_a_deleted_dataset(self, api: Api, study: dict[str, Any]) -> None:
        with api.database.write() as session:
            columns = {"id": "set_1", "tenant_id": "default", "name": "photos", "version": 1, "file": "photos.zip"}
            session.add(Dataset(**columns, options={}, content_id=f"ds_{0:020}", deleted_at=clock()))
        study["base"]["dataset"] = "photos"
        assert "unknown dataset 'photos'" in self.faults(api, study)["/base/dataset"]

    def test_an_objective_that_no_job_can_give(self, api: Api, study: dict[str, Any], settings: Any) -> None:
        # A folder whose images nobody has counted.
        (settings.data_root / "mystery" / "train").mkdir(parents=True)
        study["base"]["dataset"] = "mystery"
        found = self.faults(api, study, objective="accuracy_per_byte")
        assert "needs the size of mystery" in found["/objective"]
