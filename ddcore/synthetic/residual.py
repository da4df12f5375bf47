"""What is added to images that stay, moved by AdamW."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim.adam import adam
from typing_extensions import override

from ddcore.synthetic.class_adamw import EPSILON, FIRST, SECOND
from ddcore.synthetic.parameter import Learned


class Residual(Learned):
    """x = x0 + u d, where AdamW moves d from zero and lets it decay; x0 stays.

    Source: Loshchilov & Hutter, "Decoupled Weight Decay Regularization", ICLR 2019 (arXiv 1711.05101), with the usual
    betas of 0.9 and 0.999 and epsilon of 1e-8.

    Args:
        start: x0, any shape.
        lr: learning rate of d.
        weight_decay: d shrinks by ``lr * weight_decay`` of itself before each step.
        unit: u, a tensor that broadcasts to the value: what one unit of d is in units of x.
    """

    def __init__(self, start: Tensor, *, lr: float, weight_decay: float, unit: Tensor) -> None:
        super().__init__(start, lr=lr, momentum=0.0)
        self._rate, self._weight_decay, self._unit = lr, weight_decay, unit
        self._origin = self.value.detach().clone()
        self._added, self._mean, self._square = (torch.zeros_like(self._origin) for _ in range(3))
        self._steps = torch.tensor(0.0)  # on the CPU, where it is read at each step

    @override
    @torch.no_grad()
    def restart(self, start: Tensor) -> None:
        self._origin.copy_(start)
        for tensor in (self._added, self._mean, self._square, self._steps):
            tensor.zero_()
        self.value.copy_(start)

    @override
    @torch.no_grad()
    def step(self) -> None:
        """Follow the gradient."""
        adam(
            [self._added], [self.gradient * self._unit], [self._mean], [self._square], [], [self._steps],
            amsgrad=False, beta1=FIRST, beta2=SECOND, lr=self._rate, weight_decay=self._weight_decay, eps=EPSILON,
            maximize=False, decoupled_weight_decay=True,
        )  # fmt: skip
        self.value.copy_(self._origin + self._added * self._unit)

    @override
    def state(self) -> dict[str, Tensor]:
        moments = {"mean": self._mean, "square": self._square, "steps": self._steps}
        return {"value": self.value.detach(), "origin": self._origin, "added": self._added, **moments}

    @override
    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        for name, tensor in self.state().items():
            tensor.copy_(state[name])
