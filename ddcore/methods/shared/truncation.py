"""Which steps of a training are differentiated: random windows, and windows where gradients are large or change.

Feng, Vedantam & Kempe, "Embarrassingly Simple Dataset Distillation", ICLR 2024 (arXiv 2311.07025), draw the start
uniformly (RaT-BPTT). Li et al., "Beyond Random: Automatic Inner-loop Optimization in Dataset Distillation", 2025 (arXiv
2510.04838), go through three stages (AT-BPTT). The rules of the latter are those of framework/distill_higher.py and
framework/base.py of github.com/GH209515338/AT-BPTT.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from typing_extensions import override

from ddcore.runtime.checkpoint import Stateful


@dataclass(frozen=True)
class Window:
    """Steps of a training that are differentiated, its last ones.

    Attributes:
        start: k, steps before them.
        steps: M, how many they are.
    """

    start: int
    steps: int

    @property
    def end(self) -> int:
        """Steps of the whole training."""
        return self.start + self.steps


@dataclass(frozen=True)
class Bounds:
    """Where windows can lie.

    Attributes:
        total: T, steps of the longest training.
        first: fewest steps before a window, from 0 on.
    """

    total: int
    first: int

    def window(self, start: int, steps: int) -> Window:
        """A window of so many steps, moved into the bounds where it reaches beyond them."""
        return Window(min(max(start, self.first), self.total - steps), steps)

    def anywhere(self, steps: int, generator: Generator) -> Window:
        """One whose start is uniform over all that are possible."""
        return Window(int(torch.randint(self.first, self.total - steps + 1, (), generator=generator)), steps)


def early_window(norms: Tensor, bounds: Bounds, steps: int, spread: int, generator: Generator) -> Window:
    """A window where gradients are large, the longer the more they change there: stage 1.

    The start k is drawn by the softmax of the norms. It has M0 - d + 2 d r / T steps, rounded down, where r is how many
    of the T changes abs(g_i - g_{i-1}), the first of them 0, are smaller than that at k.

    Args:
        norms: g, (T,), norms of the gradients of a training.
        bounds: of the window.
        steps: M0.
        spread: d, from 0 to below M0.
        generator: CPU generator.
    """
    start = _drawn(norms, generator)
    changes = norms.diff(prepend=norms[:1]).abs()
    rank = int((changes < changes[start]).sum())
    return bounds.window(start, int(steps - spread + 2 * spread * rank / bounds.total))


def late_window(norms: Tensor, bounds: Bounds, steps: int, spread: int, generator: Generator) -> Window:
    """A short window, as far from the end of the training as large gradients are from its start: stage 3.

    It has M = M0 - d steps and starts at T - j - M, with j drawn by the softmax of the norms. That can be negative; the
    released code has no bound there, and takes no step before such a window.

    Args:
        norms: as for :func:`early_window`, like all that follow.
        bounds: of the window.
        steps: M0.
        spread: d.
        generator: CPU generator.
    """
    length = steps - spread
    return bounds.window(bounds.total - _drawn(norms, generator) - length, length)


def _drawn(norms: Tensor, generator: Generator) -> int:
    """A step, by the softmax of the norms."""
    return int(torch.multinomial(norms.double().cpu().softmax(dim=0), 1, generator=generator))


class Stages(Stateful):
    """Which of the three stages a distillation is in, by how the accuracy on its real batches goes.

    A round is as many steps as see each real image once. The second stage begins once 0.15 T rounds in a row gained
    less than 1.5 points over the round before, the third once 0.125 T rounds gained less than 1.0. Both counts are
    rounded up; the released code waits for exactly 0.125 T rounds, which never come where that is no whole number, as
    for T = 300.

    Args:
        total: T, steps of the longest training.
        round_steps: image steps of a round, at least 1.
    """

    GAINS = (1.5, 1.0)
    """Percentage points that a round must gain not to count, in the first and in the second stage."""
    SHARES = (0.15, 0.125)
    """Rounds in a row that end these stages, as a share of T."""

    def __init__(self, total: int, round_steps: int) -> None:
        self._patience = tuple(math.ceil(share * total) for share in self.SHARES)
        self._round_steps = round_steps
        self.stage = 1
        self._calm = self._steps = 0
        self._sum = self._before = 0.0

    def note(self, accuracy: float) -> None:
        """Count one step.

        Args:
            accuracy: of the trained network on the real batch of the step, in percent.
        """
        if self.stage == 3:
            return
        self._steps += 1
        self._sum += accuracy
        if self._steps < self._round_steps:
            return
        mean = self._sum / self._steps
        self._calm = self._calm + 1 if mean - self._before < self.GAINS[self.stage - 1] else 0
        self._steps, self._sum, self._before = 0, 0.0, mean
        if self._calm >= self._patience[self.stage - 1]:
            self.stage, self._calm = self.stage + 1, 0

    @override
    def state(self) -> dict[str, Tensor]:
        counts = torch.tensor([self.stage, self._calm, self._steps], dtype=torch.int64)
        return {"counts": counts, "accuracies": torch.tensor([self._sum, self._before], dtype=torch.float64)}

    @override
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.stage, self._calm, self._steps = state["counts"].tolist()
        self._sum, self._before = state["accuracies"].tolist()
