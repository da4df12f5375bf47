"""What a synthetic set starts from: rows of real images, or noise."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from ddcore.data.dataset import ImageSet
from ddcore.formulas import selection


def real_rows(train: ImageSet, count: int, generator: Generator) -> Tensor:
    """Rows of ``count`` training images of each class, drawn uniformly without replacement.

    Args:
        train: real images; every class must have at least ``count``.
        count: images per class.
        generator: source of the draw, on the CPU.

    Returns:
        (C * count,) int64, class-major.
    """
    return torch.cat([rows[torch.randperm(len(rows), generator=generator)[:count]] for rows in _rows_by_class(train)])


def clustered_rows(train: ImageSet, count: int, generator: Generator, features: Callable[[Tensor], Tensor]) -> Tensor:
    """Rows of the images nearest to the centroids of ``count`` clusters of each class.

    Liu et al., "Efficient Dataset Distillation by Representative Matching" (DREAM), ICCV 2023 (arXiv 2302.14416).

    Args:
        train: real images.
        count: images per class.
        generator: decides where the clustering starts, on the CPU.
        features: (n, F) float32 of training rows (n,) int64.

    Returns:
        (C * count,) int64, class-major.
    """
    chosen = [rows[selection.k_means(features(rows), count, generator)] for rows in _rows_by_class(train)]
    return torch.cat(chosen)


def small_uniform(rows: int, shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Noise, uniform within sqrt(6 / (rows + values of a row)): (rows, *shape) float32.

    Args:
        rows: how many.
        shape: of each.
        generator: source of the noise, on the CPU.
    """
    bound = math.sqrt(6 / (rows + math.prod(shape)))
    return torch.rand(rows, *shape, generator=generator).mul_(2 * bound).sub_(bound)


def unit_normal(rows: int, shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Noise whose rows point anywhere and have the norm 1: (rows, *shape) float32.

    Args:
        rows: how many.
        shape: of each.
        generator: source of the noise, on the CPU.
    """
    noise = torch.randn(rows, math.prod(shape), generator=generator)
    return noise.div_(noise.norm(dim=1, keepdim=True)).view(rows, *shape)


def _rows_by_class(train: ImageSet) -> list[Tensor]:
    labels = train.labels.cpu()
    return [(labels == label).nonzero().flatten() for label in range(len(train.classes))]
