"""Scores that tell informative images from helpful labels and augmentation: pure functions of accuracies.

Li et al., "DD-Ranking: Rethinking the Evaluation of Dataset Distillation", 2025 (arXiv 2505.13300). Accuracies are in
percent; every score is in percent as well, 0 to 100, more being better.
"""

from __future__ import annotations

import math

WEIGHT = 0.5
"""w, the weight of the first of the two differences that a score joins, as on the published leaderboard."""


def label_robust(
    *, full_hard: float, distilled_hard: float, distilled_soft: float, random_soft: float, weight: float = WEIGHT
) -> dict[str, float]:
    """Label-robust score: what of the full set hard labels recover, and what soft labels add to random images too.

    alpha = w IOR - (1 - w) HLR with the improvement over random IOR = acc(distilled, soft) - acc(random, soft) and the
    hard label recovery HLR = acc(full, hard) - acc(distilled, hard), which is the smaller the better.

    Args:
        full_hard: accuracy of networks trained on the full training set with hard labels.
        distilled_hard: on the distilled set with hard labels.
        distilled_soft: on the distilled set with soft labels.
        random_soft: on as many random real images with soft labels of the same teacher.
        weight: w, 0 to 1.

    Returns:
        ``score``, and what it is made of: ``improvement_over_random``, ``hard_label_recovery`` (points), ``weight``.

    >>> label_robust(full_hard=80, distilled_hard=50, distilled_soft=60, random_soft=50)["score"]
    22.84...
    """
    improvement, recovery = distilled_soft - random_soft, full_hard - distilled_hard
    return {
        "score": _score(weight * improvement - (1 - weight) * recovery),
        "improvement_over_random": improvement,
        "hard_label_recovery": recovery,
        "weight": weight,
    }


def augmentation_robust(
    *,
    distilled_augmented: float,
    random_augmented: float,
    distilled_plain: float,
    random_plain: float,
    weight: float = WEIGHT,
) -> dict[str, float]:
    """Augmentation-robust score: improvement over random images with augmentation and without.

    beta = w (acc(distilled, aug) - acc(random, aug)) + (1 - w) (acc(distilled) - acc(random)).

    Args:
        distilled_augmented: accuracy of networks trained on the distilled set with augmentation.
        random_augmented: on as many random real images with augmentation.
        distilled_plain: on the distilled set without.
        random_plain: on random real images without.
        weight: w, 0 to 1.

    Returns:
        ``score``, and what it is made of: ``improvement_augmented``, ``improvement_plain`` (points), ``weight``.

    >>> augmentation_robust(distilled_augmented=60, random_augmented=60, distilled_plain=5, random_plain=5)["score"]
    26.89...
    """
    augmented, plain = distilled_augmented - random_augmented, distilled_plain - random_plain
    return {
        "score": _score(weight * augmented + (1 - weight) * plain),
        "improvement_augmented": augmented,
        "improvement_plain": plain,
        "weight": weight,
    }


def _score(points: float) -> float:
    """(e^alpha - e^-1) / (e - e^-1) in percent, where alpha = points / 100 lies between -1 and 1."""
    return 100 * (math.exp(points / 100) - math.exp(-1)) / (math.e - math.exp(-1))
