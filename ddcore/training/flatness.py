"""Training towards flat minima: slopes of a point nearby, less what of the slope here does not agree with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_TINY = 1e-12


@dataclass(frozen=True)
class Flatness:
    """How flat a minimum is looked for.

    Attributes:
        rho: distance of the point nearby, relative to the weights, above 0.
        alpha: share of the disagreeing part that is taken away, 0 or more.
    """

    rho: float
    alpha: float


@torch.no_grad()
def flatten_(weights: Sequence[Tensor], slopes_again: Callable[[], object], flatness: Flatness) -> None:
    """Put GSAM's slopes in the place of the gradients.

    With the slope g at w, the point nearby is w + e, where e = rho w^2 g / ||abs(w) g||, the adaptive form. With its
    slope p, and the part o of g that is orthogonal to p, the result is p - alpha o.

    Source: Zhuang et al., "Surrogate Gap Minimization Improves Sharpness-Aware Training", ICLR 2022 (arXiv 2203.08065);
    experts of Du et al., "Minimizing the Accumulated Trajectory Error", FTD, CVPR 2023 (arXiv 2211.11004) use it.

    Args:
        weights: with their gradients; they are where they were afterwards.
        slopes_again: computes the gradients of the same loss anew, added to none.
        flatness: rho and alpha.
    """
    here = [_gradient(weight).clone() for weight in weights]
    length = _norm([weight.abs() * slope for weight, slope in zip(weights, here, strict=True)])
    aside = [
        flatness.rho * weight.square() * slope / (length + _TINY) for weight, slope in zip(weights, here, strict=True)
    ]
    before = [weight.clone() for weight in weights]
    for weight, offset in zip(weights, aside, strict=True):
        weight.add_(offset)
        weight.grad = None
    with torch.enable_grad():
        slopes_again()
    for weight, old in zip(weights, before, strict=True):
        weight.copy_(old)
    nearby = [_gradient(weight) for weight in weights]
    inner = torch.stack([(p * g).sum() for p, g in zip(nearby, here, strict=True)]).sum()
    share = inner / (_norm(nearby).square() + _TINY)
    for p, g in zip(nearby, here, strict=True):
        p.sub_(g - share * p, alpha=flatness.alpha)


def _gradient(weight: Tensor) -> Tensor:
    if weight.grad is None:
        raise ValueError("a weight has no gradient")
    return weight.grad


def _norm(tensors: Sequence[Tensor]) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(tensor) for tensor in tensors]))
    return norm
