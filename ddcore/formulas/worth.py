"""How many random real images of each class give the accuracy of a set, read off a curve of random subsets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000
LEVEL = 0.95
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Worth:
    """Real images per class, with the interval of that.

    Attributes:
        images: that give the accuracy; ``None`` where none of the curve does.
        bound: on which side of the curve it is then.
        low: lower end, at most the largest subset; ``None`` below the smallest one.
        high: upper end, at least the smallest subset; ``None`` above the largest one.
    """

    images: float | None
    bound: Literal["less than", "more than"] | None
    low: float | None
    high: float | None


def worth(accuracies: Sequence[float], curve: Sequence[tuple[int, Sequence[float]]], seed: int = 0) -> Worth:
    """Invert the learning curve of random subsets at the accuracy of a set.

    The curve is the isotonic regression of the mean accuracies, linear in the logarithm of the images between them. The
    interval holds 95 % of the inverses of curves and accuracies that are redrawn about their means. The deviation of a
    network is pooled over the sizes, since each has few. As it is known from few networks itself, every redraw has one
    of its own: that of a sample of ν degrees of freedom, times the root of ν over a draw of χ² with ν, as Student's t
    has it (the Behrens-Fisher interval, which is on the wide side where there are few networks).

    Args:
        accuracies: percent, of networks trained on the set.
        curve: images per class, rising, with the percent of at least two networks each.
        seed: of the redraws.

    Raises:
        ValueError: there are fewer than two networks for a size, or sizes that do not rise.

    >>> worth([60.0, 60.0], [(1, [40.0, 40.0]), (4, [80.0, 80.0])])
    Worth(images=2.0, bound=None, low=2.0, high=2.0)
    """
    sizes = np.array([size for size, _ in curve], dtype=np.float64)
    if not len(sizes) or (np.diff(sizes) <= 0).any() or min(len(values) for _, values in curve) < 2:
        raise ValueError("a curve takes rising sizes with at least two networks each")
    means = np.array([fmean(values) for _, values in curve])
    counts = np.array([len(values) for _, values in curve])
    rng = np.random.default_rng(seed)
    subsets = _deviations(rng, [values for _, values in curve])
    networks = _deviations(rng, [accuracies]) if len(accuracies) > 1 else subsets
    targets = rng.normal(fmean(accuracies), networks / math.sqrt(len(accuracies)))
    redrawn = rng.normal(means, subsets[:, None] / np.sqrt(counts))
    found = np.sort([_inverse(sizes, *pair) for pair in zip(redrawn, targets, strict=True)])
    tail = round((1 - LEVEL) / 2 * DRAWS)
    point, low, high = (_inverse(sizes, means, fmean(accuracies)), found[tail], found[-1 - tail])
    beyond: Literal["less than", "more than"] = "less than" if point == 0 else "more than"
    known = _known(point)
    ends = _known(min(low, sizes[-1])), _known(max(high, sizes[0]))
    return Worth(known, beyond if known is None else None, *ends)


def _deviations(rng: np.random.Generator, samples: Sequence[Sequence[float]]) -> Numbers:
    """Of one network, as probable as the pooled deviation of some samples has them; one for each redraw."""
    freedom = sum(len(values) - 1 for values in samples)
    squares = sum((len(values) - 1) * stdev(values) ** 2 for values in samples)
    return np.sqrt(squares / rng.chisquare(freedom, DRAWS))


def _inverse(sizes: Numbers, means: Numbers, accuracy: float) -> float:
    """The least size whose accuracy on the monotone curve is this; 0 below the curve, infinity above it."""
    # Not at the top: it takes a while, and few jobs have a curve.
    from scipy.optimize import isotonic_regression

    rising = isotonic_regression(means).x
    if accuracy < rising[0]:
        return 0.0
    if accuracy > rising[-1]:
        return math.inf
    right = int(np.searchsorted(rising, accuracy))
    if rising[right] == accuracy:
        return float(sizes[right])
    share = (accuracy - rising[right - 1]) / (rising[right] - rising[right - 1])
    return float(math.exp((1 - share) * math.log(sizes[right - 1]) + share * math.log(sizes[right])))


def _known(size: float) -> float | None:
    return float(size) if 0 < size < math.inf else None
