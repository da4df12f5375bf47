"""How much a distilled set is above the real images that it has to beat, with the error of that."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ddcore.spec.results import ArchitectureScores, Difference, Results, Score

CORESETS: Mapping[str, str] = {
    "random": "random real images",
    "herding": "real images chosen by herding",
    "best_coreset": "the best coreset",
}
"""Controls of the same size, which a distilled set has to beat, in words."""
RULE_NAMES: Mapping[str, str] = {"herding": "herding", "k_means": "k-means", "k_center": "k-center"}
"""Rules that keep real images, in words."""
CLEAR = 2.0
"""Errors that a difference must have to count: about 95 % for a handful of networks."""


def difference(distilled: Score, control: Score) -> Difference:
    """Difference of two mean accuracies, with its standard error.

    The networks of the two sets have seeds of their own, so the error is that of independent means, sqrt(s1^2 / n1 +
    s2^2 / n2), with the sample variances s^2. It is of the networks and of the draw of random images; what another seed
    of the distillation would change is not in it.

    Args:
        distilled: accuracy of the distilled set.
        control: of real images under the identical recipe.

    Returns:
        Points; the error is ``None`` where a side has a single network.

    >>> difference(Score(mean=70, std=1.0, networks=2), Score(mean=60, std=2.0, networks=5))
    Difference(points=10.0, error=1.4142135623730951, verdict='above')
    """
    points = distilled.mean - control.mean
    if min(distilled.networks, control.networks) < 2:
        return Difference(points=points, error=None, verdict="below" if points <= 0 else "unclear")
    error = math.sqrt(sum(score.std**2 / (score.networks - 1) for score in (distilled, control)))
    if points <= 0:
        return Difference(points=points, error=error, verdict="below")
    return Difference(points=points, error=error, verdict="above" if points > CLEAR * error else "unclear")


def scored_controls(entry: ArchitectureScores) -> dict[str, Score]:
    """The controls that were scored, in one order wherever the results were kept: those of the same size first.

    >>> score = Score(mean=70, std=1.0, networks=2)
    >>> list(scored_controls(ArchitectureScores(controls={"full": score, "herding": None, "random": score})))
    ['random', 'full']
    """
    names = (*CORESETS, *sorted(entry.controls))
    return {name: score for name in names if (score := entry.controls.get(name)) is not None}


def differences(entry: ArchitectureScores) -> dict[str, Difference]:
    """Of every control that a set has to beat, by name, as :func:`scored_controls` has them; of older results too."""
    distilled = entry.accuracy
    if distilled is None:
        return {}
    found = scored_controls(entry).items()
    return {name: difference(distilled, score) for name, score in found if name in CORESETS}


def verdict(control: str, found: Difference) -> str:
    """What a difference says, as the rest of a sentence about the set.

    >>> verdict("random", Difference(points=-3.12, error=0.9, verdict="below"))
    'does not beat random real images: −3.1 ± 0.9 points'
    >>> verdict("best_coreset", Difference(points=0.8, error=0.9, verdict="unclear"))
    'is not clearly better than the best coreset: +0.8 ± 0.9 points'
    """
    words = {"above": "beats", "unclear": "is not clearly better than", "below": "does not beat"}
    numbers = f"{found.points:+.1f}".replace("-", "−")
    error = " points, without an error: there is one network" if found.error is None else f" ± {found.error:.1f} points"
    return f"{words[found.verdict]} {CORESETS[control]}: {numbers}{error}"


def verdicts(entry: ArchitectureScores) -> list[str]:
    """What is to be said of a set beside its controls, see :func:`verdict`."""
    return [verdict(name, found) for name, found in differences(entry).items()]


def worst(results: Results) -> ArchitectureScores | None:
    """The scores with the architecture that learns least from the set; ``None`` where it was scored with one."""
    scored = [entry for entry in results.architectures if entry.accuracy is not None]
    return min(scored, key=_mean, default=None) if len(scored) > 1 else None


def _mean(entry: ArchitectureScores) -> float:
    return math.inf if entry.accuracy is None else entry.accuracy.mean
