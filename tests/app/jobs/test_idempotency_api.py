"""A submission that is repeated is not a second job."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from app.models.jobs import IdempotencyKey, Job

if TYPE_CHECKING:
    from tests.app.conftest import Api

BACKENDS = ("sqlite", "postgres")


class TestIdempotency:
    def test_a_deleted_job_is_not_answered(self, api: Api, spec: dict[str, Any]) -> None:
        headers = {"Idempotency-Key": "k1"}
        job_id = api.post("/v1/jobs", json=spec, headers=headers).json()["id"]
        api.post(f"/v1/jobs/{job_id}:cancel")
        api.delete(f"/v1/jobs/{job_id}")
        again = api.post("/v1/jobs", json=spec, headers=headers)
        assert (again.status_code, again.json()["code"]) == (410, "gone")
        assert api.post("/v1/jobs", json=spec, headers={"Idempotency-Key": "k2"}).status_code == 201

    def test_repetition_returns_the_first_answer(self, api: Api, spec: dict[str, Any]) -> None:
        headers = {"Idempotency-Key": "k1"}
        first = api.post("/v1/jobs", json=spec, headers=headers)
        api.post(f"/v1/jobs/{first.json()['id']}:pause")
        again = api.post("/v1/jobs", json=spec, headers=headers)
        assert (first.status_code, again.status_code) == (201, 200)
        assert again.headers["idempotent-replayed"] == "true"
        assert again.headers["location"] == first.headers["location"]
        assert again.content == first.content
        assert api.count(Job) == 1

    def test_spacing_and_order_do_not_matter(self, api: Api, spec: dict[str, Any]) -> None:
        kind = {"Idempotency-Key": "k1", "Content-Type": "application/json"}
        api.post("/v1/jobs", content=json.dumps(spec), headers=kind)
        turned = json.dumps(dict(reversed(spec.items())), indent=3)
        assert api.post("/v1/jobs", content=turned, headers=kind).status_code == 200

    def test_other_request_is_refused(self, api: Api, spec: dict[str, Any]) -> None:
        headers = {"Idempotency-Key": "k1"}
        api.post("/v1/jobs", json=spec, headers=headers)
        response = api.post("/v1/jobs", json={**spec, "ipc": 3}, headers=headers)
        assert (response.status_code, response.json()["code"]) == (422, "idempotency_mismatch")
        assert api.count(Job) == 1

    def test_faulty_request_is_not_remembered(self, api: Api, spec: dict[str, Any]) -> None:
        headers = {"Idempotency-Key": "k1"}
        assert api.post("/v1/jobs", json={**spec, "ipc": 0}, headers=headers).status_code == 422
        assert api.count(IdempotencyKey) == 0
        assert api.post("/v1/jobs", json=spec, headers=headers).status_code == 201

    def test_key_is_forgotten_after_its_time(self, api: Api, spec: dict[str, Any]) -> None:
        headers = {"Idempotency-Key": "k1"}
        api.post("/v1/jobs", json=spec, headers=headers)
        with api.database.write() as session:
            session.execute(update(IdempotencyKey).values(expires_at=IdempotencyKey.created_at))
        time.sleep(0.005)
        assert api.post("/v1/jobs", json=spec, headers=headers).status_code == 201
        assert api.count(Job) == 2

    def test_tenants_do_not_share_keys(self, api: Api, rival: Api, spec: dict[str, Any]) -> None:
        headers = {"Idempotency-Key": "k1"}
        mine = api.post("/v1/jobs", json=spec, headers=headers)
        theirs = rival.post("/v1/jobs", json=spec, headers=headers)
        assert (mine.status_code, theirs.status_code) == (201, 201)
        assert mine.json()["id"] != theirs.json()["id"]

    @pytest.mark.parametrize("key", ["", "x" * 256])
    def test_impossible_key_is_refused(self, api: Api, spec: dict[str, Any], key: str) -> None:
        response = api.post("/v1/jobs", json=spec, headers={"Idempotency-Key": key})
        assert (response.status_code, response.json()["code"]) == (400, "invalid_parameter")

    def test_fifty_at_once_make_one_job(self, api: Api, spec: dict[str, Any]) -> None:
        with ThreadPoolExecutor(16) as pool:
            answers = list(
                pool.map(lambda _: api.post("/v1/jobs", json=spec, headers={"Idempotency-Key": "k"}), range(50))
            )
        assert sorted({answer.status_code for answer in answers}) == [200, 201]
        assert [answer.status_code for answer in answers].count(201) == 1
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert api.count(Job) == 1
