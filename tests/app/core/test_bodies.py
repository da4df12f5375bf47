"""What no body may hold, on both databases."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.app.conftest import Api

BACKENDS = ("sqlite", "postgres")
JSON = {"Content-Type": "application/json"}
JOB = "/v1/jobs/job_01m7wewc2pfn6v37mwaesxmpy7"


@pytest.mark.parametrize("unkept", ["a\0b", "\ud800"])
@pytest.mark.parametrize(
    ("address", "body", "pointer"),
    [
        ("/v1/jobs", {"name": "X"}, "/name"),
        ("/v1/jobs", {"labels": {"a": "X"}}, "/labels/a"),
        ("/v1/jobs", {"method": {"name": "X"}}, "/method/name"),
        (f"{JOB}:cancel", {"reason": "X"}, "/reason"),
        (f"{JOB}:clone", {"overrides": {"network": [{"name": "X"}]}}, "/overrides/network/0/name"),
        ("/v1/api-keys", {"name": "X"}, "/name"),
        ("/v1/datasets", {"name": "X"}, "/name"),
        ("/v1/studies", {"base": {"dataset": "X"}}, "/base/dataset"),
    ],
)
def test_text_that_no_database_keeps(api: Api, address: str, body: Any, pointer: str, unkept: str) -> None:
    text = json.dumps(body).replace('"X"', json.dumps(unkept))
    response = api.post(address, content=text.encode(), headers=JSON)
    assert response.status_code == 422
    assert [fault["pointer"] for fault in response.json()["errors"]] == [pointer]


def test_a_name_that_no_database_keeps(api: Api) -> None:
    response = api.post("/v1/jobs", content=b'{"labels": {"a\\u0000": "b"}}', headers=JSON)
    assert response.json()["errors"][0] == {
        "pointer": "/labels", "code": "text",
        "detail": "a name in `labels` holds the character U+0000, which no text can have; leave it out",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"seed": 1, "seed": 2}', 'the key "seed" stands twice'),
        (b'{"method": {"name": "dm", "name": "idm"}}', 'the key "name" stands twice'),
    ],
)
def test_what_readers_understand_differently(api: Api, body: bytes, said: str) -> None:
    response = api.post("/v1/jobs", content=body, headers=JSON)
    assert (response.status_code, response.json()["code"]) == (400, "malformed_json")
    assert said in response.json()["detail"]


def test_a_deep_body_is_no_failure(api: Api) -> None:
    for depth in (500, 100_000):
        response = api.post("/v1/jobs", content=b'{"labels":' + b"[" * depth + b"]" * depth + b"}", headers=JSON)
        assert response.status_code in (400, 422)


def test_a_long_value_is_not_sent_back(api: Api, spec: dict[str, Any]) -> None:
    response = api.post("/v1/jobs", json={**spec, "labels": {"a": "ä" * 300_000}})
    assert response.status_code == 422
    assert len(response.content) < 4000
    assert "(300002 characters)" in response.text


@pytest.mark.parametrize("version", ["9" * 26, "²", "-1"])
def test_a_version_that_no_job_has(api: Api, spec: dict[str, Any], version: str) -> None:
    job = api.post("/v1/jobs", json=spec).json()["id"]
    response = api.patch(f"/v1/jobs/{job}", json={"priority": 1}, headers={"If-Match": f'"{version}"'.encode()})
    assert (response.status_code, response.json()["code"]) == (400, "invalid_parameter")
