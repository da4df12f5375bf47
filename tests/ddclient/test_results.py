"""The results of a job, as the README reads them and by their fields."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ddclient import Client
from tests.ddclient.conftest import JOB_ID, FakeService, job_document

README = Path(__file__).parents[2] / "README.md"
SCORE = {"mean": 71.5, "std": 0.5, "networks": 2, "values": [71.0, 72.0]}
RESULTS: dict[str, Any] = {"accuracy": SCORE, "controls": {"random": {**SCORE, "mean": 60.0}}, "later": {"ece": 0.1}}


def test_the_line_of_the_readme_prints_plain_numbers(service: FakeService, client: Client, capsys: Any) -> None:
    service.on("GET", f"/v1/jobs/{JOB_ID}", job_document("succeeded", results=RESULTS))
    [line] = re.findall(r"^ +(print\(job\.results.*\))$", README.read_text("utf-8"), re.MULTILINE)
    eval(line, {"job": client.job(JOB_ID)})
    assert capsys.readouterr().out == f"{RESULTS['accuracy']} {RESULTS['controls']['random']}\n"


def test_fields_and_items_say_the_same(service: FakeService, client: Client) -> None:
    service.on("GET", f"/v1/jobs/{JOB_ID}", job_document("succeeded", results=RESULTS))
    results = client.job(JOB_ID).results
    assert results is not None
    assert results.accuracy is not None
    assert results.accuracy.mean == results["accuracy"]["mean"] == 71.5
    assert results == RESULTS


def test_a_job_under_way_has_none(service: FakeService, client: Client) -> None:
    service.on("GET", f"/v1/jobs/{JOB_ID}", job_document())
    assert client.job(JOB_ID).results is None
