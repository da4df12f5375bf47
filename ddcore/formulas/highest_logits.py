"""A teacher's logits cut down to the highest, with one number for all the others.

What is kept of probabilities is the "marginal smoothing" of Shen & Xing (FKD, ECCV 2022, arXiv 2112.01528): the highest
stay, and the others share what is left equally. Theirs are of one set of probabilities; here they are those at the
temperature at which they will be learned. Their "marginal re-norm" gives the others nothing and the kept ones more than
the teacher did; so does LPQLD (Xiao & He, TPAMI 2026, arXiv 2604.18135), whose released code takes the softmax of the
kept logits alone. At a temperature of 20, where the probabilities of many classes are nearly equal, a few kept ones
hold a small share of them, and labels without the rest would say something else than the teacher.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class HighestLogits(NamedTuple):
    """What is kept of logits (N, classes).

    Attributes:
        logits: (N, k), the highest of each row, in descending order.
        classes: (N, k) whole numbers from 0, whose these are.
        rest: (N,), the logit of each other class.
    """

    logits: Tensor
    classes: Tensor
    rest: Tensor


def highest(logits: Tensor, count: int, temperature: float | None) -> HighestLogits:
    """Keep the highest logits; of equal ones those of the lower classes.

    With a temperature T the rest is r = T (logsumexp(z / T) - log m) over the m logits z that are not kept. Then
    m exp(r / T) is the sum of their exp(z / T), so the kept classes have their probabilities at T, and the others equal
    ones: of all labels where these are equal, that with the least divergence from the teacher. Without a temperature r
    is the mean of z, which has the least squared error.

    Args:
        logits: floating point (N, classes).
        count: k, 1 to classes - 1.
        temperature: at which probabilities will be learned, positive; ``None`` where squared differences will.

    Returns:
        The kept ones and the rest in the dtype of ``logits``, classes as int64.

    Raises:
        ValueError: none would be kept, or all.

    >>> found = highest(torch.tensor([[1.0, 5.0, 3.0, 0.0]]), 2, None)
    >>> found.logits.tolist(), found.classes.tolist(), found.rest.tolist()
    ([[5.0, 3.0]], [[1, 2]], [0.5])
    """
    if not 0 < count < logits.shape[1]:
        raise ValueError(f"of {logits.shape[1]} logits 1 to {logits.shape[1] - 1} can be the highest, not {count}")
    ordered, classes = logits.sort(dim=1, descending=True, stable=True)
    others = ordered[:, count:]
    if temperature is None:
        rest = others.mean(dim=1)
    else:
        rest = temperature * (torch.logsumexp(others / temperature, dim=1) - math.log(others.shape[1]))
    return HighestLogits(ordered[:, :count], classes[:, :count], rest)


def all_logits(kept: HighestLogits, classes: int) -> Tensor:
    """Logits (N, classes) with the kept ones in their places and the rest in all others.

    >>> all_logits(highest(torch.tensor([[1.0, 5.0, 3.0, 0.0]]), 2, None), 4).tolist()
    [[0.5, 5.0, 3.0, 0.5]]
    """
    dense = kept.rest.unsqueeze(1).repeat(1, classes)
    return dense.scatter_(1, kept.classes.long(), kept.logits)
