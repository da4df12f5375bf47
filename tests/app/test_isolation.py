"""What one tenant has does not exist for another, on every route that takes an identifier."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from app.core.security import Scope
from app.core.tables import clock
from app.metrics import repository as metrics
from app.models.artifacts import Artifact, Blob
from app.models.datasets import Dataset, DatasetFile
from app.models.scores import Score
from app.models.studies import Study

if TYPE_CHECKING:
    from tests.app.conftest import Api

QUERIES = {"/v1/jobs/{job_id}/metrics:query": "?key=loss"}
BODIES: dict[str, Any] = {
    "patch /v1/jobs/{job_id}": {"name": "mine now"},
    "post /v1/datasets/{dataset_id}:ingest": {},
    "post /v1/jobs/{job_id}:extend": {"iterations": 5},
    "patch /v1/members/{member_id}": {"role": "viewer"},
    "patch /v1/webhooks/{webhook_id}": {"description": "mine now"},
}
SHARED = {"/problems/{code}", "/v1/presets/{name}"}
"""Routes with a parameter that names nothing of a tenant's."""
OF_OPERATORS = {
    "/v1/tenants/{tenant_id}", "/v1/tenants/{tenant_id}/usage",
    *(f"/v1/workers/{{worker_id}}:{verb}" for verb in ("cordon", "drain", "uncordon")),
}  # fmt: skip
"""Routes that only the operator of the service may use, who sees every tenant."""

MADE_UP = {
    "job": "job_01m7wewc2pfn6v37mwaesxmpy7",
    "artifact": "art_01m7wewc2pfn6v37mwaesxmpy7",
    "study": "study_01m7wewc2pfn6v37mwaesxmpy7",
}


@pytest.fixture
def owned(api: Api, spec: dict[str, Any]) -> dict[str, str]:
    """One thing of each kind that belongs to the default tenant."""
    job_id = api.submit(spec)["id"]
    digest = "ab" * 32
    artifact_id = "art_01m7wewc2pfn6v37mwaesxmpy7"
    with api.database.write() as session:
        session.add(Blob(sha256=digest, size=3))
        session.flush()
        session.add(
            Artifact(
                id=artifact_id,
                tenant_id="default",
                job_id=job_id,
                attempt=1,
                fence=1,
                kind="preview",
                name="preview.png",
                media_type="image/png",
                sha256=digest,
                size=3,
                state="ready",
            )
        )
        metrics.ingest(session, job_id, "default", [(1, 1, "loss", 0.5)])
        dataset_id = "set_01m7wewc2pfn6v37mwaesxmpy7"
        session.add(
            Dataset(
                id=dataset_id, tenant_id="default", name="mine", file="mine.zip", options={}, size=3, received=3,
                version=1, content_id="ds_0123456789abcdef0123", report={}, stored=3,
            )
        )  # fmt: skip
        score_id = "score_01m7wewc2pfn6v37mwaesxmpy7"
        request: dict[str, Any] = {"recipe": {}, "values": None, "ipc": None, "envelope": {}}
        session.add(
            Score(id=score_id, tenant_id="default", file="set.npz", dataset="digits", request=request, received=0)
        )
        study_id = "study_01m7wewc2pfn6v37mwaesxmpy7"
        session.add(
            Study(
                id=study_id, tenant_id="default", labels={}, priority=4, spec={}, refused=[], status="succeeded",
                finished_at=clock(),
            )
        )  # fmt: skip
        session.flush()
        session.add(DatasetFile(dataset_id=dataset_id, name="samples.png", sha256=digest, size=3))
    key_id = api.get("/v1/me").json()["key_id"]
    member_id = api.post("/v1/members", json={"email": "ada@example.org"}).json()["id"]
    webhook_id = api.post("/v1/webhooks", json={"url": "https://hooks.example.org/"}).json()["id"]
    delivery_id = api.post(f"/v1/webhooks/{webhook_id}:test").json()["id"]
    others = {
        "webhook_id": webhook_id,
        "delivery_id": delivery_id,
        "dataset_id": dataset_id,
        "score_id": score_id,
        "name": "samples.png",
        "member_id": member_id,
    }
    return {"job_id": job_id, "artifact_id": artifact_id, "key_id": key_id, "study_id": study_id, **others}


def routes(api: Api) -> Iterator[tuple[str, str]]:
    """Every documented route with a parameter in its path."""
    for path, operations in api.get("/openapi.json").json()["paths"].items():
        if "{" in path and path not in SHARED | OF_OPERATORS:
            yield from ((method, path) for method in operations)


def test_every_route_with_an_id_hides_other_tenants_things(
    api: Api, rival: Api, owned: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = 0
    for method, path in routes(api):
        names = re.findall(r"{(\w+)}", path)
        assert set(names) <= set(owned), f"{path}: say here what a tenant owns of this kind"
        address = path.format(**owned) + QUERIES.get(path, "")
        options = {"json": BODIES[f"{method} {path}"]} if f"{method} {path}" in BODIES else {}
        response = rival.request(method.upper(), address, **options)
        assert response.status_code == 404, (method, path, response.text)
        assert response.headers["content-type"] == "application/problem+json"
        checked += 1
    assert checked >= 15
    job = api.get(f"/v1/jobs/{owned['job_id']}").json()
    assert (job["status"], job["version"], job["name"]) == ("queued", 1, None)


def test_the_owner_is_answered_on_the_same_routes(api: Api, owned: dict[str, str]) -> None:
    """Else the test above would pass for addresses that do not exist at all."""
    for path in (
        "/v1/jobs/{job_id}",
        "/v1/jobs/{job_id}/events",
        "/v1/jobs/{job_id}/metrics",
        "/v1/jobs/{job_id}/artifacts",
    ):
        assert api.get(path.format(**owned)).status_code == 200, path


def test_only_operators_see_tenants(api: Api, rival: Api) -> None:
    documented = api.get("/openapi.json").json()["paths"]
    for path in OF_OPERATORS | {"/v1/tenants"}:
        for method in documented[path]:
            response = rival.request(
                method.upper(), path.format(tenant_id="default", worker_id="wrk_1"), json={"id": "theirs"}
            )
            assert (response.status_code, response.json()["code"]) == (403, "forbidden"), (method, path)


def test_lists_show_only_what_is_ones_own(api: Api, rival: Api, owned: dict[str, str]) -> None:
    for path in ("/v1/jobs", "/v1/api-keys", "/v1/members", "/v1/webhooks", "/v1/scores", "/v1/audit"):
        mine = {item["id"] for item in api.get(path).json()["data"]}
        theirs = {item["id"] for item in rival.get(path).json()["data"]}
        assert not mine & theirs
    assert rival.get("/v1/jobs").json()["data"] == []
    assert rival.get(f"/v1/metrics:compare?job={owned['job_id']}&key=loss").status_code == 404


def test_counts_are_ones_own(rival: Api, owned: dict[str, str]) -> None:
    assert rival.get("/v1/me").json()["unfinished_jobs"] == 0


def test_every_route_needs_a_key(api: Api) -> None:
    """All but the few that say nothing about anybody."""
    stranger = api.acting_as(None)
    open_to_all = {"/healthz", "/readyz", "/problems", "/problems/{code}"}
    checked = 0
    for path, operations in api.get("/openapi.json").json()["paths"].items():
        for method in operations:
            address = re.sub(r"{(job|artifact|study)_id}", lambda m: MADE_UP[m[1]], path)
            address = address.replace("{key_id}", "key_00000000").replace("{code}", "internal").replace("{name}", "x")
            response = stranger.request(method.upper(), address)
            if path in open_to_all:
                assert response.status_code == 200, path
                continue
            checked += 1
            if response.status_code != 401:
                # A missing body or parameter may be found first; it tells nothing about anybody's things.
                assert response.json()["code"] in ("invalid", "invalid_parameter"), (method, path, response.text)
    assert checked >= 20


@pytest.mark.parametrize(
    ("scope", "method", "path"),
    [
        (Scope.JOBS_READ, "POST", "/v1/jobs/{job_id}:cancel"),
        (Scope.JOBS_READ, "DELETE", "/v1/jobs/{job_id}"),
        (Scope.JOBS_READ, "GET", "/v1/artifacts/{artifact_id}/content"),
        (Scope.JOBS_READ, "GET", "/v1/api-keys"),
        (Scope.JOBS_READ, "GET", "/v1/workers"),
        (Scope.JOBS_READ, "GET", "/metrics"),
        (Scope.JOBS_WRITE, "GET", "/v1/jobs/{job_id}"),
        (Scope.JOBS_WRITE, "DELETE", "/v1/api-keys/{key_id}"),
        (Scope.ARTIFACTS_READ, "GET", "/v1/jobs"),
    ],
)
def test_scope_is_needed(api: Api, owned: dict[str, str], scope: Scope, method: str, path: str) -> None:
    limited = api.acting_as(api.key("default", (scope,)))
    response = limited.request(method, path.format(**owned))
    assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    assert scope in response.json()["detail"]
