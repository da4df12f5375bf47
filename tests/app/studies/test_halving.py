"""Successive halving against slow references."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from statistics import fmean

import pytest

from app.studies.halving import Score, expected_steps, holds, pooled_deviation, promoted, ranked
from app.studies.repository import ValidationAccuracy
from app.studies.scores import RungReading, variance_of


@pytest.mark.parametrize("iterations", [0, 1, 7, 10, 900, 20_000])
@pytest.mark.parametrize(("rungs", "reduction"), [(1, 3), (3, 3), (4, 2), (5, 10)])
def test_holds_are_the_rounded_shares(iterations: int, rungs: int, reduction: int) -> None:
    k = rungs - 1
    assert holds(iterations, rungs, reduction) == tuple(
        math.ceil(Fraction(iterations, reduction ** (k - rung))) for rung in range(rungs)
    )


def reference(scores: list[Score], reduction: int) -> set[int]:
    """The rule as the documentation words it, one trial at a time."""

    def place(one: Score) -> int:
        return sum((o.value, -o.trial) > (one.value, -one.trial) for o in scores)

    certain = [one for one in scores if place(one) < math.ceil(len(scores) / reduction)]
    last = min(one.value for one in certain)
    known = [one.variance for one in scores if one.variance is not None]
    pooled = math.sqrt(fmean(known)) if known else 0.0
    return {one.trial for one in scores if one in certain or one.value >= last - 2 * pooled}


def test_promotion_is_that_of_the_reference() -> None:
    draw = random.Random(0)
    widened = 0
    for _ in range(500):
        n, reduction = draw.randint(1, 30), draw.randint(2, 5)
        scores = [Score(i, round(draw.gauss(70, 3), 1), draw.choice([None, draw.random()])) for i in range(n)]
        found = promoted(scores, reduction)
        assert set(found) == reference(scores, reduction)
        assert found == [score.trial for score in ranked(scores)][: len(found)]
        draw.shuffle(scores)
        assert promoted(scores, reduction) == found
        widened += len(found) > math.ceil(n / reduction)
    assert 0 < widened < 500


def test_ranks_equals_by_index() -> None:
    assert [score.trial for score in ranked([Score(2, 1.0), Score(0, 1.0), Score(1, 2.0)])] == [1, 0, 2]


def test_pooled_deviation_is_of_what_is_known() -> None:
    assert pooled_deviation([Score(0, 1.0, 9.0), Score(1, 1.0), Score(2, 1.0, 7.0)]) == math.sqrt(8.0)
    assert pooled_deviation([Score(0, 1.0)]) == 0


def test_expected_steps_are_those_of_a_simulation() -> None:
    trials, rungs, reduction = [900, 900, 300, 90, 0, 900, 30, 30, 500], 3, 3
    going, taken = sorted(trials, reverse=True), 0
    done = dict.fromkeys(range(len(going)), 0)
    for rung in range(rungs):
        for i in range(len(going)):
            taken += holds(going[i], rungs, reduction)[rung] - done[i]
            done[i] = holds(going[i], rungs, reduction)[rung]
        going = going[: math.ceil(len(going) / reduction)]
    assert expected_steps(trials, rungs, reduction) == taken


class TestScores:
    def test_of_one_seed_rest_on_its_networks(self) -> None:
        score = RungReading([ValidationAccuracy(80.0, 3.0)], networks=4).score(1, 300, 2.0)
        assert (score.accuracy, score.deviation, score.networks, score.objective) == (80.0, 3.0, 4, 40.0)
        assert variance_of(score, seeds=1) == (3.0 / 2) ** 2 / 4

    def test_of_several_seeds_rest_on_the_seeds(self) -> None:
        score = RungReading([ValidationAccuracy(80.0, 3.0), ValidationAccuracy(84.0, 1.0)], networks=2).score(0, 3, 1.0)
        assert (score.accuracy, score.networks) == (82.0, 4)
        assert score.deviation == pytest.approx(math.sqrt(8.0))
        assert variance_of(score, seeds=2) == pytest.approx(4.0)

    def test_of_a_single_network_tell_no_deviation(self) -> None:
        score = RungReading([ValidationAccuracy(80.0)], networks=1).score(0, 3, 1.0)
        assert score.deviation is None
        assert variance_of(score, seeds=1) is None

    def test_a_reading_that_is_no_number(self) -> None:
        assert not RungReading([ValidationAccuracy(80.0), ValidationAccuracy(None)], networks=1).finite
