"""Differences from the controls: the error against a plain reference, and what is said of them."""

from __future__ import annotations

import math
import random
from statistics import fmean, pstdev, variance
from typing import Literal

import pytest

from ddcore.spec.differences import difference, differences, verdict
from ddcore.spec.results import ArchitectureScores, Difference, Score


def score(*values: float) -> Score:
    return Score(mean=fmean(values), std=pstdev(values), networks=len(values), values=values)


def test_the_error_is_that_of_independent_means() -> None:
    rng = random.Random(0)
    for sizes in ((2, 2), (3, 3), (5, 2), (20, 3)):
        ours, theirs = ([rng.gauss(60, 2) for _ in range(size)] for size in sizes)
        found = difference(score(*ours), score(*theirs))
        assert found.points == pytest.approx(fmean(ours) - fmean(theirs))
        assert found.error == pytest.approx(math.sqrt(variance(ours) / len(ours) + variance(theirs) / len(theirs)))


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ((70, 71), (60, 61), "above"),
        ((70, 75), (68, 74), "unclear"),
        ((60, 61), (70, 71), "below"),
        ((60, 61), (60, 61), "below"),
        ((70,), (60,), "unclear"),
        ((60,), (70,), "below"),
    ],
)
def test_only_what_is_two_errors_above_is_better(
    ours: tuple[float, ...], theirs: tuple[float, ...], expected: str
) -> None:
    found = difference(score(*ours), score(*theirs))
    assert found.verdict == expected
    assert (found.error is None) == (len(ours) == 1)


def test_sets_of_the_same_size_are_to_be_beaten_and_no_others() -> None:
    controls = {"full": score(90, 91), "best_coreset": score(80, 81), "random": None}
    entry = ArchitectureScores(network={}, accuracy=score(70, 71), controls=controls)
    assert list(differences(entry)) == ["best_coreset"]
    assert differences(ArchitectureScores(controls=controls)) == {}


@pytest.mark.parametrize(
    ("verdict_of", "control", "words"),
    [
        ("above", "random", "beats random real images: +5.0 ± 0.4 points"),
        ("unclear", "best_coreset", "is not clearly better than the best coreset: +5.0 ± 0.4 points"),
        ("below", "herding", "does not beat real images chosen by herding: +5.0 ± 0.4 points"),
    ],
)
def test_it_is_said_in_words(verdict_of: Literal["above", "unclear", "below"], control: str, words: str) -> None:
    assert verdict(control, Difference(points=5, error=0.4, verdict=verdict_of)) == words


def test_one_network_gives_no_error() -> None:
    found = difference(score(60), score(59.5))
    assert verdict("random", found) == (
        "is not clearly better than random real images: +0.5 points, without an error: there is one network"
    )
