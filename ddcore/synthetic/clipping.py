"""Clipping of a gradient by the norms of those before it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor


class RunningClip:
    """Cuts each gradient to a multiple of the running mean of all norms so far, its own included.

    With the norm g of a gradient: e <- d e + (1 - d) g, where the first e is g; then the gradient times
    min(1, f e / g). Source: github.com/fengyzpku/Simple_Dataset_Distillation, framework/base.py.

    Args:
        factor: f, above 0.
        decay: d, from 0 on and below 1.
        device: where the gradients are.

    Attributes:
        mean: e, a scalar; NaN before the first gradient.
    """

    def __init__(self, factor: float = 2.0, decay: float = 0.9, device: torch.device | None = None) -> None:
        self.factor, self.decay = factor, decay
        self.mean = torch.tensor(math.nan, device=device)

    @torch.no_grad()
    def cut_(self, gradients: Iterable[Tensor]) -> Tensor:
        """Cut a gradient in place.

        Args:
            gradients: its parts, finite; together they are one vector.

        Returns:
            What it was multiplied by, a scalar from 0 to 1.
        """
        parts = list(gradients)
        norm = torch.stack([part.norm() for part in parts]).norm()
        mean = self.decay * self.mean + (1 - self.decay) * norm
        self.mean = torch.where(self.mean.isnan(), norm, mean)
        share = torch.where(norm > 0, self.factor * self.mean / norm, 1.0).clamp(max=1)
        for part in parts:
            part.mul_(share)
        return share

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        return {"mean": self.mean}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a checkpoint."""
        self.mean = state["mean"].to(self.mean.device)
