"""Bodies of requests take what the description says, and nothing that merely looks like it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest

if TYPE_CHECKING:
    from tests.app.conftest import Api

JOB = {"dataset": "digits", "ipc": 1, "method": "random"}


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("/v1/jobs", {**JOB, "priority": "5"}, "/priority"),
        ("/v1/jobs", {**JOB, "seed": True}, "/seed"),
        ("/v1/jobs", {**JOB, "limits": {"ignore_estimate": 1}}, "/limits/ignore_estimate"),
        ("/v1/studies", {"base": JOB, "space": {"ipc": [1, 2]}, "budget": {"jobs": "2"}}, "/budget/jobs"),
        ("/v1/datasets", {"name": "photos", "file": "photos.zip", "size": "9"}, "/size"),
        ("/v1/datasets", {"name": "photos", "file": "photos.zip", "options": {"seed": False}}, "/options/seed"),
        ("/v1/tenants", {"id": "acme", "max_queued": True}, "/max_queued"),
        ("/v1/tenants", {"id": "acme", "weight": "2"}, "/weight"),
    ],
)
def test_a_text_or_a_boolean_is_no_number(api: Api, path: str, body: dict[str, Any], pointer: str) -> None:
    answer = api.post(path, json=body)
    assert answer.status_code == 422, answer.text
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]


def test_the_description_tells_what_routes_answer(api: Api) -> None:
    paths = api.get("/openapi.json").json()["paths"]

    def answers(method: str, path: str) -> Any:
        return paths[path][method]["responses"]

    for path in ("/v1/jobs/{job_id}:cancel", "/v1/studies/{study_id}:cancel"):
        assert {"200", "202"} <= answers("post", path).keys(), path
    assert {"200", "202"} <= answers("put", "/v1/datasets/{dataset_id}/content").keys()
    assert "307" in answers("get", "/v1/artifacts/{artifact_id}/content")
    types = {
        "/v1/jobs/{job_id}/bundle.zip": {"application/zip"},
        "/v1/jobs/{job_id}/preview.png": {"image/png"},
        "/v1/datasets/{dataset_id}/samples.png": {"image/png"},
    }
    for path, expected in types.items():
        assert answers("get", path)["200"]["content"].keys() == expected, path


@pytest.mark.parametrize("name", ["größe", "東京", "2_b.c-d"])
def test_names_of_sets_have_letters_of_any_script(api: Api, name: str) -> None:
    """Also by the description: what a JSON schema calls ``\\w`` is ASCII alone."""
    described = api.get("/openapi.json").json()["components"]["schemas"]["NewDataset"]["properties"]["name"]
    assert jsonschema_rs.is_valid(described, name)
    assert api.post("/v1/datasets", json={"name": name, "file": "a.zip"}).status_code == 201


def test_a_device_is_counted_in_ascii(api: Api) -> None:
    assert api.post("/v1/jobs:validate", json={**JOB, "device": "cuda:1"}).status_code == 200
    answer = api.post("/v1/jobs:validate", json={**JOB, "device": "cuda:\u0661"})
    assert [fault["pointer"] for fault in answer.json()["errors"]] == ["/device"]
