"""The list of jobs: sorted, with the columns that were chosen, and several jobs acted on at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from app.core.security import Scope
from app.dashboard.job_list import COLUMNS, Listing
from app.jobs.sorting import COLUMNS as SORTED
from app.jobs.sorting import Sort
from tests.app.dashboard.page import HERE, Page

if TYPE_CHECKING:
    import httpx

    from tests.app.conftest import Api

MISSING = "job_01m7wfazz0fpcr59g52gcd7d4a"


def rows(page: Page) -> list[str]:
    """Identifiers of the jobs on a page, in its order."""
    return [a["value"] for a in page.all("input") if a.get("name") == "job"]


def act(api: Api, do: str, *jobs: str, back: str = "/?sort=name", origin: str = HERE["Origin"]) -> httpx.Response:
    data = {"do": do, "job": list(jobs), "back": back}
    return api.post("/jobs", data=data, headers={"Origin": origin}, follow_redirects=False)


def test_search_sort_and_columns_are_in_the_address(api: Api, finished: str, running: str) -> None:
    assert rows(Page(api.get("/?sort=created"))) == [finished, running]
    assert rows(Page(api.get("/?sort=-gain"))) == [finished, running]
    assert rows(Page(api.get("/?search=bold"))) == [finished]
    page = Page(api.get("/?sort=-gain&columns=gain&columns=seed&columns=id&search=digits"))
    titles = [title for title in (column.title for column in COLUMNS.values()) if title in page.text]
    assert {"Gain over random", "Seed", "Identifier", "Job"} <= set(titles)
    assert "aria-sort" in str(page.all("th"))
    assert len(page.all("th")) == 5
    assert finished in page.text
    (way,) = [a["aria-sort"] for a in page.all("th") if "aria-sort" in a]
    assert way == "descending"
    links = [a["href"] for a in page.all("a") if a.get("href", "").startswith("/?")]
    assert "/?search=digits&sort=gain&columns=gain&columns=seed&columns=id" in links


def test_every_column_that_can_sort_is_offered_and_every_link_works(api: Api, finished: str) -> None:
    assert {column.sort for column in COLUMNS.values() if column.sort} == set(SORTED)
    page = Page(api.get("/?" + "&".join(f"columns={name}" for name in COLUMNS)))
    links = {a["href"] for a in page.all("a") if a.get("href", "").startswith("/?")}
    assert len(links) >= len(SORTED)
    assert {link: api.get(link).status_code for link in links} == dict.fromkeys(links, 200)


@pytest.mark.parametrize("name", [name for name, column in COLUMNS.items() if column.sort])
def test_a_title_turns_its_order_round(name: str) -> None:
    column = COLUMNS[name]
    first = Listing(sort="status" if name != "status" else "name").next_sort(column)
    assert Sort.read(first) == Sort(column.sort, column.largest_first)
    second = Listing(sort=first).next_sort(column)
    assert Sort.read(second) == Sort(column.sort, not column.largest_first)
    assert Listing(sort=second).next_sort(column) == first


def test_a_label_is_a_link_to_its_jobs(api: Api, add_job: Callable[..., str]) -> None:
    mine, _ = add_job(labels={"team": "a & b"}), add_job(labels={"team": "c"})
    page = Page(api.get("/?columns=labels"))
    (link,) = {a["href"] for a in page.all("a") if "label=team%3Aa" in a.get("href", "")}
    assert rows(Page(api.get(link))) == [mine]


@pytest.mark.parametrize("query", ["sort=accuracyx", "label=team"])
def test_an_address_that_cannot_be_read_is_said(api: Api, query: str) -> None:
    answer = api.get(f"/?{query}")
    assert answer.status_code == 400
    assert "but must be name:value" in answer.text or "did you mean" in answer.text


def test_several_jobs_are_cancelled_and_deleted(api: Api, add_job: Callable[..., str]) -> None:
    first, second, kept = add_job(), add_job(), add_job()
    answer = act(api, "cancel", first, second)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/?sort=name")
    states = {job: api.get(f"/v1/jobs/{job}").json()["status"] for job in (first, second, kept)}
    assert states == {first: "cancelled", second: "cancelled", kept: "queued"}
    page = Page(act(api, "delete", first, kept, MISSING))
    assert page.answer.status_code == 409
    assert f"Deleted: {first} ." in page.text
    assert f"{kept} : A job that is queued cannot be told to delete" in page.text
    assert f"{MISSING} : You have no job" in page.text
    assert set(rows(Page(api.get("/")))) == {second, kept}


def test_comparing_leads_to_the_page_that_compares(api: Api, add_job: Callable[..., str]) -> None:
    one, two = add_job(), add_job()
    assert act(api, "compare", one, two, one).headers["Location"] == f"/compare?ids={one},{two}"


def test_what_cannot_be_done_to_several(api: Api, rival: Api, add_job: Callable[..., str]) -> None:
    job = add_job()
    assert "tick some" in act(api, "cancel").text
    assert "must be one of" in act(api, "paint", job).text
    assert "at most 200" in act(api, "delete", *(f"job_{n}" for n in range(201))).text
    assert act(api, "cancel", job, origin="http://elsewhere").status_code == 403
    reader = api.acting_as(api.key(scopes=(Scope.JOBS_READ,)))
    assert act(reader, "cancel", job).status_code == 403
    assert "You have no job" in Page(act(rival, "cancel", job)).text
    assert act(api, "cancel", job, back="//elsewhere/").headers["Location"] == "/"
    assert api.get(f"/v1/jobs/{job}").json()["status"] == "cancelled"
