"""What the benchmark of successive halving tells of two studies, and that a service takes its requests."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import halving
from benchmarks.auto import planned
from ddclient import Client
from ddclient.study import Study
from ddclient.study_models import StudyDocument


def study(winner: int, steps: int, **accuracies: tuple[float, float]) -> Study:
    """One whose trials scored so, the accuracy and its deviation by title."""
    trials = [
        {
            "index": index, "title": title, "status": "succeeded",
            "scores": [{"rung": 0, "step": 9, "accuracy": accuracy, "deviation": deviation, "objective": accuracy}],
        }
        for index, (title, (accuracy, deviation)) in enumerate(accuracies.items())
    ]  # fmt: skip
    document = {
        "id": "study_1", "status": "succeeded", "version": 1, "trials": trials, "spent": {"jobs": 3, "steps": steps},
        "winner": {
            "trial": winner, "job_id": "job_1", "validation": {"accuracy": 80.0, "deviation": 1.0},
            "accuracy": {"mean": 79.0, "std": 1.0, "networks": 3}, "gap": -1.0,
        },
    }  # fmt: skip
    return Study(Client("http://service.test", "dd_key"), StudyDocument.model_validate(document))


@pytest.mark.parametrize(
    ("winner", "behind", "as_good"), [("best", 0.0, True), ("close", 3.9, True), ("far", 4.1, False)]
)
def test_a_winner_is_held_against_the_scores_of_the_grid(winner: str, behind: float, as_good: bool) -> None:
    grid = study(0, 100, best=(80.0, 1.0), close=(76.1, 7**0.5), far=(75.9, 2.0))
    quick = study(["best", "close", "far"].index(winner), 42, best=(9.0, 1.0), close=(9.0, 1.0), far=(9.0, 1.0))
    found = halving.compared(grid, quick)
    assert found["pooled_deviation"] == 2.0
    assert found["behind"] == pytest.approx(behind)
    assert (found["same"], found["as_good"], found["share_of_steps"]) == (winner == "best", as_good, 0.42)
    assert found["grid"]["scores"] == {"best": 80.0, "close": 76.1, "far": 75.9}
    assert halving.summary(found).startswith("the same best" if winner == "best" else f"{winner} for best")
    *_, last = halving.table({"seed 0": found})
    assert last == f"as good as the grid's winner in {int(as_good)} of 1 seeds, in 0.42 of its steps"


def test_both_studies_are_of_the_same_thirteen_jobs() -> None:
    (run,) = halving.runs("seed 3")
    plans = [planned(run.request(rungs)) for rungs in (1, halving.RUNGS)]
    titles: list[list[Any]] = [[trial.title for trial in plan] for plan in plans]
    assert titles[0] == titles[1]
    assert len(titles[0]) == 13
    assert {trial.requests[0].spec.seed for plan in plans for trial in plan} == {3}
