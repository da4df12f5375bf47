"""Pages of both databases: PostgreSQL keeps the keys of JSON objects by length, and pages must not show that."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from ddcore.spec import parse
from tests.app.conftest import Api
from tests.app.dashboard.conftest import RESULTS, SPEC, score
from tests.app.dashboard.page import Page
from tests.app.dashboard.sets import report

if TYPE_CHECKING:
    from tests.app.dashboard.sets import Sets

BACKENDS = ("sqlite", "postgres")
CONTROLS = {"full": score(95, 0.5), "best_coreset": score(84, 1), "herding": score(81, 1), "random": score(79, 1)}


def specification(page: Page) -> dict[str, object]:
    """The specification that a page shows, its keys as they stand there."""
    (block,) = re.findall(
        r'aria-label="(?:full specification|Specification)">(\{.*?\})</pre>', page.answer.text, re.DOTALL
    )
    found = json.loads(html.unescape(block))
    assert isinstance(found, dict)
    return found


def test_controls_of_a_job(api: Api, add_job: Callable[..., str]) -> None:
    spec = parse(SPEC).model_dump(mode="json")
    job_id = add_job(status="succeeded", spec=spec, results={**RESULTS, "controls": CONTROLS})
    for path in ("/", f"/jobs/{job_id}", f"/v1/jobs/{job_id}/report"):
        text = Page(api.get(path)).text
        places = [text.index(f"{mean}.0 ± ") for mean in (79, 81, 84, 95)]
        assert places == sorted(places), path


def test_the_specification_of_a_job(api: Api, add_job: Callable[..., str]) -> None:
    spec = parse(SPEC).model_dump(mode="json")
    job_id = add_job(status="succeeded", spec=spec, results=RESULTS)
    for path in (f"/jobs/{job_id}", f"/v1/jobs/{job_id}/report"):
        found = specification(Page(api.get(path)))
        assert json.dumps(found) == json.dumps(spec), path


def test_a_specification_of_another_version(api: Api, add_job: Callable[..., str]) -> None:
    spec = {**parse(SPEC).model_dump(mode="json"), "zeal": 1, "aim": {"of": 1, "name": "gone"}}
    job_id = add_job(status="failed", spec=dict(reversed(spec.items())), error=None)
    found = specification(Page(api.get(f"/jobs/{job_id}")))
    assert list(found)[:3] == ["dataset", "ipc", "method"]
    assert list(found)[-2:] == ["aim", "zeal"]
    assert json.dumps(found["aim"]) == '{"name": "gone", "of": 1}'


def test_differences_of_jobs_are_in_the_order_of_the_specification(api: Api, add_job: Callable[..., str]) -> None:
    others = {"seed": 1, "ipc": 3, "method": {"name": "dm", "iterations": 50}}
    ids = [add_job(spec=parse({**SPEC, **fields}).model_dump(mode="json")) for fields in ({}, others)]
    found = api.get("/v1/jobs:compare", params={"ids": ",".join(ids)}).json()["differences"]
    assert [field["path"] for field in found] == ["ipc", "method.iterations", "seed"]


def test_the_report_of_a_set(api: Api, sets: Sets) -> None:
    found = report(modes={"RGB": 20, "CMYK": 1, "I;16": 9}, ignored={"notes": 1, "a very long kind of file": 5})
    text = Page(api.get(f"/datasets/{sets.ready(found=found)}")).text
    assert "Class Training Scoring cat 17 4 dog 7 2" in text
    assert "RGB colour 20 I;16 grey of 16 bits 9 CMYK colour for print 1" in text
    assert "a very long kind of file 5 notes 1" in text


def test_labels_and_the_space_of_a_study(api: Api) -> None:
    body = {
        "base": {"dataset": "digits", "method": {"name": "dm", "iterations": 9}},
        "space": {"init": ["real", "noise"], "ipc": [1, 2], "augmentation": ["none", "color"]},
        "budget": {"jobs": 8}, "labels": {"team": "b", "longer": "a"},
    }  # fmt: skip
    made = api.post("/v1/studies", json=body)
    assert made.status_code == 201, made.text
    study = api.get(made.json()["links"]["self"]).json()
    assert study["trials"][1]["title"] == "augmentation none, init real, ipc 2"
    page = Page(api.get(f"/studies/{study['id']}"))
    assert "longer: a team: b" in page.text
    assert "augmentation × init × ipc" in page.text
    shown = page.text[page.text.index("The whole study as JSON") :]
    places = [shown.index(f'"{name}":') for name in ("base", "dataset", "method", "space", "objective", "budget")]
    assert places == sorted(places)
