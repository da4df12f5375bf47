"""How far the statistics of a batch are from those that batch normalisation has kept of the real images."""

from __future__ import annotations

import torch
from torch import Tensor


def moments(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance (C,) of each channel of maps (N, C, ...), over images and places."""
    rows = maps.transpose(0, 1).flatten(1)
    return rows.mean(dim=1), rows.var(dim=1, correction=0)


def distance_of_moments(mean: Tensor, variance: Tensor, kept_mean: Tensor, kept_variance: Tensor) -> Tensor:
    """|v - v'|_2 + |m - m'|_2 of two means and variances, (C,) each; norms, not their squares.

    Source: the released code of SRe2L (Yin, Xing & Shen, NeurIPS 2023, arXiv 2306.13092), after DeepInversion (Yin et
    al., CVPR 2020).
    """
    distance: Tensor = torch.linalg.vector_norm(variance - kept_variance) + torch.linalg.vector_norm(mean - kept_mean)
    return distance
