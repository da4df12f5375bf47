"""Mutual-information bounds and empirical conditional mutual information, as pure functions.

Everything is in nats, computed in the dtype given (use float32 or float64, not bfloat16).
Notation: synthetic samples are rows ``i``, real samples are columns ``j``; a pair is *positive* when
both have the same label. ``logits[i, j]`` estimates the log density ratio of a pair up to a constant.

Given the label, a synthetic and a real sample are drawn independently, so their mutual information
cannot exceed the entropy of the label: log C for C balanced classes. :func:`capped` enforces it.

Sources: Shang, Yuan & Yan, MIM4DD, NeurIPS 2023 (equations by number); Zhong et al., ICLR 2025.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


def empirical_cmi(features: Tensor, labels: Tensor) -> Tensor:
    """Class-conditional mutual information I(S; Z | Y) of softmax features (Zhong et al., 2025).

    With p_j the softmax of row j and q_c the mean of p over class c, it is
    (1/N) sum_j KL(p_j || q_class(j)), the generalised Jensen-Shannon divergence within classes.

    Args:
        features: (N, M) real features, not yet normalised.
        labels: (N,) int64 class of each row; rows need not be sorted.

    Returns:
        Scalar in nats, between 0 and log min(largest class, M); zero when every class has one row.
        The gradient through the class means is identically zero, so they are not differentiated.

    >>> round(empirical_cmi(torch.tensor([[0.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 0])).item(), 6)
    0.0
    """
    log_p = F.log_softmax(features, dim=1)
    values, groups, counts = labels.unique(return_inverse=True, return_counts=True)
    with torch.no_grad():
        means = torch.zeros(len(values), features.shape[1], dtype=log_p.dtype, device=log_p.device)
        means.index_add_(0, groups, log_p.exp())
        log_q = (means / counts.unsqueeze(1)).log()
    total: Tensor = (log_p.exp() * (log_p - log_q[groups])).sum()
    return total / len(labels)


@dataclass(frozen=True)
class Pairs:
    """Which (synthetic, real) pairs share a label, with the averages that the bounds need."""

    positive: Tensor
    """(I, J) bool."""

    @classmethod
    def of(cls, synthetic_labels: Tensor, real_labels: Tensor) -> Pairs:
        """Pairs of rows (I,) and columns (J,) by label.

        Raises:
            ValueError: no pair has the same label, or all pairs have.
        """
        positive = synthetic_labels.unsqueeze(1) == real_labels.unsqueeze(0)
        if not positive.any() or positive.all():
            raise ValueError("contrastive estimates need pairs of the same class and pairs of different classes")
        return cls(positive)

    def mean_positive(self, values: Tensor) -> Tensor:
        """Mean of ``values`` (I, J) over same-class pairs."""
        return values[self.positive].mean()

    def mean_negative(self, values: Tensor) -> Tensor:
        """Mean of ``values`` (I, J) over different-class pairs."""
        return values[~self.positive].mean()


def nce_loss(logits: Tensor, pairs: Pairs, negatives: float) -> Tensor:
    """Contrastive loss of eq. 16: -(E+[log h] + N E-[log(1 - h)]) with h = sigmoid(logits).

    Args:
        logits: (I, J) log-odds that a pair is positive. Eq. 15 prints similarity / tau - log(N / M) for M real images.
            At similarity 0 that claims a log density ratio of log M even for unrelated pairs, so a learned offset in
            its place is the better default.
        pairs: labels of the pairs.
        negatives: N, how many negatives the prior of eq. 11 sets against one positive.
    """
    return -(pairs.mean_positive(F.logsigmoid(logits)) + negatives * pairs.mean_negative(F.logsigmoid(-logits)))


def infonce_bound(logits: Tensor, pairs: Pairs) -> Tensor:
    """InfoNCE lower bound: mean over positives of logits[i, j] - log mean_k exp(logits[i, k]).

    A bound up to the sampling error of a class-balanced batch of columns; at most log C there.
    A constant added to the logits changes nothing. The read-off that eq. 14 suggests, log N + E+[log h], is no bound:
    it can exceed log C.
    """
    columns = logits.shape[1]
    normalised = logits - torch.logsumexp(logits, dim=1, keepdim=True) + math.log(columns)
    counts = pairs.positive.sum(dim=1).clamp(min=1)
    of_row = (normalised * pairs.positive).sum(dim=1) / counts
    return of_row[pairs.positive.any(dim=1)].mean()


def layer_weights(layers: int, decay: float) -> list[float]:
    """Weight of each layer's contrastive term in eq. 17, beta^-(K-1-k) for k = 1..K.

    >>> layer_weights(3, 2.0)
    [0.5, 1.0, 2.0]
    """
    return [decay ** -(layers - 1 - k) for k in range(1, layers + 1)]


def capped(nats: float, classes: int) -> float:
    """A reading of mutual information, at most log C; above that it is an artefact of sampling.

    >>> capped(5.0, 10) == math.log(10)
    True
    """
    return min(nats, math.log(classes))
