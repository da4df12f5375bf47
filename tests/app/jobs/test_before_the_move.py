"""The row of a job that version 0.1.0 ran, in today's job document and on today's page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from app.core.database import Database
from app.jobs.schemas import LastMetrics
from app.metrics.repository import ingest
from ddcore.spec.readings import EVERY_JOB

if TYPE_CHECKING:
    from tests.app.conftest import Api

BEFORE = Path(__file__).parents[2] / "fixtures" / "before_the_move"


@pytest.fixture
def answered() -> dict[str, Any]:
    """The job document that 0.1.0 answered."""
    document: dict[str, Any] = json.loads((BEFORE / "job.json").read_text("utf-8"))
    return document


@pytest.fixture
def job_id(database: Database, answered: dict[str, Any]) -> str:
    """The row, written column by column as it was stored."""
    row: dict[str, Any] = json.loads((BEFORE / "job_row.json").read_text("utf-8"))
    marks = ", ".join(f":{name}" for name in row)
    with database.write() as session:
        session.connection().exec_driver_sql(f"INSERT INTO jobs ({', '.join(row)}) VALUES ({marks})", row)
    last = dict(answered["last_metrics"])
    step = last.pop("at_step")
    with database.write() as session:
        ingest(session, row["id"], "default", [(step, 1_700_000_000_000, name, value) for name, value in last.items()])
    return str(row["id"])


def test_its_document_is_the_same(api: Api, job_id: str, answered: dict[str, Any]) -> None:
    document = api.get(f"/v1/jobs/{job_id}").json()
    assert document["last_metrics"].pop("loss_total") is None
    # Fields may be added, to the document, to its progress and to its links.
    for part in ("progress", "links"):
        document[part] = {name: document[part][name] for name in answered[part]}
    # Two verbs have come since; those of then are all there.
    assert document.pop("actions") == ["extend", "rerun", *answered.pop("actions")]
    assert {name: document[name] for name in answered} == answered
    assert json.dumps(document["results"]) == json.dumps(answered["results"])
    [listed] = api.get("/v1/jobs").json()["data"]
    assert listed["results"] == answered["results"]


def test_its_page_shows_the_scores(api: Api, job_id: str) -> None:
    text = api.get(f"/jobs/{job_id}").text
    for shown in ("11.1 ± 1.7 %", "random 12.2 ± 1.1 %", "mlp, width 16", "of log 10 = 2.303"):
        assert shown in text, shown


def test_openapi_describes_results(api: Api) -> None:
    schemas = api.get("/openapi.json").json()["components"]["schemas"]
    assert {"$ref": "#/components/schemas/Results"} in schemas["JobDocument"]["properties"]["results"]["anyOf"]
    assert schemas["Score"]["properties"]["mean"]["type"] == "number"


def test_the_document_shows_the_readings_of_every_job() -> None:
    assert set(LastMetrics.model_fields) == {*EVERY_JOB, "loss_total", "at_step"}
