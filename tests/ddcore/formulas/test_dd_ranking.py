"""The scores on numbers worked out by hand, and at their limits."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from ddcore.formulas.dd_ranking import augmentation_robust, label_robust


def exponential(power: Fraction) -> Fraction:
    """e to a power between -1 and 1 by its series, which 30 terms give to 32 digits."""
    term = total = Fraction(1)
    for number in range(1, 30):
        term = term * power / number
        total += term
    return total


def reference(first: int, second: int, weight: Fraction) -> float:
    """The scale of the paper, exactly: where the weighted sum of two differences lies between those of -1 and 1."""
    alpha = (weight * first + (1 - weight) * second) / 100
    low, high = exponential(Fraction(-1)), exponential(Fraction(1))
    return float(100 * (exponential(alpha) - low) / (high - low))


@pytest.mark.parametrize("weight", [Fraction(1, 2), Fraction(1, 4), Fraction(0), Fraction(1)])
@pytest.mark.parametrize(("a", "b", "c", "d"), [(80, 50, 60, 50), (100, 0, 0, 100), (33, 70, 21, 64), (5, 5, 5, 5)])
def test_both_scores_against_exact_arithmetic(a: int, b: int, c: int, d: int, weight: Fraction) -> None:
    label = label_robust(full_hard=a, distilled_hard=b, distilled_soft=c, random_soft=d, weight=float(weight))
    assert label["score"] == pytest.approx(reference(c - d, -(a - b), weight), rel=1e-12)
    augmentation = augmentation_robust(
        distilled_augmented=a, random_augmented=b, distilled_plain=c, random_plain=d, weight=float(weight)
    )
    assert augmentation["score"] == pytest.approx(reference(a - b, c - d, weight), rel=1e-12)


def test_label_robust_by_hand() -> None:
    """IOR = .6 - .5 = .1, HLR = .8 - .5 = .3, alpha = .05 - .15 = -.1."""
    found = label_robust(full_hard=80, distilled_hard=50, distilled_soft=60, random_soft=50)
    assert (found["improvement_over_random"], found["hard_label_recovery"], found["weight"]) == (10, 30, 0.5)
    assert found["score"] == pytest.approx(100 * (0.904837418 - 0.367879441) / (2.718281828 - 0.367879441))


def test_augmentation_robust_by_hand() -> None:
    """beta = .25 (.7 - .4) + .75 (.3 - .5) = -.075."""
    found = augmentation_robust(
        distilled_augmented=70, random_augmented=40, distilled_plain=30, random_plain=50, weight=0.25
    )
    assert (found["improvement_augmented"], found["improvement_plain"], found["weight"]) == (30, -20, 0.25)
    assert found["score"] == pytest.approx(100 * (0.927743486 - 0.367879441) / (2.718281828 - 0.367879441))


@pytest.mark.parametrize(
    ("accuracies", "score"),
    [
        ((0, 100, 100, 0), 100),
        ((100, 0, 0, 100), 0),
        ((50, 50, 30, 30), 100 * (1 - 1 / math.e) / (math.e - 1 / math.e)),
    ],
)
def test_label_robust_runs_from_0_to_100(accuracies: tuple[float, float, float, float], score: float) -> None:
    full_hard, distilled_hard, distilled_soft, random_soft = accuracies
    found = label_robust(
        full_hard=full_hard, distilled_hard=distilled_hard, distilled_soft=distilled_soft, random_soft=random_soft
    )
    assert found["score"] == pytest.approx(score)


@pytest.mark.parametrize(("better", "worse"), [((1, 0), (0, 1))])
def test_augmentation_robust_runs_from_0_to_100(better: tuple[int, int], worse: tuple[int, int]) -> None:
    for (distilled, random), score in ((better, 100), (worse, 0)):
        accuracies = {"distilled": 100 * distilled, "random": 100 * random}
        found = augmentation_robust(
            **{f"{name}_{how}": value for name, value in accuracies.items() for how in ("augmented", "plain")}
        )
        assert found["score"] == pytest.approx(score)


@pytest.mark.parametrize(("weight", "alpha"), [(0, -0.3), (1, 0.1)])
def test_the_weight_turns_from_recovery_to_improvement(weight: float, alpha: float) -> None:
    found = label_robust(full_hard=80, distilled_hard=50, distilled_soft=60, random_soft=50, weight=weight)
    assert found["score"] == pytest.approx(100 * (math.exp(alpha) - math.exp(-1)) / (math.e - math.exp(-1)))
