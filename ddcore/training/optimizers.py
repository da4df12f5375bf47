"""SGD, Adam and AdamW: the functions of :mod:`torch.optim` with a state of our own.

The classes there import ``torch._dynamo`` when one is made, which takes as long as importing torch did, in each process
that trains a network. Only compiled passes need it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd
from typing_extensions import override

Velocity = dict[int, dict[str, Tensor]]
"""What an optimiser remembers of each parameter, by its place and under the names of torch.optim; empty at rest."""


class Optimizer(Protocol):
    """Changes weights by their gradients.

    Attributes:
        lr: learning rate, may be changed between steps.
        velocity: its memory; the tensors change with each step.
    """

    lr: float
    velocity: Velocity

    def zero_grad(self) -> None:
        """Forget the gradients."""

    def step(self) -> None:
        """Take one step; a weight without a gradient stays as it is."""


class _OfWeights(ABC):
    def __init__(self, weights: Sequence[Tensor], lr: float) -> None:
        self.lr = lr
        self.velocity: Velocity = {}
        self._weights = list(weights)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for weight in self._weights:
            weight.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Take one step; a weight without a gradient stays as it is."""
        places = [place for place, weight in enumerate(self._weights) if weight.grad is not None]
        weights = [self._weights[place] for place in places]
        self._update(places, weights, [weight.grad for weight in weights if weight.grad is not None])

    @abstractmethod
    def _update(self, places: list[int], weights: list[Tensor], gradients: list[Tensor]) -> None:
        """Change the weights that have a gradient; ``places`` are theirs among all."""


class SGD(_OfWeights):
    """As :class:`torch.optim.SGD` has it, without damping: d = g + w x, v <- m v + d, x <- x - lr v.

    Args:
        weights: what is changed, in place.
        lr: learning rate.
        momentum: m, 0 to 1.
        weight_decay: w, on all weights.
    """

    def __init__(
        self, weights: Sequence[Tensor], lr: float, *, momentum: float = 0.0, weight_decay: float = 0.0
    ) -> None:
        super().__init__(weights, lr)
        self._momentum, self._weight_decay = momentum, weight_decay

    @override
    def _update(self, places: list[int], weights: list[Tensor], gradients: list[Tensor]) -> None:
        buffers = [self.velocity.get(place, {}).get("momentum_buffer") for place in places] if self._momentum else []
        sgd(
            weights, gradients, buffers, weight_decay=self._weight_decay, momentum=self._momentum, lr=self.lr,
            dampening=0.0, nesterov=False, maximize=False,
        )  # fmt: skip
        for place, buffer in zip(places, buffers, strict=False):
            if buffer is not None:
                self.velocity[place] = {"momentum_buffer": buffer}


class Adam(_OfWeights):
    """As :class:`torch.optim.Adam` has it, with its usual betas and epsilon.

    Source: Kingma & Ba, "Adam", ICLR 2015 (arXiv 1412.6980).

    Args:
        weights: what is changed, in place.
        lr: learning rate.
        weight_decay: on all weights.
    """

    decoupled = False
    """Whether weights decay by ``lr * weight_decay`` of themselves, instead of by their gradient."""

    def __init__(self, weights: Sequence[Tensor], lr: float, *, weight_decay: float = 0.0) -> None:
        super().__init__(weights, lr)
        self._weight_decay = weight_decay

    @override
    def _update(self, places: list[int], weights: list[Tensor], gradients: list[Tensor]) -> None:
        for place, weight in zip(places, weights, strict=True):
            if place not in self.velocity:
                # The number of steps stays on the CPU, as in torch.optim: it is read at each of them.
                self.velocity[place] = {
                    "step": torch.tensor(0.0),
                    "exp_avg": torch.zeros_like(weight),
                    "exp_avg_sq": torch.zeros_like(weight),
                }
        known = [self.velocity[place] for place in places]
        means, squares, steps = ([one[key] for one in known] for key in ("exp_avg", "exp_avg_sq", "step"))
        adam(
            weights, gradients, means, squares, [], steps, amsgrad=False, beta1=0.9, beta2=0.999, lr=self.lr,
            weight_decay=self._weight_decay, eps=1e-8, maximize=False, decoupled_weight_decay=self.decoupled,
        )  # fmt: skip


class AdamW(Adam):
    """As :class:`torch.optim.AdamW` has it: :class:`Adam`, but weights decay beside the gradient.

    Source: Loshchilov & Hutter, "Decoupled Weight Decay Regularization", ICLR 2019 (arXiv 1711.05101).
    """

    decoupled = True
