"""Where the frequencies come from at which two characteristic functions are compared.

Wang et al., "Dataset Distillation with Neural Characteristic Function: A Minmax Perspective", CVPR 2025; the network is
that of its released code (NCFM/SampleNet.py of github.com/gszfwsb/NCFM), where it is as wide as the features.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from typing_extensions import override

from ddcore.runtime.checkpoint import Stateful
from ddcore.training.optimizers import SGD

LAYERS = 3
LEAK = 0.2
"""Slope of the leaky ReLU below zero."""


class Frequencies(Stateful):
    """Draws frequencies anew for each comparison.

    Attributes:
        weights: what they depend on that is learned, leaf tensors; empty where nothing is.
    """

    weights: Sequence[Tensor] = ()

    @abstractmethod
    def draw(self, generator: Generator) -> Tensor:
        """Frequencies (F, d) float32, differentiable in ``weights``.

        Args:
            generator: on the device of the run, where the frequencies are then.
        """

    def ascend(self, slopes: Sequence[Tensor]) -> None:
        """Follow the slopes of a loss in ``weights``, upwards; nothing, where there are none."""


class GaussianFrequencies(Frequencies):
    """Independent N(0, 1) entries.

    Args:
        count: F, frequencies of a comparison.
        dimension: d, of the features.
    """

    def __init__(self, count: int, dimension: int) -> None:
        self._shape = (count, dimension)

    @override
    def draw(self, generator: Generator) -> Tensor:
        return torch.randn(self._shape, generator=generator, device=generator.device)


class NetworkFrequencies(GaussianFrequencies):
    """What a network makes of such entries, which learns to ask where the two samples differ.

    Three linear layers of d units, each with batch normalisation by the statistics of the batch; leaky ReLU behind the
    first two, and a hyperbolic tangent behind the last.

    Args:
        count: F, at least 2, or batches have no deviation.
        dimension: d.
        start: source of the initial weights, on the device of the run.
        lr: learning rate of the ascent (SGD).
        momentum: of the ascent, 0 to 1.
    """

    def __init__(self, count: int, dimension: int, start: Generator, *, lr: float, momentum: float) -> None:
        super().__init__(count, dimension)
        self.weights = [tensor.requires_grad_() for _ in range(LAYERS) for tensor in _layer(dimension, start)]
        self._optimizer = SGD(self.weights, lr, momentum=momentum)

    @override
    def draw(self, generator: Generator) -> Tensor:
        drawn = super().draw(generator)
        for layer in range(LAYERS):
            weight, bias, scale, shift = self.weights[4 * layer : 4 * layer + 4]
            drawn = F.batch_norm(F.linear(drawn, weight, bias), None, None, scale, shift, training=True)
            drawn = F.leaky_relu(drawn, LEAK) if layer < LAYERS - 1 else drawn.tanh()
        return drawn

    @override
    def ascend(self, slopes: Sequence[Tensor]) -> None:
        for weight, slope in zip(self.weights, slopes, strict=True):
            weight.grad = -slope
        self._optimizer.step()
        self._optimizer.zero_grad()

    @override
    def state(self) -> dict[str, Tensor]:
        kept = {f"weight/{place}": weight.detach() for place, weight in enumerate(self.weights)}
        for place, known in self._optimizer.velocity.items():
            kept |= {f"{name}/{place}": tensor for name, tensor in known.items()}
        return kept

    @override
    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self._optimizer.velocity = {}
        for place, weight in enumerate(self.weights):
            weight.copy_(state[f"weight/{place}"])
            if f"momentum_buffer/{place}" in state:
                velocity = state[f"momentum_buffer/{place}"].to(weight.device, copy=True)
                self._optimizer.velocity[place] = {"momentum_buffer": velocity}


def _layer(dimension: int, generator: Generator) -> list[Tensor]:
    """Weight and bias of a linear layer as the framework draws them, then scale and shift of its normalisation."""
    bound, device = 1 / math.sqrt(dimension), generator.device
    shapes = ((dimension, dimension), (dimension,))
    linear = [(2 * torch.rand(shape, generator=generator, device=device) - 1) * bound for shape in shapes]
    return [*linear, torch.ones(dimension, device=device), torch.zeros(dimension, device=device)]
