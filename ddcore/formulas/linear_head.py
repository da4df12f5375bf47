"""The gradient of the cross-entropy of a linear classifier, written out.

Cazenavette, Torralba & Sitzmann, "Dataset Distillation for Pre-Trained Self-Supervised Vision Models", NeurIPS 2025
(arXiv 2511.16674), compare it on real and on synthetic images.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def head_gradient(features: Tensor, labels: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Gradient of the mean cross-entropy in weights and biases, as one vector.

    With p = softmax(W f + b) it is the mean over the images of (p - y) f^T in W, and of p - y in b: a first derivative
    that is a plain function of the features, so that its slope in them takes no second pass.

    Args:
        features: f, floating point (N, F), N at least 1.
        labels: y, int64 (N,).
        weight: W, (classes, F).
        bias: b, (classes,).

    Returns:
        (classes * F + classes,), row by row of W and then b; differentiable in the features.

    >>> gradient = head_gradient(torch.ones(1, 2), torch.tensor([0]), torch.zeros(2, 2), torch.zeros(2))
    >>> gradient.tolist()
    [-0.5, -0.5, 0.5, 0.5, -0.5, 0.5]
    """
    error = F.softmax(F.linear(features, weight, bias), dim=1) - F.one_hot(labels, len(bias))
    error = error / len(features)
    return torch.cat([(error.T @ features).flatten(), error.sum(dim=0)])


def cosine_distance(one: Tensor, other: Tensor) -> Tensor:
    """1 - the cosine between two vectors, a scalar from 0 to 2; 1 where one of them is zero."""
    return 1 - F.cosine_similarity(one, other, dim=0)
