"""Where a job comes from and what came of it, on its page and in the form that extends it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.app.dashboard.page import Page
from tests.app.dashboard.test_submit_pages import Form

if TYPE_CHECKING:
    from tests.app.conftest import Api

SCORE = {"mean": 71.25, "std": 0.5, "networks": 2, "values": [70.75, 71.75]}
BEFORE = {"mean": 80.5, "std": 0.25, "networks": 2, "values": [80.25, 80.75]}


def links(page: Page) -> set[str]:
    return {a["href"] for a in page.all("a")}


def test_a_page_links_both_ways(api: Api, spec: dict[str, Any], add_job: Callable[..., str]) -> None:
    parent = add_job(status="succeeded", step=100)
    body = {**api.get(f"/v1/jobs/{parent}").json()["spec"], "extends": parent}
    lineage = {
        "job": parent, "bundle": "5f" * 32, "dataset": "photos", "kept": ["a", "b"], "changed": ["<c>"], "new": ["d"],
        "accuracy": BEFORE, "same_evaluation": False,
    }  # fmt: skip
    results = {"accuracy": SCORE, "controls": {}, "checkpoint": "last", "epochs": 300, "lineage": lineage}
    child = add_job(status="succeeded", step=100, parent_id=parent, spec=body, results=results)
    copy = add_job(parent_id=child, spec=body)

    page = Page(api.get(f"/jobs/{child}"))
    assert links(page) >= {f"/jobs/{parent}", f"/jobs/{copy}", f"/jobs/new?extends={child}"}
    for words in (
        f"Extends {parent}",
        f"Copied or continued by {copy}",
        f"before, {parent} 3 80.5 ± 0.2 %",
        "now 4 71.2 ± 0.5 %",
        "2 classes keep their images byte for byte",
        "distilled anew since their training images have changed: <c>; new: d",
        "scored by different recipes",
    ):
        assert words in page.text
    report = api.get(f"/v1/jobs/{child}/report")
    assert "Beside the set that it extends" in report.text

    assert f"Extended by {child} succeeded" in Page(api.get(f"/jobs/{parent}")).text
    assert f"Copy or continuation of {child}" in Page(api.get(f"/jobs/{copy}")).text
    assert "ddctl extend" in Page(api.get(f"/jobs/{add_job(status='succeeded', step=100)}")).text


def test_jobs_of_others_are_not_listed(api: Api, rival: Api, add_job: Callable[..., str]) -> None:
    parent = add_job(status="succeeded", step=100)
    theirs = add_job(status="succeeded", step=100, parent_id=parent, tenant_id="rival")
    assert theirs not in Page(api.get(f"/jobs/{parent}")).text


def test_only_methods_that_take_classes_apart_offer_it(api: Api, spec: dict[str, Any]) -> None:
    for method, offered in (("dm", True), ("mtt", False)):
        job = api.submit(spec | {"method": {"name": method, "iterations": 4}})
        api.force(job["id"], status="succeeded")
        assert (f"/jobs/new?extends={job['id']}" in links(Page(api.get(f"/jobs/{job['id']}")))) == offered


def test_the_form_is_filled_with_the_job_and_its_set_without_a_version(
    api: Api, spec: dict[str, Any], add_job: Callable[..., str]
) -> None:
    job = api.submit(spec | {"seed": 7})
    api.force(job["id"], status="succeeded", spec={**job["spec"], "dataset": "photos@1"}, dataset="photos@1")
    form = Form(api, f"/jobs/new?extends={job['id']}")
    assert (form.values["extends"], form.values["dataset"], form.values["seed"]) == (job["id"], "photos", "7")
    assert "clone" not in form.values
    missing = api.get("/jobs/new?extends=job_01m7wfazz0fpcr59g52gcd7d4a")
    assert missing.status_code == 404
