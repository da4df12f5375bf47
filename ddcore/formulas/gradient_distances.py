"""Distances between the gradients of two batches, by which the one is moved to match the other.

Each takes two flat dictionaries with the same names, the gradient on synthetic images (differentiated)
and the gradient on real images (constant), and returns a scalar. Dictionaries that hold a part of the
parameters compare that part: IDC matches the weights of convolutions only.

Sources: Zhao, Mopuri & Bilen, "Dataset Condensation with Gradient Matching", ICLR 2021 (arXiv 2006.05929),
its released code; Kim et al., "Dataset Condensation via Efficient Synthetic-Data Parameterization", ICML
2022 (arXiv 2205.14959).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

EPSILON = 1e-6
"""Added to the product of norms under a cosine, as published."""

Gradient = Mapping[str, Tensor]
"""Gradient of a loss in each parameter, by its name; at least one."""


def inner_product(synthetic: Gradient, real: Gradient) -> Tensor:
    """Sum over all entries of the products: linear in ``synthetic``, so no distance, but read alike.

    >>> inner_product({"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([3.0, 4.0])}).item()
    11.0
    """
    return _sum([(synthetic[name] * real[name]).sum() for name in real])


def row_cosine(synthetic: Gradient, real: Gradient) -> Tensor:
    """Distance of DC: 1 - cosine for each output node, summed over the nodes of all layers.

    A node is a row of a weight flattened to (out, in * k * k), (out, in) or, for layer normalisation,
    (C, H * W). One-dimensional parameters (every bias, every scale and shift) contribute nothing. A row of
    zeros has cosine 0.

    >>> gradient = {"weight": torch.eye(2), "bias": torch.ones(2)}
    >>> round(row_cosine(gradient, {"weight": -torch.eye(2), "bias": torch.zeros(2)}).item(), 4)
    4.0
    """
    weights = [name for name in real if real[name].ndim > 1]
    if not weights:
        raise ValueError(f"none of {', '.join(real)} has more than one dimension: there are no rows to compare")
    return _sum([_row_cosine(synthetic[name].flatten(1), real[name].flatten(1)) for name in weights])


def cosine(synthetic: Gradient, real: Gradient) -> Tensor:
    """1 - cosine of all parameters as one vector, biases included (``cos`` of the released code)."""
    norms = _norm([synthetic[name] for name in real]) * _norm(list(real.values()))
    return 1 - inner_product(synthetic, real) / (norms + EPSILON)


def squared(synthetic: Gradient, real: Gradient) -> Tensor:
    """Sum of squared differences (``mse`` of the released codes, which do not take the mean)."""
    return _sum([(synthetic[name] - real[name]).square().sum() for name in real])


def absolute(synthetic: Gradient, real: Gradient) -> Tensor:
    """Sum of absolute differences (``l1`` of IDC)."""
    return _sum([(synthetic[name] - real[name]).abs().sum() for name in real])


def _row_cosine(synthetic: Tensor, real: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(synthetic, dim=1) * torch.linalg.vector_norm(real, dim=1)
    return (1 - (synthetic * real).sum(dim=1) / (norms + EPSILON)).sum()


def _norm(parts: list[Tensor]) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(torch.cat([part.flatten() for part in parts]))
    return norm


def _sum(parts: list[Tensor]) -> Tensor:
    return torch.stack(parts).sum()
