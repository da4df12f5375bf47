"""Similarity of two representations of the same things.

Source: Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019 (arXiv 1905.00414).
"""

from __future__ import annotations

from torch import Tensor


def linear_cka(x: Tensor, y: Tensor) -> float:
    """Linear centred kernel alignment, 0 to 1: 1 where one is a rotated, scaled or shifted copy of the other.

    With the columns of X and Y centred, ||Y^T X||_F^2 / (||X^T X||_F ||Y^T Y||_F). It is taken from the n x n kernels
    X X^T and Y Y^T, which give the same numbers.

    Args:
        x: (n, p) features of n things, n at least 2.
        y: (n, q) other features of the same things in the same order.

    Returns:
        NaN where all rows of one of them are equal.

    Raises:
        ValueError: they are not features of the same number of things, or of fewer than two.

    >>> import torch
    >>> x = torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0]])
    >>> round(linear_cka(x, 3 * x.flip(1) + 7), 6)
    1.0
    """
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or len(x) < 2:
        raise ValueError(f"features {tuple(x.shape)} and {tuple(y.shape)} are not of the same two or more things")
    of_x, of_y = _kernel(x), _kernel(y)
    scale = of_x.norm() * of_y.norm()
    return float((of_x * of_y).sum() / scale) if scale > 0 else float("nan")


def _kernel(features: Tensor) -> Tensor:
    centred = features.double() - features.double().mean(dim=0)
    return centred @ centred.T
