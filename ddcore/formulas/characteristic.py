"""Distance of two samples of features by their empirical characteristic functions.

Source: Wang et al., "Dataset Distillation with Neural Characteristic Function: A Minmax Perspective", CVPR 2025, and
its released code (NCFM/NCFM.py of github.com/gszfwsb/NCFM).
"""

from __future__ import annotations

import torch
from torch import Tensor

LEAST_PHASE = 1e-12
"""The phase term counts as at least this: the slope of a root is infinite at zero."""


def characteristic(features: Tensor, frequencies: Tensor) -> Tensor:
    """Empirical characteristic function of a sample: the mean over its features x of exp(i <t, x>).

    >>> characteristic(torch.zeros(3, 2), torch.ones(1, 2)).flatten().tolist()
    [1.0, 0.0]

    Args:
        features: floating point (N, d), N at least 1.
        frequencies: (F, d), one t a row.

    Returns:
        (2, F), real and imaginary parts, differentiable in both arguments; no longer than 1.
    """
    angles = features @ frequencies.T
    return torch.stack([angles.cos().mean(dim=0), angles.sin().mean(dim=0)])


def characteristic_distance(real: Tensor, synthetic: Tensor, amplitude: float = 0.5) -> Tensor:
    """Mean over the frequencies of sqrt(a A + (1 - a) B), of amplitudes A and phases B.

    With the characteristic functions R and S of the two samples, A = (|R| - |S|)^2 and
    B = 2 (|R| |S| - Re R Re S - Im R Im S). At a = 1/2 the root is |R - S| / sqrt(2).

    >>> value = torch.tensor([[0.6], [0.8]])
    >>> round(characteristic_distance(value, 0 * value).item(), 4)
    0.7071

    Args:
        real: (2, F), as :func:`characteristic` returns it.
        synthetic: likewise.
        amplitude: a, weight of the amplitudes: at least 0, less than 1.

    Returns:
        Scalar, 0 to about sqrt(2), differentiable in both samples.
    """
    lengths = [torch.linalg.vector_norm(function, dim=0) for function in (real, synthetic)]
    amplitudes = (lengths[0] - lengths[1]).square()
    phases = 2 * (lengths[0] * lengths[1] - (real * synthetic).sum(dim=0))
    squared: Tensor = amplitude * amplitudes + (1 - amplitude) * phases.clamp(min=LEAST_PHASE)
    return squared.sqrt().mean()
