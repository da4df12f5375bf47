"""Images that Adam moves within the range of pixels, at a rate that falls to zero, in rounds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from ddcore.synthetic.adam import LearnedByMoments

BETAS = (0.5, 0.9)


@dataclass(frozen=True)
class Rounds:
    """Rounds of steps, with a mixture between them.

    Attributes:
        steps: of all rounds together.
        count: rounds of equally many steps; the last ones have one more where they do not divide.
        residual: share of the start in the mixture after every round but the last, 0 to 1.
    """

    steps: int
    count: int = 1
    residual: float = 0.0

    def ends(self, done: int) -> bool:
        """Whether a round that another one follows has ended after so many steps.

        >>> [done for done in range(1, 11) if Rounds(10, 4).ends(done)]
        [2, 5, 7]
        """
        return any(done == self.steps * number // self.count for number in range(1, self.count))


class Annealed(LearnedByMoments):
    """A tensor that Adam moves, at lr (1 + cos(pi k / K)) / 2 in step k of K, and that stays within bounds.

    Every round begins with an Adam at rest, and, but for the first, with a mixture of what there is and the start.

    Source: the released codes of SRe2L (arXiv 2306.13092) and FADRM (arXiv 2506.24125).

    Args:
        start: what it starts from, copied.
        lr: learning rate of the first step, above 0.
        rounds: how many steps there are, and where the rounds end.
        lowest: least values, a tensor that broadcasts to the start.
        highest: largest values, likewise.

    Attributes:
        origin: the start.
        done: steps of all rounds so far, a scalar on the CPU.
    """

    def __init__(self, start: Tensor, *, lr: float, rounds: Rounds, lowest: Tensor, highest: Tensor) -> None:
        super().__init__(start, lr=lr, taken=torch.tensor(0.0))
        self.origin = self.value.detach().clone()
        self.done = torch.tensor(0)
        self._rounds, self._lowest, self._highest = rounds, lowest, highest

    @property
    def rate(self) -> float:
        """Learning rate of the coming step."""
        return self.lr * (1 + math.cos(math.pi * int(self.done) / self._rounds.steps)) / 2

    @override
    @torch.no_grad()
    def restart(self, start: Tensor) -> None:
        super().restart(start)
        self.origin.copy_(start)
        self.done.zero_()

    @override
    @torch.no_grad()
    def step(self) -> None:
        self.follow(self.rate, BETAS)
        self.value.clamp_(self._lowest, self._highest)
        self.done += 1
        if self._rounds.ends(int(self.done)):
            self.value.lerp_(self.origin, self._rounds.residual)
            self._come_to_rest()

    @override
    def state(self) -> dict[str, Tensor]:
        return {**super().state(), "origin": self.origin, "done": self.done}

    @override
    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        super().load_state(state)
        self.origin.copy_(state["origin"])
        self.done.copy_(state["done"])
