"""A queue of networks that are trained a little at a time, the oldest making room for new ones (IDM, section 2)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from typing_extensions import override

from ddcore.errors import DivergedError
from ddcore.nets.functional import Functional, Params
from ddcore.objective import Stateful


@dataclass(frozen=True)
class QueuedNetwork:
    """A network somewhere between its random start and a trained one.

    Attributes:
        params: parameters and buffers.
        velocity: momentum of its SGD, by parameter.
        meter: (2,) int64, images classified correctly in training and images seen, since the last reset.
    """

    params: Params
    velocity: Params
    meter: Tensor

    @property
    def accuracy(self) -> Tensor:
        """Scalar float32 in percent, 0 to 100, on the device; 0 where nothing has been seen."""
        correct, seen = self.meter
        percent: Tensor = 100 * correct / seen.clamp(min=1)
        return percent


class NetworkQueue(Stateful):
    """Networks of one architecture by age, each with its own SGD (momentum, weight decay) and accuracy.

    A network keeps its tensors while it is in the queue, and one that enters a full queue takes over those of the
    oldest, so memory is allocated once. All tensors of a kind have one shape, so nothing is compiled twice, and a
    checkpoint holds them stacked: (networks, ...) under ``params/<name>`` and ``velocity/<name>``, oldest first, with
    ``meters`` (networks, 2). That is twice the size of all networks: 256 MB for 100 ConvNets of width 128 on 32 x 32
    images of 10 classes.

    Args:
        functional: the architecture.
        capacity: networks at most, at least 1.
        lr: learning rate.
        momentum: of SGD, 0 to 1.
        weight_decay: of SGD, on all parameters.
    """

    def __init__(
        self, functional: Functional, capacity: int, *, lr: float, momentum: float, weight_decay: float
    ) -> None:
        self._functional = functional
        self._capacity = capacity
        self._lr, self._momentum, self._weight_decay = lr, momentum, weight_decay
        self._networks: list[QueuedNetwork] = []

    def __len__(self) -> int:
        return len(self._networks)

    def push(self, generator: Generator) -> None:
        """Let in a network with random weights; a full queue drops its oldest.

        Args:
            generator: source of the weights; fastest on the device of the run.
        """
        if len(self) == self._capacity:
            network = self._networks.pop(0)
            self._functional.init_(network.params, generator)
            for tensor in (*network.velocity.values(), network.meter):
                tensor.zero_()
        else:
            network = self._new(generator)
        self._networks.append(network)

    def pick(self, count: int, generator: Generator) -> list[QueuedNetwork]:
        """Up to ``count`` different networks, uniformly, by a generator on the CPU."""
        return [self._networks[i] for i in torch.randperm(len(self), generator=generator)[:count].tolist()]

    def reset_meters(self) -> None:
        """Count every accuracy anew."""
        for network in self._networks:
            network.meter.zero_()

    def train(self, network: QueuedNetwork, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Take one SGD step on the mean cross-entropy of each batch, as :class:`torch.optim.SGD` defines it.

        Each batch counts towards the accuracy with the predictions that its step starts from.

        Args:
            network: of this queue.
            batches: normalised images (N, C, H, W) and labels (N,) int64 on the device of the run; at least one.

        Raises:
            DivergedError: the loss became NaN or infinite.
        """
        for images, labels in batches:
            weights = {name: network.params[name].detach().requires_grad_() for name in self._functional.names}
            logits = self._functional.logits({**network.params, **weights}, images)
            loss = F.cross_entropy(logits, labels)
            gradients = torch.autograd.grad(loss, list(weights.values()))
            self._descend(network, dict(zip(weights, gradients, strict=True)))
            network.meter[0] += (logits.argmax(dim=1) == labels).sum()
            network.meter[1] += len(labels)
        if not math.isfinite(loss.item()):
            raise DivergedError(
                f"the loss of a network of the queue became {loss.item()} at a learning rate of {self._lr}; lower "
                "`method.lr_net`, or use `precision`: 'fp32'"
            )

    def _new(self, generator: Generator) -> QueuedNetwork:
        params = self._functional.new(generator)
        velocity = {name: torch.zeros_like(params[name]) for name in self._functional.names}
        meter = torch.zeros(2, dtype=torch.int64, device=self._functional.compute.device)
        return QueuedNetwork(params, velocity, meter)

    @torch.no_grad()
    def _descend(self, network: QueuedNetwork, gradient: Params) -> None:
        for name, slope in gradient.items():
            weight, velocity = network.params[name], network.velocity[name]
            velocity.mul_(self._momentum).add_(slope).add_(weight, alpha=self._weight_decay)
            weight.sub_(velocity, alpha=self._lr)

    @override
    def state(self) -> dict[str, Tensor]:
        tensors = {"meters": torch.stack([network.meter for network in self._networks])}
        for kind in ("params", "velocity"):
            members: list[Params] = [getattr(network, kind) for network in self._networks]
            tensors |= {f"{kind}/{name}": torch.stack([m[name] for m in members]) for name in members[0]}
        return tensors

    @override
    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        overwritten = Generator(self._functional.compute.device)
        self._networks = [self._new(overwritten) for _ in state["meters"]]
        for index, network in enumerate(self._networks):
            network.meter.copy_(state["meters"][index])
            for kind, tensors in (("params", network.params), ("velocity", network.velocity)):
                for name, tensor in tensors.items():
                    tensor.copy_(state[f"{kind}/{name}"][index])
