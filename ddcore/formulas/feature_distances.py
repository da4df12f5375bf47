"""Distances between the embeddings of a class's real images and those of its synthetic images.

Real embeddings are constants, synthetic ones are differentiated. All are sums over the dimensions of an
embedding, as the published learning rates presume, never means.

Sources: Zhao & Bilen, "Dataset Condensation with Distribution Matching", WACV 2023 (arXiv 2110.04181);
Zhou et al., "BACON: Bayesian Optimal Condensation Framework for Dataset Distillation", 2024 (arXiv
2406.01112), its project page and its released code, which disagree: compare
:func:`printed_risk` and :func:`released_risk`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

TRADE_OFF = 0.8
"""lambda of BACON: weight of the variation; 1 - lambda is that of the clip term."""

LEAST_DEVIATION = 1e-2
"""Deviations below count as this in BACON's printed form: a feature that is the same in a whole batch has none."""

_PAIRED_VALUES = 2**22
_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class Moments(NamedTuple):
    """Statistics of real embeddings over a batch.

    Attributes:
        mean: (..., F).
        deviation: (..., F) unbiased standard deviation; 0 for a batch of one.
    """

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, embeddings: Tensor) -> Moments:
        """Statistics of embeddings (B, F).

        >>> Moments.of(torch.tensor([[1.0], [3.0]]))
        Moments(mean=tensor([2.]), deviation=tensor([1.4142]))
        """
        variance, mean = torch.var_mean(embeddings, dim=0, correction=min(1, len(embeddings) - 1))
        return cls(mean, variance.sqrt())


class RiskTerms(NamedTuple):
    """The three terms of BACON, scalars to minimise.

    Attributes:
        likelihood: negative log-likelihood of the synthetic embeddings under Gaussians around the real ones.
        variation: half of the absolute differences.
        clip: squared distance of the normalised differences from [0, 1].
    """

    likelihood: Tensor
    variation: Tensor
    clip: Tensor

    def total(self, trade_off: float = TRADE_OFF) -> Tensor:
        """Sum of likelihood, lambda variation and (1 - lambda) clip."""
        return self.likelihood + trade_off * self.variation + (1 - trade_off) * self.clip


def mean_embedding_distance(real: Tensor, synthetic: Tensor) -> Tensor:
    """Squared distance of mean embeddings, summed over dimensions (and classes, where batched).

    Args:
        real: (..., F) class means of real embeddings.
        synthetic: (..., F) class means of synthetic embeddings.

    Returns:
        Scalar ``sum (real - synthetic)^2``; the published learning rate presumes the sum, not a mean.

    >>> mean_embedding_distance(torch.zeros(2), torch.tensor([1.0, 2.0])).item()
    5.0
    """
    return (real - synthetic).square().sum()


def paired_absolute(real: Tensor, synthetic: Tensor) -> Tensor:
    """Mean absolute difference of paired embeddings, summed over the pairs.

    The loss of CIM (Shang et al., ECCV 2026) in its released code; the paper prints squared norms.

    Args:
        real: (n, F).
        synthetic: (n, F), the k-th belongs to the k-th of ``real``.

    Returns:
        Scalar ``sum_k mean_f |real_kf - synthetic_kf|``.

    >>> paired_absolute(torch.zeros(2, 2), torch.tensor([[1.0, 3.0], [0.0, -1.0]])).item()
    2.5
    """
    return (real - synthetic).abs().mean(dim=1).sum()


def released_risk(real: Moments, synthetic: Tensor) -> RiskTerms:
    """BACON as its released code computes it, summed over dimensions (and classes, where batched).

    With the difference D of the means and the deviation s of a dimension, the Gaussian's deviation is exp(s), not
    s: likelihood = sum 1/2 log 2 pi + s + 1/2 D^2 exp(-2 s), variation = sum 1/2 |D|. The code takes the logarithm of
    a density that underflows where |D| exp(-s) exceeds 13; this is the same without it. Its clip term compares
    1 / F with 1 / F, so it is identically zero, and so it is here.

    Args:
        real: statistics (..., F) of each class's real embeddings.
        synthetic: (..., F) class means of synthetic embeddings.

    >>> terms = released_risk(Moments(torch.zeros(1), torch.zeros(1)), torch.tensor([2.0]))
    >>> [round(term.item(), 4) for term in terms]
    [2.9189, 1.0, 0.0]
    """
    difference = synthetic - real.mean
    likelihood = _HALF_LOG_2PI + real.deviation + 0.5 * difference.square() * torch.exp(-2 * real.deviation)
    return RiskTerms(likelihood.sum(), 0.5 * difference.abs().sum(), likelihood.new_zeros(()))


def printed_risk(real: Tensor, synthetic: Tensor) -> RiskTerms:
    """BACON as its paper prints it, of one class: mean over all pairs of a synthetic and a real image.

    The paper derives its first term as a log-likelihood to maximise and prints it to be minimised; the sign here is
    that of the derivation. The deviation, which it leaves open, is that of the real embeddings over their batch, at
    least :data:`LEAST_DEVIATION`.

    Args:
        real: (k, F), k at least 2.
        synthetic: (n, F).

    >>> terms = printed_risk(torch.tensor([[-1.0], [1.0]]), torch.tensor([[1.0]]))
    >>> [round(term.item(), 4) for term in terms]
    [1.7655, 0.5, 0.0858]
    """
    deviation = Moments.of(real).deviation.clamp(min=LEAST_DEVIATION)
    # Of n x k x F differences, only those of one part are in memory: the way back computes them once more.
    parts = real.split(max(1, _PAIRED_VALUES // synthetic.numel()))
    sums = [
        checkpoint(_pair_sums, part, synthetic, deviation, use_reentrant=False, preserve_rng_state=False)
        for part in parts
    ]
    squares, variation, clip = torch.stack(sums).sum(dim=0) / (len(real) * len(synthetic))
    return RiskTerms((_HALF_LOG_2PI + deviation.log()).sum() + squares, variation, clip)


def _pair_sums(real: Tensor, synthetic: Tensor, deviation: Tensor) -> Tensor:
    """(3,) sums over pairs and dimensions: 1/2 u^2, 1/2 |difference|, (u - clip(u, 0, 1))^2."""
    difference = synthetic[:, None] - real
    normalised = difference / deviation
    outside = normalised - normalised.clamp(0, 1)
    return torch.stack([0.5 * normalised.square().sum(), 0.5 * difference.abs().sum(), outside.square().sum()])
