"""Searching and sorting the list of jobs, page by page, on both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from app.jobs.sorting import COLUMNS
from ddcore.spec import parse

if TYPE_CHECKING:
    from tests.app.conftest import Api

BACKENDS = ("sqlite", "postgres")

BEGAN = datetime(2026, 1, 2, tzinfo=UTC)


def score(mean: float) -> dict[str, Any]:
    return {"mean": mean, "std": 0.0, "networks": 1, "values": [mean]}


@pytest.fixture
def jobs(add_job: Callable[..., str]) -> dict[str, str]:
    """Jobs that differ in every column, by a letter; each column is missing, or alike, in some of them."""

    def add(number: int, **columns: Any) -> str:
        columns |= {"id": f"job_{25 * '0'}{'abcde'[number]}", "created_at": BEGAN + timedelta(seconds=number)}
        method, ipc, seed = columns.pop("spec")
        spec = parse({"dataset": "digits", "ipc": ipc, "method": method, "seed": seed})
        return add_job(spec=spec.model_dump(mode="json"), method=method, started_at=BEGAN, **columns)

    hour, minute = BEGAN + timedelta(hours=1), BEGAN + timedelta(minutes=1)
    return {
        "a": add(0, spec=("dm", 1, 2**63 - 1), name="beta", status="succeeded", finished_at=minute, priority=9,
                 results={"accuracy": score(60.5), "controls": {"random": score(50)}}),
        "b": add(1, spec=("dm", 10, 3), name="Alpha 50%", labels={"team": "Vision", "run": "ä_1"}, step=50,
                 results={"accuracy": score(70), "controls": {"random": score(65)}}),
        "c": add(2, spec=("dc", 9, 3), name=None, labels={"team": "audio"}, status="failed", finished_at=hour),
        "d": add(3, spec=("random", 9, 0), name="gamma", total_steps=0, dataset="photos@2",
                 results={"accuracy": score(60.5), "controls": {}}),
        "e": add(4, spec=("dc", 9, 3), name=None, step=25, results={"accuracy": None, "controls": {"random": None}}),
    }  # fmt: skip


@pytest.fixture
def letters(api: Api, jobs: dict[str, str]) -> Callable[..., str]:
    """The list as letters, read in pages of so many jobs."""
    names = {id: letter for letter, id in jobs.items()}

    def pages(limit: int, **query: Any) -> Iterator[str]:
        cursor = None
        while True:
            answer = api.get("/v1/jobs", params={**query, "limit": limit, **({"cursor": cursor} if cursor else {})})
            assert answer.status_code == 200, answer.text
            yield "".join(names[job["id"]] for job in answer.json()["data"])
            cursor = answer.json()["next_cursor"]
            if cursor is None:
                return

    return lambda limit=200, **query: "".join(pages(limit, **query))


SORTED = {
    "created": "abcde",
    "-created": "edcba",
    "name": "badce",
    "-name": "dabec",
    "status": "cbdea",
    "dataset": "abced",
    "method": "ceabd",
    "ipc": "acdeb",
    "-ipc": "bedca",
    "seed": "dbcea",
    "-priority": "aedcb",
    "progress": "cebad",
    "-progress": "abecd",
    "duration": "acbde",
    "-accuracy": "bdaec",
    "accuracy": "adbce",
    "-gain": "abedc",
    "gain": "bacde",
    "finished": "acbde",
}


def test_every_column_sorts_both_ways_and_page_by_page(letters: Callable[..., str]) -> None:
    """Jobs without a value are last both ways; pages of one and of two join to the whole list."""
    assert {sort.removeprefix("-") for sort in SORTED} == set(COLUMNS)
    for sort, expected in SORTED.items():
        assert letters(sort=sort) == expected, sort
        assert letters(2, sort=sort) == expected, sort
    for sort in ("-accuracy", "name", "duration"):
        assert letters(1, sort=sort) == SORTED[sort], sort


FOUND = {
    "alpha": "b",
    "VISION": "b",
    "team": "bc",
    "team:vision": "b",
    "ä_1": "b",
    "50%": "b",
    "5_%": "",
    "dc": "ce",
    "photos dm": "",
    "random photos": "d",
    "job_": "abcde",
    f"job_{25 * '0'}c": "c",
}


def test_each_word_stands_somewhere(letters: Callable[..., str], rival: Api) -> None:
    for search, expected in FOUND.items():
        assert letters(search=search, sort="created") == expected, search
    assert letters(1, search="dc", sort="-created") == "ec"
    assert rival.get("/v1/jobs?search=alpha").json()["data"] == []


def test_jobs_that_come_meanwhile_move_no_page(api: Api, jobs: dict[str, str], add_job: Callable[..., str]) -> None:
    for sort in ("-created", "name", "-duration", "-accuracy"):
        first = api.get("/v1/jobs", params={"sort": sort, "limit": 3}).json()
        late = {add_job(name="aaaa", results={"accuracy": score(99)}) for _ in range(2)}
        rest = api.get("/v1/jobs", params={"sort": sort, "limit": 200, "cursor": first["next_cursor"]}).json()
        seen = [job["id"] for job in (*first["data"], *rest["data"])]
        assert len(seen) == len(set(seen))
        assert set(jobs.values()) <= set(seen)
        assert len(late) == 2


def test_refusals(api: Api, jobs: dict[str, str]) -> None:
    wrong = api.get("/v1/jobs?sort=-accuracies")
    assert wrong.status_code == 400
    assert "did you mean 'accuracy'?" in wrong.json()["detail"]
    both = api.get("/v1/jobs?sort=name&order=created_asc")
    assert "leave `order` out" in both.json()["detail"]
    assert "`search` holds the character U+0000" in api.get("/v1/jobs?search=a%00").json()["detail"]
    cursor = api.get("/v1/jobs?sort=name&limit=1").json()["next_cursor"]
    assert api.get("/v1/jobs", params={"sort": "-name", "cursor": cursor}).json()["code"] == "invalid_cursor"
    assert (
        api.get("/v1/jobs", params={"sort": "name", "search": "b", "cursor": cursor}).json()["code"] == "invalid_cursor"
    )
