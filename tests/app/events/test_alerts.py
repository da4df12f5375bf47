"""Alerts over all jobs of a tenant."""

from __future__ import annotations

from datetime import timedelta

from app.core.database import now
from app.events import alerts
from app.events import repository as events
from tests.app.conftest import Api

BACKENDS = ("sqlite", "postgres")


def test_alerts_of_all_jobs_since_a_moment(api: Api, rival: Api, spec: dict[str, object]) -> None:
    first, second = api.submit(spec)["id"], api.submit(spec)["id"]
    with api.database.write() as session:
        assert alerts.record(session, first, "plateau", "it is flat", {"lowest": 0.5})
        assert not alerts.record(session, first, "plateau", "it is flat", {"lowest": 0.4})
        assert alerts.record(session, second, "plateau", "it is flat", {"lowest": 0.3})
        events.append(session, first, "job.warning", "warning", "no alert", {})
    api.post(f"/v1/jobs/{second}:cancel")

    found = api.get("/v1/alerts").json()["data"]
    assert [(one["job_id"], one["rule"]) for one in found] == [
        (first, "plateau"), (second, "plateau"), (second, "finished"),
    ]  # fmt: skip
    assert found[0]["data"] == {"rule": "plateau", "lowest": 0.5}
    assert found[0]["at"].endswith("Z")
    flat = api.get("/v1/alerts", params={"rule": "plateau", "limit": 1}).json()["data"]
    assert [one["job_id"] for one in flat] == [second]

    with api.database.read() as session:
        later = now(session) + timedelta(seconds=60)
    assert api.get("/v1/alerts", params={"since": later.isoformat()}).json()["data"] == []
    assert rival.get("/v1/alerts").json()["data"] == []
    assert api.get("/v1/alerts", params={"since": "2026-01-01T00:00:00"}).status_code == 400
    assert api.get("/v1/alerts", params={"rule": "flat"}).status_code == 400
