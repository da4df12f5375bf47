"""What the pages say of a study."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from app.dashboard.study_views import COLUMNS, next_sort, sorted_by, view
from app.studies.schemas import StudyDocument
from tests.ddclient.study_documents import study_document, won

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def read(document: dict[str, Any]) -> StudyDocument:
    return StudyDocument.model_validate(document | {"created_at": NOW, "updated_at": NOW, "finished_at": None})


def test_a_study_under_way_says_what_it_does() -> None:
    shown = view(read(study_document()))
    assert shown.title == "digits: method × ipc"
    assert shown.activity == "Rung 1, 33 % of the steps: 1 of 2 trials scored"
    assert shown.share == pytest.approx(1.5 / 4)
    assert shown.ahead_s == 120
    assert shown.saved == "36 % of all trials to the end"
    assert shown.space == [("method", "dm, idm"), ("ipc", "1, 2")]
    best = shown.rungs[0].best
    assert best is not None
    assert (best.trial.index, best.last and best.last.accuracy) == (1, 80.0)
    assert shown.rungs[2].best is None


def test_a_study_that_ended_says_what_won() -> None:
    shown = view(read(won()))
    assert (shown.active, shown.activity, shown.share, shown.ahead_s) == (False, "", 1.0, None)
    assert shown.winner_row is not None
    assert shown.winner_row.trial.title == "idm, ipc 1"
    assert shown.winner_words == "84.1 ± 0.7 % on the test images"
    picture = shown.picture
    assert picture is not None
    assert {way.title: way.fate for way in picture.ways} == {
        "dm, ipc 1": "going", "idm, ipc 1": "winner", "idm, ipc 2": "left",
    }  # fmt: skip
    assert shown.compared == "job_1" + "b" * 25


def test_trials_are_sorted_by_any_column_and_the_farthest_come_first() -> None:
    def order(sort: str) -> list[int]:
        return [row.trial.index for row in view(read(won()), sort).rows]

    assert order("-state") == [1, 0, 3, 2]
    assert order("trial") == [0, 1, 2, 3]
    assert order("-trial") == [3, 2, 1, 0]
    assert order("score") == [2, 3, 0, 1]
    assert order("what") == [0, 2, 1, 3]
    assert order("no such column") == order("-state")


def test_a_title_turns_its_column_round() -> None:
    score = COLUMNS["score"]
    assert (sorted_by(score, "-state"), next_sort(score, "-state")) == ("none", "-score")
    assert (sorted_by(score, "-score"), next_sort(score, "-score")) == ("descending", "score")
    assert (sorted_by(score, "score"), next_sort(score, "score")) == ("ascending", "-score")
    assert sorted_by(COLUMNS["jobs"], "-state") == "none"
