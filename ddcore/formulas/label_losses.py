"""Distances of a network's outputs from those of a teacher that labels the same images.

Sources: Hinton, Vinyals & Dean, "Distilling the Knowledge in a Neural Network", 2015 (arXiv 1503.02531). Without the
factor of the squared temperature, as the evaluations of RDED (Sun et al., CVPR 2024, arXiv 2312.03526) have it; squared
differences of logits are those of CIM (Shang et al., ECCV 2026).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Divergence of the softened student from the softened teacher, a scalar: mean over images of KL(p || q).

    With p = softmax(teacher / T) and q = softmax(student / T). The slope falls with the temperature, as in the
    released evaluations, whose learning rates presume it.

    Args:
        student: logits (N, classes), floating point, differentiable.
        teacher: logits of the same shape, constants.
        temperature: T, positive.

    >>> import torch
    >>> logits = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    >>> kl(logits, logits, 4.0).item(), round(kl(logits.flip(1), logits, 1.0).item(), 4)
    (0.0, 0.9927)
    """
    p, q = (F.log_softmax(logits / temperature, dim=1) for logits in (teacher, student))
    return F.kl_div(q, p, reduction="batchmean", log_target=True)


def mse_logits(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of logits (N, classes), a scalar: over images and classes.

    >>> import torch
    >>> mse_logits(torch.zeros(1, 2), torch.tensor([[1.0, 3.0]])).item()
    5.0
    """
    return F.mse_loss(student, teacher)
