"""Tensors that distillation learns, each with an optimiser of its own, here momentum SGD."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from typing_extensions import override

from ddcore.synthetic.class_sgd import Bounds, Rate, coast_before_, step_and_coast_

Longest = Callable[[Tensor], Tensor | float]
"""From a value to the length of the longest step from it."""


class Learned:
    """A tensor that one SGD step moves as a whole: v <- m v + g, x <- x - lr v.

    Attributes:
        value: float32 leaf tensor, a copy of what it started from.
        velocity: momentum buffer of the same shape.
        lr: learning rate, one number or a tensor that broadcasts to the value.
        momentum: m, 0 to 1.
        longest: gives the longest step from a value, as a root mean square; a longer one is cut to it, and the
            velocity with it. ``None`` for no limit.
    """

    def __init__(self, start: Tensor, *, lr: Rate, momentum: float, longest: Longest | None = None) -> None:
        self.value = start.detach().to(torch.float32, copy=True).requires_grad_()
        self.velocity = torch.zeros_like(self.value)
        self.lr = lr
        self.momentum = momentum
        self.longest = longest

    @property
    def gradient(self) -> Tensor:
        """Gradient accumulated so far in this step, zeros where no objective has added any."""
        if self.value.grad is None:
            self.value.grad = torch.zeros_like(self.value)
        return self.value.grad

    def clear_gradient(self) -> None:
        """Start over with no gradient."""
        self.value.grad = None

    @torch.no_grad()
    def restart(self, start: Tensor) -> None:
        """Stand at a value of the same shape again, at rest."""
        self.value.copy_(start)
        self.velocity.zero_()

    def begin_step(self) -> None:
        """Move to where the gradient of the coming step is to be taken: nowhere, for one step of the whole."""

    @torch.no_grad()
    def step(self) -> None:
        """Follow the gradient."""
        self.velocity.mul_(self.momentum).add_(self.gradient)
        if self.longest is not None:
            length = (self.lr * self.velocity).double().square().mean().sqrt()
            self.velocity.mul_((self.longest(self.value) / length).clamp(max=1))
        if isinstance(self.lr, Tensor):
            self.value.addcmul_(self.velocity, self.lr, value=-1)
        else:
            self.value.sub_(self.velocity, alpha=self.lr)

    def state(self) -> dict[str, Tensor]:
        """Tensors that a checkpoint keeps."""
        return {"value": self.value.detach(), "velocity": self.velocity}

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a checkpoint's tensors."""
        self.value.copy_(state["value"])
        self.velocity.copy_(state["velocity"])


class LearnedByClass(Learned):
    """Class-major rows whose optimiser steps once for each class, in closed form (:mod:`ddcore.synthetic.class_sgd`).

    Args:
        start: (classes * rows, ...), class after class.
        classes: how many there are.
        lr: learning rate, one number or a tensor that broadcasts to the rows.
        momentum: of SGD, 0 to 1.
        bounds: clamp to these after every step; ``None`` for no clamp.
    """

    def __init__(self, start: Tensor, *, classes: int, lr: Rate, momentum: float, bounds: Bounds | None = None) -> None:
        super().__init__(start, lr=lr, momentum=momentum)
        self.classes = classes
        self.bounds = bounds

    @override
    @torch.no_grad()
    def begin_step(self) -> None:
        """Coast each class to its turn in the sweep."""
        coast_before_(
            self.value,
            self.velocity,
            classes=self.classes,
            lr=self.lr,
            momentum=self.momentum,
            bounds=self.bounds,
        )

    @override
    @torch.no_grad()
    def step(self) -> None:
        step_and_coast_(
            self.value,
            self.velocity,
            self.gradient,
            classes=self.classes,
            lr=self.lr,
            momentum=self.momentum,
            bounds=self.bounds,
        )
