"""How hard images are for networks that have learned a little.

Paul, Ganguli & Dziugaite, "Deep Learning on a Data Diet: Finding Important Examples Early in Training", NeurIPS 2021
(arXiv 2107.07075).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def error_norms(logits: Tensor, labels: Tensor) -> Tensor:
    """Length of the error of each prediction, ||softmax(z) - y||_2: 0 to sqrt(2), the higher, the harder (EL2N).

    Args:
        logits: z, (N, classes).
        labels: y, int64 (N,).

    Returns:
        (N,).

    >>> error_norms(torch.zeros(1, 2), torch.tensor([0])).square()
    tensor([0.5000])
    """
    error = F.softmax(logits, dim=1) - F.one_hot(labels, logits.shape[1])
    norms: Tensor = torch.linalg.vector_norm(error, dim=1)
    return norms
