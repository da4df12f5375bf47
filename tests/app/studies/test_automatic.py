"""What an automatic study tries, by what trials take."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.studies.automatic import (
    CORESETS,
    FEWEST_STEPS,
    METHODS,
    RESERVE,
    Forecast,
    Halving,
    Point,
    Values,
    automatic,
)
from ddcore.spec import DATASETS

HALVING = Halving(rungs=3, reduction=3)
CHEAP = Forecast(start=2, networks=0, step=0, scoring=1, evaluation=5)
STEP = {"dm": 0.02, "dsa": 0.2, "idm": 0.1, "idc": 0.3}


def forecast(values: Values) -> Forecast:
    step = STEP.get(values["method"])
    return CHEAP if step is None else Forecast(start=3, networks=4, step=step, scoring=2, evaluation=20)


def tried(minutes: float, dataset: str = "cifar10") -> list[Point]:
    return automatic(DATASETS[dataset], minutes, HALVING, forecast)


def names(points: list[Point]) -> list[str]:
    return [point.values["method"] for point in points]


def seconds_of(points: list[Point]) -> float:
    """What a study takes in which as many go on as the rule says: the slowest ones, each rung by rung."""
    rules = [forecast(point.values) for point in points if point.iterations is None]
    total = sum(found.start + found.scoring for found in rules) + max(found.networks for found in rules)
    methods = [(forecast(point.values), point.iterations) for point in points if point.iterations is not None]
    total += sum(found.networks for found, _ in methods)
    done, going = 0.0, methods
    for share in (1 / 9, 1 / 3, 1.0):
        total += sum(found.start + found.scoring + found.step * (steps or 0) * (share - done) for found, steps in going)
        going = sorted(going, key=lambda pair: -pair[0].step)[: -(-len(going) // 3)]
        done = share
    found, _ = going[0]
    return total + found.start + found.evaluation


@pytest.mark.parametrize("minutes", [5, 20, 120])
def test_it_fits_the_minutes_and_uses_them(minutes: int) -> None:
    points = tried(minutes)
    assert 0.75 <= seconds_of(points) / (minutes * 60) <= 1 - RESERVE + 0.02


def test_real_images_first_then_the_methods() -> None:
    points = tried(60)
    assert names(points) == [*CORESETS, *(each.values["method"] for each in METHODS)]
    assert [point.iterations for point in points[:4]] == [None] * 4


def test_equal_time_not_equal_steps() -> None:
    points = [point for point in tried(60) if point.iterations is not None]
    times = [STEP[point.values["method"]] * point.iterations for point in points if point.iterations]
    assert max(times) == pytest.approx(min(times), rel=0.01)


def test_few_minutes_drop_what_cannot_be_judged_in_time() -> None:
    found = {minutes: names(tried(minutes)) for minutes in (0.1, 1, 2, 3, 20)}
    assert found[0.1] == []
    assert found[1] == list(CORESETS)
    assert set(found[2]) < set(found[20])
    assert "idc" not in found[2]
    for point in tried(3):
        assert point.iterations is None or point.iterations / 9 >= FEWEST_STEPS


def test_mosaics_of_small_images_are_not_tried() -> None:
    assert "idm" not in names(tried(60, "digits"))
    assert "idm" in names(tried(60))


def test_what_no_job_can_be_made_of_is_left_out() -> None:
    def but_herding(values: Values) -> Forecast | None:
        return None if values["method"] in ("herding", "dsa") else forecast(values)

    found = names(automatic(DATASETS["cifar10"], 60, HALVING, but_herding))
    assert "herding" not in found
    assert "dsa" not in found
    assert "dm" in found


def test_slow_networks_of_a_rule_leave_it_out() -> None:
    slow = replace(CHEAP, networks=1000.0)

    def found(values: Values) -> Forecast:
        return slow if values["method"] in CORESETS[1:] else forecast(values)

    assert names(automatic(DATASETS["cifar10"], 10, HALVING, found))[:2] == ["random", "dm"]


@pytest.mark.parametrize(
    ("trials", "weight", "attempts"), [(9, 1 + 2 / 3 + 2 / 3, 13), (1, 1.0, 3), (4, 4 / 9 + 4 / 9 + 2 / 3, 7)]
)
def test_the_work_of_halving(trials: int, weight: float, attempts: int) -> None:
    assert HALVING.weight(trials) == pytest.approx(weight, abs=1e-3)
    assert HALVING.attempts(trials) == attempts
