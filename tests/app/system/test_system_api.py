from __future__ import annotations

import base64
import hashlib
import re
import shutil
import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text, update

from app.core.tables import clock
from app.models.fleet import RECONCILING, Leader, Worker
from app.queue import fleet
from app.system.readiness import BrokerProbe
from ddcore.version import __version__

if TYPE_CHECKING:
    from tests.app.conftest import Api

BACKENDS = ("sqlite", "postgres")


@pytest.fixture
def worker(api: Api) -> str:
    """A worker that is alive."""
    with api.database.write() as session:
        session.add(
            Worker(
                id="wrk_1",
                name="gpu0@host",
                host="host",
                pid=7,
                device_class="cuda",
                facts={"device": "H200"},
                state="idle",
            )
        )
    return "wrk_1"


@pytest.fixture
def reconciler(api: Api) -> None:
    """A reconciler at work."""
    with api.database.write() as session:
        assert fleet.lead(session, RECONCILING, "rec_1", 60.0)


class TestHealth:
    def test_is_alive(self, api: Api) -> None:
        assert api.acting_as(None).get("/healthz").json() == {"status": "ok", "version": __version__}

    def test_without_workers_is_degraded(self, api: Api) -> None:
        response = api.acting_as(None).get("/readyz")
        assert (response.status_code, response.json()["status"]) == (200, "degraded")
        assert response.json()["checks"]["workers"] == "0 alive: jobs stay queued until one starts"

    def test_with_worker_and_reconciler_is_ready(self, api: Api, worker: str, reconciler: None) -> None:
        assert api.acting_as(None).get("/readyz").json()["status"] == "ready"

    def test_a_dead_reconciler(self, api: Api, worker: str, reconciler: None) -> None:
        with api.database.write() as session:
            session.execute(update(Leader).values(lease_until=clock(-1)))
        found = api.acting_as(None).get("/readyz").json()
        assert found["status"] == "degraded"
        assert found["checks"]["reconciler"].startswith("not running: jobs of workers that died stay as they are")

    def test_a_full_disk(self, api: Api, worker: str, reconciler: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5_000_000))
        found = api.acting_as(None).get("/readyz").json()
        assert found["status"] == "degraded"
        assert found["checks"]["disk"] == "5 MB free: submissions and results fail once nothing is left"

    def test_a_dead_broker(self, api: Api, worker: str, reconciler: None, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            address = f"redis://127.0.0.1:{closed.getsockname()[1]}/0"
            probe = BrokerProbe(api.settings.model_copy(update={"broker_url": address}))
            monkeypatch.setattr(api.state, "broker_probe", probe)
            found = api.acting_as(None).get("/readyz").json()
        assert found["status"] == "degraded"
        assert found["checks"]["broker"].startswith("does not answer: jobs are taken, and start once it is back")

    def test_dead_worker_does_not_count(self, api: Api, worker: str) -> None:
        with api.database.write() as session:
            session.execute(update(Worker).values(heartbeat_at=clock(-api.settings.lease_s - 1)))
        assert api.acting_as(None).get("/readyz").json()["status"] == "degraded"

    def test_wrong_schema_is_unavailable(self, api: Api) -> None:
        with api.database.write() as session:
            before = session.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
            session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        try:
            response = api.acting_as(None).get("/readyz")
        finally:
            with api.database.write() as session:
                session.execute(text("UPDATE alembic_version SET version_num = :before"), {"before": before})
        assert (response.status_code, response.json()["status"]) == (503, "unavailable")
        assert "newer version" in response.json()["checks"]["database"]


class TestWorkers:
    def test_lists_the_living(self, api: Api, worker: str) -> None:
        (found,) = api.get("/v1/workers").json()["data"]
        assert (found["id"], found["device_class"], found["facts"]) == (worker, "cuda", {"device": "H200"})

    def test_shows_only_ones_own_job(self, api: Api, rival: Api, worker: str, spec: dict[str, Any]) -> None:
        job_id = api.submit(spec)["id"]
        with api.database.write() as session:
            session.execute(update(Worker).values(job_id=job_id))
        assert api.get("/v1/workers").json()["data"][0]["job_id"] == job_id
        assert rival.get("/v1/workers").json()["data"][0]["job_id"] is None


def test_prometheus_gauges(api: Api, worker: str, spec: dict[str, Any]) -> None:
    api.submit(spec)
    lines = api.get("/metrics").text.splitlines()
    assert 'dd_jobs{status="queued"} 1.0' in lines
    assert 'dd_jobs{status="running"} 0.0' in lines
    assert 'dd_workers{device_class="cuda",state="idle"} 1.0' in lines


class TestDocumentation:
    def test_page_asks_nobody_else_and_runs_under_its_policy(self, api: Api) -> None:
        response = api.acting_as(None).get("/docs")
        page, policy = response.text, response.headers["content-security-policy"]
        assert not re.findall(r"(?:src|href)=\"(?:https?:)?//", page)
        for address in re.findall(r"(?:src|href)=\"([^\"]+)\"", page):
            assert api.acting_as(None).get(address).status_code == 200, address
        for script in re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL):
            digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in policy
        assert "unsafe-eval" not in policy

    def test_every_reference_leads_somewhere(self, api: Api) -> None:
        document = api.get("/openapi.json").json()
        schemas = document["components"]["schemas"]

        def references(node: Any) -> set[str]:
            if isinstance(node, dict):
                own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
                return own.union(*(references(value) for value in node.values()))
            return set().union(*(references(item) for item in node)) if isinstance(node, list) else set()

        found = references(document)
        assert "#/components/schemas/JobSubmission" in found
        assert "#/components/schemas/ProblemDocument" in found
        assert {name.removeprefix("#/components/schemas/") for name in found} <= set(schemas)

    def test_every_operation_is_described(self, api: Api) -> None:
        for path, operations in api.get("/openapi.json").json()["paths"].items():
            for method, operation in operations.items():
                assert operation["summary"], (method, path)
                assert operation.get("description"), (method, path)

    def test_failures_are_documented_as_what_they_are(self, api: Api) -> None:
        document = api.get("/openapi.json").json()
        assert "HTTPValidationError" not in document["components"]["schemas"]
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                kinds = operation["responses"]["default"]["content"]
                assert list(kinds) == ["application/problem+json"], (method, path)

    def test_submission_schema_has_both_spellings(self, api: Api) -> None:
        schema = api.get("/openapi.json").json()["components"]["schemas"]["JobSubmission"]["properties"]
        assert {"dataset", "ipc", "method", "preset", "name", "labels", "priority", "limits"} <= set(schema)
        assert {"dm", "random"} <= set(schema["method"]["oneOf"][0]["enum"])


class TestCordon:
    def test_a_cordoned_worker_claims_nothing_until_it_may_again(self, api: Api, worker: str) -> None:
        for verb, wanted, claims in (("cordon", "cordon", False), ("drain", "drain", False), ("uncordon", "run", True)):
            answer = api.post(f"/v1/workers/{worker}:{verb}")
            assert (answer.status_code, answer.json()["wanted"]) == (200, wanted), answer.text
            with api.database.read() as session:
                assert fleet.may_claim(session, worker) is claims
                assert bool(fleet.live_classes(session, 60)) is claims
                assert bool(fleet.idle_workers(session, 60)) is claims
                assert fleet.is_idle(session, worker) is claims
        acts = [entry["action"] for entry in api.get("/v1/audit", params={"object": worker}).json()["data"]]
        assert acts == ["worker.uncordon", "worker.drain", "worker.cordon"]

    def test_one_that_is_not_alive_is_not_found(self, api: Api, worker: str) -> None:
        assert api.post("/v1/workers/wrk_2:cordon").status_code == 404
        with api.database.write() as session:
            session.execute(update(Worker).values(state="stopped"))
        assert api.post(f"/v1/workers/{worker}:cordon").status_code == 404
