"""What a plain loop begins with, and what it hands back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor

from ddcore.augment.siamese import Strategy, strategy_for
from ddcore.data.dataset import Dataset
from ddcore.nets import Network, build
from ddcore.spec import JobSpec, NetworkConfig


@dataclass(frozen=True)
class Given:
    """The real images, and the one source of randomness.

    Attributes:
        spec: the job, of which a loop reads the numbers.
        dataset: with its statistics.
        images: float32 (N, C, H, W), normalised.
        labels: int64 (N,).
        generator: of all that is random, the framework's own, which new networks are drawn from too.
        teacher: to look through in the place of one that the loop trains; in evaluation mode.
    """

    spec: JobSpec
    dataset: Dataset
    images: Tensor
    labels: Tensor
    generator: Generator
    teacher: Network | None = None

    @classmethod
    def of(cls, spec: JobSpec, dataset: Dataset, teacher: Network | None = None) -> Given:
        """What a loop begins with, at the seed of the job."""
        images = dataset.normalize(dataset.train.images)
        return cls(spec, dataset, images, dataset.train.labels, torch.manual_seed(spec.seed), teacher)

    @property
    def classes(self) -> int:
        """How many there are."""
        return len(self.dataset.classes)

    @property
    def strategy(self) -> Strategy:
        """Operations of augmentation that the job asks for."""
        return strategy_for(self.spec.augmentation, self.dataset.flip)

    def of_class(self, label: int, count: int | None = None) -> Tensor:
        """Images of a class, all or so many distinct ones, in a random order."""
        rows = (self.labels == label).nonzero().flatten()
        return self.images[rows[torch.randperm(len(rows), generator=self.generator)[:count]]]

    def normalised(self, pixels: Tensor) -> Tensor:
        """Pixel values from 0 to 1 as networks see them."""
        mean, std = self._statistics()
        return (pixels - mean) / std

    def pixels(self, images: Tensor) -> Tensor:
        """The way back."""
        mean, std = self._statistics()
        return images * std + mean

    def network(self, config: NetworkConfig | None = None) -> Network:
        """A network with random weights, by default the one of the job."""
        return build(config or self.spec.network, self.dataset.shape, self.classes)

    def _statistics(self) -> tuple[Tensor, Tensor]:
        mean, std = (torch.tensor(each).view(1, -1, 1, 1) for each in (self.dataset.mean, self.dataset.std))
        return mean, std


@dataclass(frozen=True)
class Made:
    """A distilled set.

    Attributes:
        images: float32 (N, C, H, W), normalised, as networks are to see them, class after class.
        soft_labels: (N, classes) probabilities, where they were learned.
        learning_rate: of networks, where it was learned.
        teacher: the network that the method looked through, where it had one; scoring takes its labels or features.
        stored: (classes * ipc, C, H, W), normalised: the mosaics, where the images are tiles of such.
        readings: numbers that say how the loop went.
    """

    images: Tensor
    soft_labels: Tensor | None = None
    learning_rate: float | None = None
    teacher: Network | None = None
    stored: Tensor | None = None
    readings: Mapping[str, float] = field(default_factory=dict)


Loop = Callable[[Given], Made]
"""Makes a set."""
