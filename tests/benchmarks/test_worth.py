"""What the benchmark of worths tells of two scorings, and that its jobs are ones that the engine takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import worth
from ddcore.spec import parse
from ddcore.spec.results import WorthReport

CURVE = [
    {"images": size, "accuracy": {"mean": mean, "std": 1.0, "networks": 2}} for size, mean in ((2, 40.0), (16, 80.0))
]


def report(images: float | None = None, **ends: Any) -> WorthReport:
    """A worth as the engine reports it."""
    return WorthReport.model_validate({"images": images, "curve": CURVE, **ends})


@pytest.mark.parametrize(
    ("interval", "found", "held"),
    [
        (report(6.0, low=4.0, high=9.0), report(5.0), True),
        (report(6.0, low=4.0, high=9.0), report(9.5), False),
        (report(6.0, low=4.0, high=9.0), report(3.9), False),
        (report(6.0, low=None, high=9.0), report(2.1), True),
        (report(6.0, low=4.0, high=None), report(15.0), True),
        (report(6.0, low=4.0, high=9.0), report(bound="more than"), False),
        (report(6.0, low=4.0, high=None), report(bound="more than"), True),
        (report(6.0, low=None, high=9.0), report(bound="less than"), True),
        (report(6.0, low=4.0, high=None), report(bound="less than"), False),
    ],
)
def test_an_interval_holds_what_lies_between_its_ends(interval: WorthReport, found: WorthReport, held: bool) -> None:
    assert worth.holds(interval, found) is held


def test_the_table_counts_the_seeds_of_each_dataset() -> None:
    one, other = report(6.0, low=4.0, high=9.0), report(5.0, low=3.0, high=8.0)
    stored = {
        f"digits seed {seed}": {
            "first": one.model_dump(mode="json"), "second": other.model_dump(mode="json"), "holds": seed != 1,
        }
        for seed in range(3)
    }  # fmt: skip
    lines = list(worth.table(stored))
    assert lines[-1] == "digits: held in 2 of 3 seeds"
    assert "which does NOT hold the first" in lines[1]


def test_the_jobs_are_ones_that_the_engine_takes(tmp_path: Path) -> None:
    runs = worth.runs("", tmp_path)
    assert len(runs) == len(worth.JOBS) * len(worth.SEEDS)
    for run in runs:
        scored = {**worth.JOBS[run.dataset], "evaluation": dict(worth.SCORING), "seed": run.seed + worth.SECOND}
        assert parse(scored).evaluation.worth is not None
    assert [run.name for run in worth.runs("digits seed 3", tmp_path)] == ["digits seed 3"]
