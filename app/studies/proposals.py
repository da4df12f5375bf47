"""Points that Optuna's tree-structured Parzen estimator proposes from those that are scored.

The estimator is that of Bergstra, Bardenet, Bengio and Kégl (Algorithms for Hyper-Parameter Optimization, NeurIPS
2011), as Optuna has it. Nothing of Optuna's is stored: its study is made anew in memory for each batch, from the trials
of ours and a seed that follows from the study's and from how many trials there are. So every process
makes the same batch.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from app.studies.space import Space, Values

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

MOST_DRAWN = 10
"""Points that are drawn at random before any is proposed, at most: before that there is little to learn from."""
BATCH = 4
"""Points that are proposed together, and scored side by side."""
_ASKED = 16
"""Times that Optuna is asked for each point of a batch; points that were tried before do not count."""


@dataclass(frozen=True)
class Tried:
    """A point that was tried.

    Attributes:
        values: what it sets.
        score: its objective in the first rung; ``None`` where it gave none.
    """

    values: Values
    score: float | None


def available() -> bool:
    """Whether Optuna is installed here."""
    return find_spec("optuna") is not None


def drawn(points: int) -> int:
    """How many of so many points are drawn at random first: half of them, and ten at most.

    >>> [drawn(points) for points in (1, 2, 7, 40)]
    [1, 1, 3, 10]
    """
    return min(MOST_DRAWN, max(1, points // 2))


def proposed(space: Space, tried: Sequence[Tried], seed: int) -> Iterator[dict[str, Any]]:
    """Points to try next, the most promising first: different ones, of which none was tried.

    The estimator sees each as a bad one as soon as it is proposed, so that a batch spreads ("constant liar"). Where it
    only comes back to what is known, the rest are drawn at random.

    Args:
        space: what can be tried.
        tried: every point so far, in the order in which they were made.
        seed: of the study.

    Yields:
        Points until the space has no more; each is computed when it is asked for.
    """
    # Optuna is an extra, and what it imports takes most of a second.
    from optuna import create_study, logging
    from optuna.samplers import TPESampler

    logging.set_verbosity(logging.WARNING)
    sampler = TPESampler(n_startup_trials=1, seed=_seed_of(seed, len(tried)))
    study = create_study(direction="maximize", sampler=sampler)
    distributions = {path: _distribution(values) for path, values in space.paths.items()}
    study.add_trials([_as_trial(space, each, distributions) for each in tried])
    known = {space.number(each.values) for each in tried}
    for _ in range(_ASKED * BATCH):
        if len(known) == space.size:
            return
        asked = study.ask(distributions)
        point = space.at(asked.params)
        if space.number(point) not in known:
            known.add(space.number(point))
            yield point
    yield from (point for point in space.draw(len(known) + BATCH, seed) if space.number(point) not in known)


def _seed_of(seed: int, finished: int) -> int:
    """Seed of a batch, below 2³² as NumPy has it."""
    return int.from_bytes(hashlib.sha256(f"tpe/{seed}/{finished}".encode()).digest()[:4], "big")


def _distribution(values: Sequence[Any]) -> BaseDistribution:
    """Positions among the values of a path: in order where the values are rising numbers, else without any."""
    from optuna.distributions import CategoricalDistribution, IntDistribution

    if _rising(values):
        return IntDistribution(0, len(values) - 1)
    return CategoricalDistribution(range(len(values)))


def _rising(values: Sequence[Any]) -> bool:
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    return numbers and all(a < b for a, b in pairwise(values))


def _as_trial(space: Space, tried: Tried, distributions: dict[str, BaseDistribution]) -> FrozenTrial:
    from optuna.trial import TrialState, create_trial

    scored = tried.score is not None and math.isfinite(tried.score)
    return create_trial(
        state=TrialState.COMPLETE if scored else TrialState.FAIL,
        value=tried.score if scored else None,
        params=dict(space.positions(tried.values)),
        distributions=distributions,
    )
