"""What is scored, ranked within each recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from app.core.tables import clock
from app.scores import leaderboard as boards
from tests.app.compare.jobs import results
from tests.app.scores.conftest import Scores

if TYPE_CHECKING:
    from tests.app.conftest import Api

BACKENDS = ("sqlite", "postgres")
DM = {"evaluation": {"protocol": "dm"}}


def finished(api: Api, accuracy: float | None, **fields: Any) -> str:
    """A job of the API that has succeeded."""
    body = {"dataset": "digits", "ipc": 2, "method": {"name": "dm", "iterations": 10}, **fields}
    job_id = str(api.submit(body)["id"])
    done = {"accuracy": None} if accuracy is None else results([accuracy, accuracy], random=[40.0, 40.0])
    api.force(job_id, status="succeeded", results=done, finished_at=clock())
    return job_id


def asked(api: Api, query: str = "") -> dict[str, Any]:
    answer = api.get(f"/v1/leaderboard{query}")
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def test_nothing_is_scored(api: Api) -> None:
    assert asked(api) == {
        "object": "leaderboard", "dataset": None, "ipc": None, "choices": [], "boards": [], "left_out": 0,
    }  # fmt: skip


def test_jobs_and_scores_are_ranked_together_where_the_recipe_is_the_same(scores: Scores) -> None:
    api = scores.api
    worse = finished(api, 55.0, name="mine", regularizers={"mim": {"relative": 1.0}, "cmi": 2000})
    best = scores.scored(70.0, ipc=2, name="theirs", recipe={"evaluation": {"repeats": 2, "controls": ["random"]}})
    other = finished(api, 90.0, **DM)
    finished(api, None)
    unfinished = api.submit({"dataset": "digits", "ipc": 2, "method": {"name": "dm", "iterations": 10}})["id"]
    api.force(unfinished, results=results([99.0, 99.0]))
    scores.scored(99.0, ipc=3)
    document = asked(api, "?dataset=digits&ipc=2")

    assert [[entry["id"] for entry in board["entries"]] for board in document["boards"]] == [[other], [best, worse]]
    assert [board["protocol"] for board in document["boards"]] == ["dm", "standard"]
    first, second = document["boards"][1]["entries"]
    assert (first["rank"], first["kind"], first["made_by"], first["name"]) == (1, "score", "set.npz", "theirs")
    assert (first["accuracy"]["mean"], first["controls"]["random"]["mean"], first["bytes"]) == (71.0, 62.0, 1234)
    assert first["scores"]["label_robust"]["score"] == 30.5
    assert first["links"] == {"self": f"/v1/scores/{best}"}
    assert (second["rank"], second["kind"], second["made_by"], second["key_id"]) == (2, "job", "dm + mim + cmi", None)
    assert "300 epochs of sgd at learning rate 0.01" in document["boards"][1]["words"]


def test_the_newest_is_shown_unless_something_is_asked_for(scores: Scores) -> None:
    finished(scores.api, 50.0, ipc=1)
    finished(scores.api, 60.0, ipc=1)
    scores.scored(70.0, ipc=5)
    document = asked(scores.api)
    assert (document["dataset"], document["ipc"]) == ("digits", 5)
    assert sorted((one["ipc"], one["entries"]) for one in document["choices"]) == [(1, 2), (5, 1)]
    assert asked(scores.api, "?ipc=1")["ipc"] == 1
    nothing = asked(scores.api, "?dataset=cifar10")
    assert (nothing["dataset"], nothing["boards"], len(nothing["choices"])) == ("cifar10", [], 2)


def test_published_figures_stand_beside_the_same_recipe_only(api: Api) -> None:
    fields = {"dataset": "cifar10", "ipc": 10}
    same = {"epochs": 1000, "repeats": 3}
    finished(api, 47.0, **fields, evaluation=same)
    finished(api, 30.0, **fields)
    board, other = asked(api, "?dataset=cifar10&ipc=10")["boards"]
    figures = {one["preset"]: one["accuracy"] for one in board["published"]}
    assert figures["paper/dm-cifar10-ipc10"] == 48.9
    assert list(figures.values()) == sorted(figures.values(), reverse=True)
    assert "paper/dm-cifar10-ipc10" not in {one["preset"] for one in other["published"]}


def test_a_long_list_says_what_it_leaves_out(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "MOST", 2)
    for accuracy in (50.0, 70.0, 60.0):
        finished(api, accuracy)
    document = asked(api)
    assert [entry["accuracy"]["mean"] for entry in document["boards"][0]["entries"]] == [70.0, 60.0]
    assert document["left_out"] == 1
