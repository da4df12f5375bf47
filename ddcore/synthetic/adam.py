"""Tensors that distillation learns by Adam, as a whole, or by AdamW, class by class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.optim.adam import adam
from typing_extensions import override

from ddcore.synthetic import class_adamw
from ddcore.synthetic.class_adamw import EPSILON, FIRST, SECOND, AdamW, Moving
from ddcore.synthetic.parameter import Learned


class LearnedByMoments(Learned):
    """A tensor whose optimiser keeps the first two moments of its gradients, and counts its steps.

    Attributes:
        velocity: the first moment.
        square: the second moment, same shape as the value.
        taken: steps so far, on the CPU.

    Args:
        start: what it starts from, copied.
        lr: learning rate, above 0.
        taken: zeros, one for each part that has steps of its own.
    """

    lr: float

    def __init__(self, start: Tensor, *, lr: float, taken: Tensor) -> None:
        super().__init__(start, lr=lr, momentum=FIRST)
        self.square = torch.zeros_like(self.velocity)
        self.taken = taken

    @torch.no_grad()
    def follow(self, lr: float, betas: tuple[float, float] = (FIRST, SECOND)) -> None:
        """Take one step of Adam along the gradient, where all parts of the tensor have taken as many."""
        adam(
            [self.value], [self.gradient], [self.velocity], [self.square], [], [self.taken], amsgrad=False,
            beta1=betas[0], beta2=betas[1], lr=lr, weight_decay=0.0, eps=EPSILON, maximize=False,
        )  # fmt: skip

    @override
    @torch.no_grad()
    def restart(self, start: Tensor) -> None:
        super().restart(start)
        self._come_to_rest()

    def _come_to_rest(self) -> None:
        """Begin with no moments again."""
        for tensor in (self.velocity, self.square, self.taken):
            tensor.zero_()

    @override
    def state(self) -> dict[str, Tensor]:
        return {**super().state(), "square": self.square, "taken": self.taken}

    @override
    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        super().load_state(state)
        self.square.copy_(state["square"])
        self.taken.copy_(state["taken"])


class LearnedByAdam(LearnedByMoments):
    """A tensor that one step of Adam moves as a whole, as :class:`torch.optim.Adam` does.

    Source: Kingma & Ba, "Adam", ICLR 2015 (arXiv 1412.6980).

    Args:
        start: what it starts from, copied.
        lr: learning rate, above 0.
        lowest: values below are raised to this after each step; ``None`` for no limit.
    """

    def __init__(self, start: Tensor, *, lr: float, lowest: float | None = None) -> None:
        super().__init__(start, lr=lr, taken=torch.tensor(0.0))
        self.lowest = lowest

    @override
    @torch.no_grad()
    def step(self) -> None:
        self.follow(self.lr)
        if self.lowest is not None:
            self.value.clamp_(min=self.lowest)


class LearnedByAdamW(LearnedByMoments):
    """Class-major rows whose AdamW steps once for each class (:mod:`ddcore.synthetic.class_adamw`).

    Args:
        start: (classes * rows, ...), class after class.
        classes: how many there are.
        rule: of a step.
        lr: learning rate to begin with. Default: that of the rule.
    """

    def __init__(self, start: Tensor, *, classes: int, rule: AdamW, lr: float | None = None) -> None:
        super().__init__(start, lr=rule.lr if lr is None else lr, taken=torch.zeros(classes, dtype=torch.int64))
        self._rule = rule

    @property
    def _moving(self) -> Moving:
        return Moving(self.value.detach(), self.velocity, self.square, self.taken)

    @property
    def _now(self) -> AdamW:
        return replace(self._rule, lr=self.lr)

    @override
    def begin_step(self) -> None:
        """Coast each class to its turn in the sweep."""
        class_adamw.coast_(self._moving, torch.arange(len(self.taken)), self._now)

    @override
    def step(self) -> None:
        class_adamw.step_(self._moving, self.gradient, self._now)
        class_adamw.coast_(self._moving, torch.arange(len(self.taken) - 1, -1, -1), self._now)
