"""The worth in real images, against a plain inversion of the curve and by how often its interval is right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean

import numpy as np
import pytest

from ddcore.formulas.worth import Worth, worth

SIZES = (1, 2, 4, 8, 16)


def rising(means: Sequence[float]) -> list[float]:
    """Isotonic regression by its closed form, max over starts of the min over ends of the means between."""
    count = range(len(means))
    return [max(min(fmean(means[a : b + 1]) for b in count if b >= i) for a in count if a <= i) for i in count]


def inverted(means: Sequence[float], accuracy: float) -> float | None:
    """The least of many sizes at which the curve reaches an accuracy."""
    levels = rising(means)
    for (a, low), (b, high) in pairwise(zip(SIZES, levels, strict=True)):
        for share in np.linspace(0, 1, 20_001):
            if low + share * (high - low) >= accuracy >= low:
                return float(math.exp((1 - share) * math.log(a) + share * math.log(b)))
    return None


def twice(means: Sequence[float], apart: float = 0.0) -> list[tuple[int, list[float]]]:
    return [(size, [mean - apart, mean + apart]) for size, mean in zip(SIZES, means, strict=True)]


@pytest.mark.parametrize("accuracy", [41.0, 55.0, 60.0, 63.0, 79.9])
@pytest.mark.parametrize("means", [(40, 50, 60, 70, 80), (40, 62, 58, 61, 80), (60, 40, 55, 70, 80)])
def test_the_monotone_curve_is_inverted(means: Sequence[float], accuracy: float) -> None:
    found, expected = worth([accuracy], twice(means)).images, inverted(means, accuracy)
    assert found == (None if expected is None else pytest.approx(expected, rel=1e-3))


@pytest.mark.parametrize(
    ("accuracy", "expected"), [(39.0, Worth(None, "less than", None, 1)), (81.0, Worth(None, "more than", 16, None))]
)
def test_beyond_the_curve_the_side_is_said(accuracy: float, expected: Worth) -> None:
    assert worth([accuracy, accuracy], twice((40, 50, 60, 70, 80))) == expected


def test_more_spread_makes_a_wider_interval_around_the_same_number() -> None:
    narrow, wide = (worth([60.0, 60.0], twice((40, 50, 60, 70, 80), apart)) for apart in (0.5, 3.0))
    assert narrow.images == pytest.approx(4)
    assert wide.images == pytest.approx(4)
    ends = [wide.low, narrow.low, 4, narrow.high, wide.high]
    assert ends == sorted(end for end in ends if end is not None)


@pytest.mark.parametrize(("rise", "deviation", "images"), [(10.0, 2.0, 5.0), (3.0, 1.3, 6.0), (10.0, 2.0, 14.0)])
def test_the_interval_holds_the_number_as_often_as_it_says(
    rise: float, deviation: float, images: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of curves that rise by so many points with each doubling; networks on the set vary half as much."""
    monkeypatch.setattr("ddcore.formulas.worth.DRAWS", 500)
    rng, hits = np.random.default_rng(0), 0
    truth = [40 + rise * math.log2(size) for size in SIZES]
    for _ in range(40):
        curve = [(size, list(rng.normal(mean, deviation, 2))) for size, mean in zip(SIZES, truth, strict=True)]
        found = worth(list(rng.normal(40 + rise * math.log2(images), deviation / 2, 3)), curve)
        hits += (found.low or 0) <= images <= (found.high or math.inf)
    assert hits >= 0.95 * 40


@pytest.mark.parametrize("curve", [[], [(2, [1.0, 2.0]), (2, [1.0, 2.0])], [(1, [1.0])]])
def test_what_is_no_curve_is_refused(curve: list[tuple[int, list[float]]]) -> None:
    with pytest.raises(ValueError, match="rising sizes with at least two networks"):
        worth([50.0], curve)
