"""CutMix: paste a box of one image into another and mix their labels by area.

Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features", ICCV 2019
(arXiv 1905.04899), as the released code of IDC has it: one box a batch, and not in every batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Generator, Tensor


def cutmix(
    images: Tensor, labels: Tensor, classes: int, generator: Generator, *, probability: float = 0.5, beta: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Mix a batch with a permutation of itself, or leave it alone.

    Args:
        images: floating-point (N, C, H, W); not changed.
        labels: int64 (N,), 0 to ``classes`` - 1, or float32 (N, ``classes``) probabilities.
        classes: how many classes there are.
        generator: CPU generator; decides whether, how much, where and with which image to mix.
        probability: that the batch is mixed, 0 to 1.
        beta: the share that is kept is drawn from Beta(beta, beta), positive; uniformly for 1.

    Returns:
        The images, same shape and dtype, and their labels as float32 probabilities (N, classes), by the area that
        each of the two images really covers: the box is cut off at the border.

    >>> images, labels = cutmix(torch.zeros(2, 1, 4, 4), torch.tensor([0, 1]), 2, Generator(), probability=0)
    >>> labels.tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    alone = labels if labels.is_floating_point() else torch.eye(classes, device=labels.device)[labels]
    if float(torch.rand((), generator=generator)) >= probability:
        return images, alone
    rows, columns = _box(images.shape[-2:], 1 - _beta(beta, generator), generator)
    partner = torch.randperm(len(images), generator=generator).to(images.device)
    mixed = images.clone()
    mixed[:, :, rows, columns] = images[partner, :, rows, columns]
    pasted = (rows.stop - rows.start) * (columns.stop - columns.start) / math.prod(images.shape[-2:])
    return mixed, (1 - pasted) * alone + pasted * alone[partner]


def _box(sides: Sequence[int], share: float, generator: Generator) -> tuple[slice, slice]:
    """Rows and columns of a box around a uniform centre: ``share`` of the image, less what the border cuts off."""
    found = []
    for side in sides:
        half = int(side * math.sqrt(share)) // 2
        centre = int(torch.randint(side, (), generator=generator))
        found.append(slice(max(centre - half, 0), min(centre + half, side)))
    rows, columns = found
    return rows, columns


def _beta(beta: float, generator: Generator) -> float:
    """A number from Beta(beta, beta); the framework draws none from a generator of one's own."""
    seed = int(torch.randint(2**62, (), generator=generator))
    return float(np.random.default_rng(seed).beta(beta, beta))
