"""Tensors that distillation learns by Adam."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim.adam import adam
from typing_extensions import override

from ddcore.synthetic.parameter import Learned

BETAS = (0.9, 0.999)
EPS = 1e-8


class LearnedByAdam(Learned):
    """A tensor that one step of Adam moves as a whole, as :class:`torch.optim.Adam` does.

    Source: Kingma & Ba, "Adam", ICLR 2015 (arXiv 1412.6980).

    Args:
        start: what it starts from, copied.
        lr: learning rate, above 0.
        lowest: values below are raised to this after each step; ``None`` for no limit.

    Attributes:
        velocity: the first moment.
        square: the second moment.
        taken: steps so far, a scalar on the CPU.
    """

    lr: float

    def __init__(self, start: Tensor, *, lr: float, lowest: float | None = None) -> None:
        super().__init__(start, lr=lr, momentum=BETAS[0])
        self.square = torch.zeros_like(self.velocity)
        self.taken = torch.tensor(0.0)
        self.lowest = lowest

    @override
    @torch.no_grad()
    def restart(self, start: Tensor) -> None:
        super().restart(start)
        self.square.zero_()
        self.taken.zero_()

    @override
    @torch.no_grad()
    def step(self) -> None:
        adam(
            [self.value], [self.gradient], [self.velocity], [self.square], [], [self.taken], amsgrad=False,
            beta1=BETAS[0], beta2=BETAS[1], lr=self.lr, weight_decay=0.0, eps=EPS, maximize=False,
        )  # fmt: skip
        if self.lowest is not None:
            self.value.clamp_(min=self.lowest)

    @override
    def state(self) -> dict[str, Tensor]:
        return {**super().state(), "square": self.square, "taken": self.taken}

    @override
    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        super().load_state(state)
        self.square.copy_(state["square"])
        self.taken.copy_(state["taken"])
