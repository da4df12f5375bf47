"""A queue of networks that are trained a little at a time, the oldest making room for new ones.

Zhao, Li, Qin & Yu, "Improved Distribution Matching for Dataset Condensation", CVPR 2023 (arXiv 2307.09742).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Generator, Tensor
from typing_extensions import override

from ddcore.errors import DivergedError
from ddcore.nets.functional import Functional
from ddcore.runtime.checkpoint import Stateful
from ddcore.training.sgd_network import Student


class QueuedNetwork(Student):
    """A student that counts how often it is right.

    Attributes:
        meter: (2,) int64, images classified correctly in training and images seen, since the last reset.
    """

    def __init__(
        self, functional: Functional, generator: Generator, *, lr: float, momentum: float, weight_decay: float
    ) -> None:
        super().__init__(functional, generator, lr=lr, momentum=momentum, weight_decay=weight_decay)
        self.meter = torch.zeros(2, dtype=torch.int64, device=functional.compute.device)

    @property
    def accuracy(self) -> Tensor:
        """Scalar float32 in percent, 0 to 100, on the device; 0 where nothing has been seen."""
        correct, seen = self.meter
        percent: Tensor = 100 * correct / seen.clamp(min=1)
        return percent

    @override
    def restart(self, generator: Generator) -> None:
        super().restart(generator)
        self.meter.zero_()

    @override
    def learn(self, images: Tensor, labels: Tensor) -> Tensor:
        """Take one step; the batch counts towards the accuracy with the predictions that the step starts from."""
        logits = super().learn(images, labels)
        self.meter[0] += (logits.argmax(dim=1) == labels).sum()
        self.meter[1] += len(labels)
        return logits

    @override
    def state(self) -> dict[str, Tensor]:
        return {**super().state(), "meter": self.meter}


class NetworkQueue(Stateful):
    """Networks of one architecture by age, each with its own SGD (momentum, weight decay) and accuracy.

    A network keeps its tensors while it is in the queue, and one that enters a full queue takes over those of the
    oldest, so memory is allocated once. All tensors of a kind have one shape, so nothing is compiled twice, and a
    checkpoint holds them stacked, (networks, ...), oldest first, under the names of :meth:`QueuedNetwork.state`. That
    is twice the size of all networks: 256 MB for 100 ConvNets of width 128 on 32 x 32 images of 10 classes.

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
            network.restart(generator)
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
        """Take one step on the mean cross-entropy of each batch.

        Args:
            network: of this queue.
            batches: normalised images (N, C, H, W) and labels (N,) int64 on the device of the run; at least one.

        Raises:
            DivergedError: the network ends in a loss that is NaN or infinite.
        """
        for images, labels in batches:
            logits = network.learn(images, labels)
        if not logits.isfinite().all():
            raise DivergedError(
                f"a network of the queue diverged at a learning rate of {self._lr}; lower `method.lr_net`, or use "
                "`precision`: 'fp32'"
            )

    def _new(self, generator: Generator) -> QueuedNetwork:
        return QueuedNetwork(
            self._functional, generator, lr=self._lr, momentum=self._momentum, weight_decay=self._weight_decay
        )

    @override
    def state(self) -> dict[str, Tensor]:
        states = [network.state() for network in self._networks]
        return {name: torch.stack([state[name] for state in states]) for name in states[0]}

    @override
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        overwritten = Generator(self._functional.compute.device)
        self._networks = [self._new(overwritten) for _ in state["meter"]]
        for index, network in enumerate(self._networks):
            network.load_state({name: tensor[index] for name, tensor in state.items()})
