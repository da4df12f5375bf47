"""A network in training one batch at a time, whose whole state a checkpoint can keep."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Generator, Tensor
from typing_extensions import override

from ddcore.autograd.gradients import cross_entropy
from ddcore.nets.functional import Functional
from ddcore.runtime.checkpoint import Stateful


class Student(Stateful):
    """A network that learns by SGD as :class:`torch.optim.SGD` defines it: d = g + w x, v <- m v + d, x <- x - lr v.

    Args:
        functional: the architecture.
        generator: of the initial weights.
        lr: learning rate.
        momentum: m, 0 to 1.
        weight_decay: w, on all parameters.

    Attributes:
        params: parameters and buffers, without gradients; the same tensors for the life of the student.
    """

    def __init__(
        self, functional: Functional, generator: Generator, *, lr: float, momentum: float, weight_decay: float
    ) -> None:
        self.params = functional.new(generator)
        self._functional = functional
        self._velocity = [torch.zeros_like(weight) for weight in self._weights]
        self._lr, self._momentum, self._weight_decay = lr, momentum, weight_decay

    @property
    def _weights(self) -> list[Tensor]:
        return [self.params[name] for name in self._functional.names]

    def restart(self, generator: Generator) -> None:
        """Become a new random network at rest."""
        self._functional.init_(self.params, generator)
        self.rest()

    def rest(self) -> None:
        """Forget the momentum: ``params`` have become those of another network."""
        torch._foreach_zero_(self._velocity)

    def learn(self, images: Tensor, labels: Tensor) -> Tensor:
        """Take one step on the mean cross-entropy of a batch.

        Args:
            images: normalised (N, C, H, W).
            labels: (N,) int64, or (N, classes) probabilities.

        Returns:
            The logits (N, classes) that the step starts from, without a graph.
        """
        weights = self._weights
        trained = {name: self.params[name].detach().requires_grad_() for name in self._functional.names}
        logits = self._functional.logits({**self.params, **trained}, images)
        gradients = torch.autograd.grad(cross_entropy(logits, labels).mean(), list(trained.values()))
        with torch.no_grad():
            descents = torch._foreach_add(gradients, weights, alpha=self._weight_decay)
            torch._foreach_mul_(self._velocity, self._momentum)
            torch._foreach_add_(self._velocity, descents)
            torch._foreach_add_(weights, self._velocity, alpha=-self._lr)
        return logits.detach()

    @override
    def state(self) -> dict[str, Tensor]:
        velocity = dict(zip(self._functional.names, self._velocity, strict=True))
        return {
            **{f"params/{name}": tensor for name, tensor in self.params.items()},
            **{f"velocity/{name}": tensor for name, tensor in velocity.items()},
        }

    @override
    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        for name, tensor in self.state().items():
            tensor.copy_(state[name])
