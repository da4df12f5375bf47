"""Sets of others over REST: announced, sent in parts, queued, shown, stopped, deleted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, update

from app.artifacts import service as artifacts
from app.core.security import Scope
from app.models.jobs import Job
from app.models.keys import Tenant
from app.models.scores import Score, ScorePart
from app.scores import repository
from tests.app.datasets.conftest import Sets
from tests.app.scores.conftest import FILE, Scores

if TYPE_CHECKING:
    from tests.app.conftest import Api

BACKENDS = ("sqlite", "postgres")


def job_of(scores: Scores, score_id: str) -> Job:
    with scores.api.database.read() as session:
        return session.scalars(select(Job).where(Job.id == scores.get(score_id)["job"]["id"])).one()


def test_a_set_is_announced_sent_in_parts_and_queued(scores: Scores) -> None:
    recipe = {"evaluation": {"protocol": "dm"}, "network": "mlp", "seed": 7, "device": "cpu"}
    score_id = scores.announce(size=len(FILE), recipe=recipe, values="unit", name="theirs", priority=8)
    announced = scores.get(score_id)
    assert (announced["status"], announced["actions"], announced["job"]) == ("receiving", ["delete"], None)

    first = scores.put(score_id, FILE[:4], content_range=f"bytes 0-3/{len(FILE)}")
    assert (first.status_code, first.json()["upload"]["received"]) == (200, 4)
    again = scores.put(score_id, FILE[:4], content_range=f"bytes 0-3/{len(FILE)}")
    assert (again.status_code, again.json()["code"], again.json()["received"]) == (409, "upload_conflict", 4)
    last = scores.put(score_id, FILE[4:], content_range=f"bytes 4-{len(FILE) - 1}/{len(FILE)}")
    document = last.json()
    assert (last.status_code, document["status"], document["actions"]) == (202, "queued", ["cancel", "delete"])
    assert (document["recipe"], document["values"], document["results"]) == (recipe, "unit", None)

    job = job_of(scores, score_id)
    assert (job.kind, job.method, job.device_class, job.priority, job.name) == ("score", "score", "cpu", 8, "theirs")
    assert (job.spec["file"], job.spec["recipe"], job.spec["values"]) == ("set.npz", recipe, "unit")
    listed = scores.api.get("/v1/jobs?kind=score").json()["data"]
    assert [one["id"] for one in listed] == [job.id]
    assert scores.api.get("/v1/jobs").json()["data"] == []
    assert "clone" not in listed[0]["actions"]


def test_what_a_worker_found_is_shown_and_the_file_let_go_of(scores: Scores) -> None:
    score_id = scores.scored(61.0, ipc=3)
    document = scores.get(score_id)
    assert (document["status"], document["ipc"], document["sha256"]) == (
        "succeeded", 3, hashlib.sha256(FILE).hexdigest(),
    )  # fmt: skip
    assert (document["results"]["accuracy"]["mean"], document["results"]["bytes"]) == (62.0, 1234)
    assert (document["spec"]["ipc"], document["spec"]["method"]["name"]) == (3, "random")
    assert document["key_id"] == scores.api.get("/v1/me").json()["key_id"]
    assert (document["upload"]["kept"], scores.api.count(ScorePart)) == (False, 0)
    assert document["actions"] == ["delete"]
    store = scores.api.state.store
    with scores.api.database.write() as session:
        assert artifacts.collect(session, store, grace_s=-1) == 1


@pytest.mark.parametrize(
    ("fields", "pointer", "words"),
    [
        ({"dataset": "digit"}, "/dataset", "did you mean 'digits'"),
        ({"recipe": {"ipc": 3}}, "/recipe/ipc", "says how a set is made"),
        ({"recipe": {"evaluation": {"repeats": 0}}}, "/recipe/evaluation/repeats", "choose 1 to 100"),
        ({"recipe": {"evaluation": {"protocol": "dmm"}}}, "/recipe/evaluation/protocol", "did you mean 'dm'"),
        ({"recipe": {"evaluation": {"protocol": "mtt"}}}, "/recipe/evaluation/lr", "give `evaluation.lr`"),
        ({"values": "percent"}, "/values", "'unit', 'byte' or 'normalised'"),
        ({"ipc": 0}, "/ipc", "greater than or equal to 1"),
        ({"file": "a/b.npz"}, "/file", "without folders"),
        ({"recipe": {"network": "x" * 70_000}}, "/recipe", "the limit is 65536"),
        ({"colour": 1}, "/colour", ""),
    ],
)
def test_what_cannot_be_scored_is_refused_before_it_is_sent(
    scores: Scores, fields: dict[str, Any], pointer: str, words: str
) -> None:
    answer = scores.api.post("/v1/scores", json={"file": "set.npz", "dataset": "digits", **fields})
    assert answer.status_code == 422, answer.text
    faults = {fault["pointer"]: fault["detail"] for fault in answer.json()["errors"]}
    assert pointer in faults
    assert words in faults[pointer]
    assert scores.api.count(Score) == 0


def test_a_users_own_set_is_pinned_and_kept_while_it_is_needed(scores: Scores, tmp_path: Path) -> None:
    sets = Sets(scores.api, tmp_path)
    set_id = sets.ready("photos")
    score_id = scores.sent(dataset="photos")
    assert scores.get(score_id)["dataset"] == "photos@1"
    assert job_of(scores, score_id).dataset_id == set_id
    refused = scores.api.delete(f"/v1/datasets/{set_id}")
    assert (refused.status_code, refused.json()["code"]) == (409, "dataset_in_use")
    waiting = scores.announce(dataset="photos")
    scores.api.post(f"/v1/scores/{score_id}:cancel")
    assert scores.api.delete(f"/v1/datasets/{set_id}").status_code == 204
    late = scores.put(waiting)
    assert (late.status_code, late.json()["errors"][0]["pointer"]) == (422, "/dataset")


def test_a_score_is_cancelled_while_it_waits(scores: Scores) -> None:
    empty = scores.announce()
    refused = scores.api.post(f"/v1/scores/{empty}:cancel")
    assert (refused.status_code, refused.json()["allowed"]) == (409, ["delete"])
    score_id = scores.sent()
    answer = scores.api.post(f"/v1/scores/{score_id}:cancel")
    assert (answer.status_code, answer.json()["status"], answer.json()["actions"]) == (202, "cancelled", ["delete"])


def test_a_deleted_score_is_gone_with_its_job(scores: Scores) -> None:
    done, waiting = scores.scored(), scores.sent()
    jobs = [scores.get(one)["job"]["id"] for one in (done, waiting)]
    for one in (done, waiting):
        assert scores.api.delete(f"/v1/scores/{one}").status_code == 204
        assert scores.api.get(f"/v1/scores/{one}").status_code == 404
    assert [scores.api.get(f"/v1/jobs/{job}").status_code for job in jobs] == [404, 404]
    assert scores.api.count(ScorePart) == 0
    assert scores.api.get("/v1/leaderboard").json()["choices"] == []


def test_scores_are_listed_page_by_page(scores: Scores) -> None:
    made = [scores.announce() for _ in range(3)][::-1]
    other = scores.announce(dataset="cifar10")
    first = scores.api.get("/v1/scores?limit=2").json()
    assert [one["id"] for one in first["data"]] == [other, made[0]]
    rest = scores.api.get(f"/v1/scores?limit=2&cursor={first['next_cursor']}").json()
    assert ([one["id"] for one in rest["data"]], rest["next_cursor"]) == (made[1:], None)
    named = scores.api.get("/v1/scores?dataset=digits").json()["data"]
    assert [one["id"] for one in named] == made
    wrong = scores.api.get(f"/v1/scores?dataset=digits&cursor={first['next_cursor']}")
    assert (wrong.status_code, wrong.json()["code"]) == (400, "invalid_cursor")


def test_files_count_against_the_quota_of_bytes(scores: Scores) -> None:
    with scores.api.database.write() as session:
        session.execute(update(Tenant).where(Tenant.id == "default").values(max_dataset_bytes=len(FILE) + 5))
    announced = scores.api.post("/v1/scores", json={"file": "a.pt", "dataset": "digits", "size": len(FILE) + 6})
    assert (announced.status_code, announced.json()["code"]) == (413, "dataset_too_large")
    scores.sent()
    assert scores.api.get("/v1/usage").json()["dataset_bytes"]["used"] == len(FILE)
    over = scores.put(scores.announce())
    assert (over.status_code, over.json()["code"]) == (413, "dataset_too_large")
    assert scores.api.get("/v1/usage").json()["dataset_bytes"]["used"] == len(FILE)


def test_scores_count_against_the_quota_of_work(scores: Scores) -> None:
    with scores.api.database.write() as session:
        session.execute(update(Tenant).where(Tenant.id == "default").values(max_work_hours=1.0))
    body = {"file": "set.npz", "dataset": "digits"}
    unknown = scores.api.post("/v1/scores", json=body)
    assert (unknown.status_code, unknown.json()["code"]) == (429, "quota_exceeded")
    assert "`ipc` says not how many" in unknown.json()["detail"]
    score_id = scores.sent(ipc=1, recipe={"evaluation": {"epochs": 1, "repeats": 1}})
    expected = job_of(scores, score_id).expected_s
    assert expected is not None
    assert 0 < expected < 3600
    left = scores.api.get("/v1/usage").json()["work_hours"]["used"]
    assert left == pytest.approx(expected / 3600)


def test_too_many_unfinished_jobs_are_refused_and_the_file_kept(scores: Scores) -> None:
    score_id = scores.announce()
    with scores.api.database.write() as session:
        session.execute(update(Tenant).where(Tenant.id == "default").values(max_queued=0))
    refused = scores.put(score_id)
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
    assert scores.get(score_id)["upload"]["received"] == len(FILE)
    with scores.api.database.write() as session:
        session.execute(update(Tenant).where(Tenant.id == "default").values(max_queued=1))
    assert scores.put(score_id, b"", content_range=f"bytes */{len(FILE)}").status_code == 202


def test_uploads_that_nobody_goes_on_with_expire(scores: Scores) -> None:
    left, failed, waiting = scores.announce(), scores.sent(), scores.sent()
    scores.api.force(scores.get(failed)["job"]["id"], status="failed", error={"code": "data_error", "message": "no"})
    assert scores.get(failed)["error"]["message"] == "no"
    with scores.api.database.write() as session:
        assert repository.expire_uploads(session, 60) == 0
    with scores.api.database.write() as session:
        assert repository.expire_uploads(session, -1) == 2
    assert [scores.api.get(f"/v1/scores/{one}").status_code for one in (left, failed, waiting)] == [404, 404, 200]


def test_another_tenant_sees_nothing(scores: Scores, rival: Api, scores_of: Callable[[Api], Scores]) -> None:
    score_id = scores.scored()
    theirs = scores_of(rival)
    assert rival.get("/v1/scores").json()["data"] == []
    assert rival.get("/v1/leaderboard").json()["choices"] == []
    assert theirs.put(score_id).status_code == 404
    assert rival.post(f"/v1/scores/{score_id}:cancel").status_code == 404
    assert rival.delete(f"/v1/scores/{score_id}").status_code == 404
    assert scores.get(score_id)["status"] == "succeeded"


def test_a_key_that_may_only_look_may_not_send(scores: Scores) -> None:
    looking = scores.api.acting_as(scores.api.key("default", (Scope.JOBS_READ,)))
    assert looking.get("/v1/scores").status_code == 200
    assert looking.get("/v1/leaderboard").status_code == 200
    answer = looking.post("/v1/scores", json={"file": "set.npz", "dataset": "digits"})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
