"""Users' own sets as a resource: listed, named by jobs, taken in again, deleted."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sqlalchemy import select

from app.datasets import ingests
from app.models.datasets import DatasetFile, DatasetPart
from app.models.jobs import Job
from tests.app.datasets.conftest import Sets

if TYPE_CHECKING:
    from tests.app.conftest import Api

BACKENDS = ("sqlite", "postgres")


def spec(dataset: str, **fields: Any) -> dict[str, Any]:
    return {"dataset": dataset, "ipc": 1, "method": {"name": "dm", "iterations": 10}, **fields}


def refusal(api: Api, body: dict[str, Any]) -> str:
    answer = api.post("/v1/jobs", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid"), answer.text
    return str(answer.json()["detail"])


class TestAnnounce:
    @pytest.mark.parametrize(
        ("body", "named"),
        [
            ({"name": "a b", "file": "a.zip"}, "name"),
            ({"name": "ds_0123", "file": "a.zip"}, "name"),
            ({"name": "photos@2", "file": "a.zip"}, "name"),
            ({"name": "a", "file": "../a.zip"}, "file"),
            ({"name": "a", "file": ".."}, "file"),
            ({"name": "a", "file": "\u00e4" * 128 + ".zip"}, "file"),
            ({"name": "a", "file": "a\n.zip"}, "file"),
            ({"name": "a", "file": "\ud800.zip"}, "file"),
            ({"name": "a", "file": "a.zip", "size": 0}, "size"),
            ({"name": "a", "file": "a.zip", "sha256": "AB"}, "sha256"),
            ({"name": "a", "file": "a.zip", "options": {"size": 0}}, "size"),
            ({"name": "a", "file": "a.zip", "options": {"fit": "squeeze"}}, "fit"),
            ({"name": "a", "file": "a.zip", "options": {"test_split": 1.0}}, "test_split"),
            ({"name": "a", "file": "a.zip", "sizes": 3}, "sizes"),
            ({"name": "a"}, "file"),
        ],
    )
    def test_faults_are_named(self, api: Api, body: dict[str, Any], named: str) -> None:
        headers = {"Content-Type": "application/json"}
        answer = api.post("/v1/datasets", content=json.dumps(body), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
        assert any(named in fault["detail"] for fault in answer.json()["errors"]), answer.text

    def test_reading_keys_may_not(self, api: Api) -> None:
        from app.core.security import Scope

        reader = api.acting_as(api.key(scopes=(Scope.JOBS_READ,)))
        assert reader.post("/v1/datasets", json={"name": "a", "file": "a.zip"}).status_code == 403
        assert reader.get("/v1/datasets").status_code == 200


class TestReady:
    def test_document_report_and_files(self, sets: Sets) -> None:
        set_id = sets.ready()
        document = sets.get(set_id)
        assert (document["state"], document["version"], document["reference"]) == ("ready", 1, "photos@1")
        assert (document["shape"], document["classes"]) == ([3, 8, 8], ["cat", "dog"])
        assert (document["train_size"], document["test_size"], document["smallest_class"]) == (16, 4, 8)
        assert (document["upload"]["kept"], document["actions"]) == (False, ["delete"])
        report = sets.api.get(f"/v1/datasets/{set_id}/report").json()
        assert report["id"] == document["content_id"]
        files = sets.api.get(f"/v1/datasets/{set_id}/files").json()
        assert set(files) == {
            "dataset.json", "train-images.npy", "train-labels.npy", "test-images.npy", "test-labels.npy",
        }  # fmt: skip
        assert document["bytes"] == sum(file["size"] for file in files.values())
        content = sets.api.get(f"/v1/datasets/{set_id}/files/train-images.npy").content
        assert np.load(io.BytesIO(content)).shape == (16, 3, 8, 8)

    def test_before_that_there_is_no_report(self, sets: Sets) -> None:
        set_id = sets.uploaded()
        for path in ("report", "samples.png", "files/train-images.npy"):
            answer = sets.api.get(f"/v1/datasets/{set_id}/{path}")
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")

    def test_versions_count_by_name_and_are_never_given_twice(self, sets: Sets) -> None:
        first, second, other = sets.ready(), sets.ready(per_class=11), sets.ready("faces")
        assert [sets.get(one)["reference"] for one in (first, second, other)] == ["photos@1", "photos@2", "faces@1"]
        sets.api.delete(f"/v1/datasets/{second}")
        assert sets.get(sets.ready())["reference"] == "photos@3"


class TestList:
    def test_own_sets_first_then_the_others(self, sets: Sets) -> None:
        (sets.api.settings.data_root / "mine").mkdir(parents=True)
        old, new = sets.ready("faces"), sets.announce("photos")
        found = sets.api.get("/v1/datasets").json()["data"]
        assert [item["id"] for item in found[:2]] == [new, old]
        assert [item["state"] for item in found[:2]] == ["receiving", "ready"]
        assert {"digits", "cifar10", "mine"} <= {item["name"] for item in found[2:]}
        assert all(item["id"] is None for item in found[2:])

    def test_pages(self, sets: Sets) -> None:
        made = [sets.announce(f"set{number}") for number in range(5)]
        seen: list[str] = []
        cursor: str | None = None
        while True:
            page = sets.api.get("/v1/datasets?limit=2" + (f"&cursor={cursor}" if cursor else "")).json()
            seen += [item["id"] for item in page["data"] if item["id"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
            assert all(item["id"] for item in page["data"])
        assert seen == made[::-1]
        assert any(item["name"] == "digits" for item in page["data"])

    def test_by_name(self, sets: Sets) -> None:
        sets.ready("faces")
        sets.ready("photos")
        names = [item["name"] for item in sets.api.get("/v1/datasets?name=faces").json()["data"]]
        assert names == ["faces"]
        assert [item["name"] for item in sets.api.get("/v1/datasets?name=digits").json()["data"]] == ["digits"]

    def test_an_own_set_hides_the_built_in_one_of_its_name(self, sets: Sets) -> None:
        set_id = sets.ready("digits")
        found = [item for item in sets.api.get("/v1/datasets").json()["data"] if item["name"] == "digits"]
        assert [item["id"] for item in found] == [set_id]


class TestJobs:
    def test_the_newest_version_is_pinned(self, sets: Sets) -> None:
        first = sets.ready()
        job = sets.api.submit(spec("photos"))
        assert (job["spec"]["dataset"], job["dataset_id"]) == ("photos@1", first)
        second = sets.ready(per_class=12)
        assert sets.api.submit(spec("photos"))["dataset_id"] == second
        assert sets.api.submit(spec("photos@1"))["dataset_id"] == first
        assert sets.api.submit(spec(sets.get(second)["content_id"]))["spec"]["dataset"] == "photos@2"
        clone = sets.api.post(f"/v1/jobs/{job['id']}:clone").json()
        assert (clone["spec"]["dataset"], clone["dataset_id"]) == ("photos@1", first)

    def test_it_goes_before_what_else_has_its_name(self, sets: Sets) -> None:
        set_id = sets.ready("digits")
        job = sets.api.submit(spec("digits"))
        assert (job["spec"]["dataset"], job["dataset_id"]) == ("digits@1", set_id)

    def test_facts_are_the_sets_own(self, sets: Sets) -> None:
        sets.ready("cifar10")
        assert "smallest class of cifar10 has 8" in refusal(sets.api, spec("cifar10", ipc=9))
        found = sets.api.post("/v1/jobs:validate", json=spec("cifar10", ipc=2)).json()
        assert found["spec"]["dataset"] == "cifar10@1"
        assert found["estimate"]["distilled_bytes"] == 2 * 2 * 3 * 8 * 8 * 4

    def test_others_have_it_not(self, sets: Sets, rival: Api) -> None:
        identity = sets.get(sets.ready())["content_id"]
        for name in ("photos", "photos@1", identity):
            assert "unknown dataset" in refusal(rival, spec(name))

    def test_the_reason_that_ingest_knows(self, sets: Sets) -> None:
        set_id = sets.announce()
        assert "not complete" in refusal(sets.api, spec("photos"))
        sets.put(set_id, b"no zip at all")
        assert "photos is queued" in refusal(sets.api, spec("photos"))
        sets.fail(set_id, "cats/1.png: not a readable image")
        detail = refusal(sets.api, spec("photos"))
        assert detail == "photos could not be taken in: cats/1.png: not a readable image"

    def test_unknown_names_get_a_hint(self, sets: Sets) -> None:
        sets.ready()
        assert "did you mean 'photos'" in refusal(sets.api, spec("photo"))
        assert "there is no photos@9; there is photos@1" in refusal(sets.api, spec("photos@9"))
        assert "there is no photos@x" in refusal(sets.api, spec("photos@x"))

    def test_every_fault_at_once(self, sets: Sets) -> None:
        answer = sets.api.post("/v1/jobs", json={**spec("nothing"), "priority": 99})
        assert {fault["pointer"] for fault in answer.json()["errors"]} == {"/dataset", "/priority"}


class TestIngestJobs:
    def test_they_stay_out_of_the_list_unless_asked_for(self, sets: Sets, spec: dict[str, Any]) -> None:
        set_id, job = sets.uploaded(), sets.api.submit(spec)
        assert [item["id"] for item in sets.api.get("/v1/jobs").json()["data"]] == [job["id"]]
        (found,) = sets.api.get("/v1/jobs?kind=ingest").json()["data"]
        assert (found["kind"], found["dataset_id"], found["id"]) == ("ingest", set_id, sets.get(set_id)["job"]["id"])
        assert found["limits"]["checkpoint_every_s"] is None

    def test_they_are_cancelled_like_others(self, sets: Sets) -> None:
        set_id = sets.uploaded()
        job_id = sets.get(set_id)["job"]["id"]
        assert sets.api.post(f"/v1/jobs/{job_id}:cancel").status_code == 200
        document = sets.get(set_id)
        assert (document["state"], document["actions"]) == ("cancelled", ["ingest", "delete"])

    def test_one_that_is_stopping_is_not_begun_anew(self, sets: Sets) -> None:
        set_id = sets.uploaded()
        job_id = sets.get(set_id)["job"]["id"]
        sets.api.force(job_id, status="running")
        assert sets.api.post(f"/v1/jobs/{job_id}:cancel").status_code == 202
        document = sets.get(set_id)
        assert (document["state"], document["actions"]) == ("cancelling", ["delete"])
        assert sets.api.post(f"/v1/datasets/{set_id}:ingest", json={}).status_code == 409

    @pytest.mark.parametrize("verb", [":clone", ""])
    def test_they_are_neither_copied_nor_deleted(self, sets: Sets, verb: str) -> None:
        set_id = sets.uploaded()
        sets.fail(set_id)
        path = f"/v1/jobs/{sets.get(set_id)['job']['id']}{verb}"
        answer = sets.api.post(path) if verb else sets.api.delete(path)
        assert (answer.status_code, answer.json()["allowed"]) == (409, ["retry"])

    def test_other_options_need_no_other_upload(self, sets: Sets) -> None:
        set_id = sets.uploaded()
        busy = sets.api.post(f"/v1/datasets/{set_id}:ingest", json={"options": {"size": 4}})
        assert (busy.status_code, busy.json()["allowed"]) == (409, ["delete"])
        sets.fail(set_id)
        first = sets.get(set_id)["job"]["id"]
        answer = sets.api.post(f"/v1/datasets/{set_id}:ingest", json={"options": {"size": 4}})
        assert (answer.status_code, answer.json()["state"]) == (202, "queued")
        assert answer.json()["options"]["size"] == 4
        assert sets.job(set_id).spec["options"]["size"] == 4
        outdated = sets.api.post(f"/v1/jobs/{first}:retry")
        assert (outdated.status_code, "otherwise" in outdated.json()["detail"]) == (422, True)

    def test_only_the_newest_one_makes_the_set(self, sets: Sets) -> None:
        set_id = sets.uploaded()
        sets.fail(set_id)
        old = sets.get(set_id)["job"]["id"]
        sets.api.post(f"/v1/datasets/{set_id}:ingest", json={})
        report = sets.complete(set_id)
        with sets.api.database.write() as session:
            assert ingests.complete(session, set_id, old, report, {}) is None


class TestDelete:
    def test_a_set_in_use_stays(self, sets: Sets) -> None:
        set_id = sets.ready()
        job = sets.api.submit(spec("photos"))
        answer = sets.api.delete(f"/v1/datasets/{set_id}")
        assert (answer.status_code, answer.json()["code"]) == (409, "dataset_in_use")
        assert answer.json()["jobs"] == [job["id"]]
        assert job["id"] in answer.json()["detail"]
        sets.api.post(f"/v1/jobs/{job['id']}:cancel")
        assert sets.api.delete(f"/v1/datasets/{set_id}").status_code == 204
        assert sets.api.get(f"/v1/datasets/{set_id}").status_code == 404
        assert "unknown dataset" in refusal(sets.api, spec("photos"))
        assert (sets.api.count(DatasetFile), sets.api.count(DatasetPart)) == (0, 0)

    def test_a_job_is_not_tried_again_on_a_deleted_set(self, sets: Sets) -> None:
        set_id = sets.ready()
        job_id = sets.api.submit(spec("photos"))["id"]
        sets.api.force(job_id, status="failed")
        sets.api.delete(f"/v1/datasets/{set_id}")
        answer = sets.api.post(f"/v1/jobs/{job_id}:retry")
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "dataset_deleted")
        assert sets.api.get(f"/v1/jobs/{job_id}").json()["status"] == "failed"

    @pytest.mark.parametrize(("status", "then"), [("queued", "cancelled"), ("running", "cancelling")])
    def test_what_takes_it_in_stops(self, sets: Sets, status: str, then: str) -> None:
        set_id = sets.uploaded()
        job_id = sets.get(set_id)["job"]["id"]
        sets.api.force(job_id, status=status)
        assert sets.api.delete(f"/v1/datasets/{set_id}").status_code == 204
        with sets.api.database.read() as session:
            assert session.scalars(select(Job.status).where(Job.id == job_id)).one() == then

    def test_a_set_deleted_between_reading_and_submitting(self, sets: Sets, monkeypatch: pytest.MonkeyPatch) -> None:
        """Reading a submission and queueing its job are two transactions."""
        from app.jobs.submitting import Submitter

        set_id, before = sets.ready(), Submitter.submit

        def submit(self: Submitter, request: Any, parent_id: str | None = None) -> Any:
            from app.datasets import repository

            repository.bury(self.session, set_id)
            return before(self, request, parent_id)

        monkeypatch.setattr(Submitter, "submit", submit)
        answer = sets.api.post("/v1/jobs", json=spec("photos"))
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "dataset_deleted")


def test_documents_are_json_that_says_no_path(sets: Sets) -> None:
    set_id = sets.ready()
    text = json.dumps([sets.get(set_id), sets.api.get(f"/v1/datasets/{set_id}/report").json()])
    assert str(sets.api.settings.home) not in text
