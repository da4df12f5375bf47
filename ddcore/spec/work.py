"""What the work of a job is counted in: images that go through networks, of a dataset whose sizes are known.

An image that goes forward through a network is one pass. Going backward costs twice what it goes back through, so an
image that is trained on is three passes, and one whose gradient is differentiated in turn is nine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple

from ddcore.spec.datasets import DatasetFacts
from ddcore.spec.during import MOST_IMAGES
from ddcore.spec.memory import GRAPH, PIECE, for_pixels

if TYPE_CHECKING:
    from ddcore.spec.base import NetworkConfig

TRAINING = 3
"""Passes of an image that goes forward and backward."""
TWICE = 9
"""Passes of an image whose gradient is differentiated: forward, backward, and back through both."""
WAY_BACK = 4
"""Networks' worth of numbers that the way back through a training carries: two slopes, and the next of each."""

SCORED_PIECES = 16
"""Pieces of images that are normalised together to be classified."""
PROBE_IMAGES_PER_CLASS = 50
"""Real images of each class that the probe reads with and no step sees, at most; a tenth of the smallest class else."""

WorkPhase = Literal["pretraining", "distilling", "evaluating", "finalizing"]


class Work(NamedTuple):
    """Images through networks of one architecture.

    Attributes:
        phase: of the job; what happens before the first step counts as pretraining.
        network: the architecture.
        passes: forward 1, backward 2.
        kept: of a training of networks that the cache keeps for later jobs, what they depend on besides the data.
    """

    phase: WorkPhase
    network: NetworkConfig
    passes: float
    kept: str = ""


@dataclass(frozen=True)
class DataSizes:
    """What the work of a job depends on besides its specification.

    Attributes:
        shape: (channels, height, width) of an image.
        counts: training images of each class.
        test: test images.
        held_out: images of each class that were taken out of the training images to validate; none where none were.
    """

    shape: tuple[int, int, int]
    counts: tuple[int, ...]
    test: int
    held_out: tuple[int, ...] = ()

    @classmethod
    def of(cls, facts: DatasetFacts) -> DataSizes:
        """Sizes of a named dataset, whose classes but the smallest are taken to be equally large.

        >>> from ddcore.spec.datasets import DATASETS
        >>> DataSizes.of(DATASETS["mnist"]).counts[:3]
        (5421, 6065, 6065)
        """
        others = len(facts.classes) - 1
        share, left = divmod(facts.train_size - facts.smallest_class, others)
        return cls(
            facts.shape, (facts.smallest_class, *(share + (index < left) for index in range(others))), facts.test_size
        )

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.counts)

    @cached_property
    def train(self) -> int:
        """Training images of all classes."""
        return sum(self.counts)

    @cached_property
    def probe_images(self) -> int:
        """Real images of each class that are set aside for the probe."""
        smallest = min(self.counts)
        return min(max(1, min(PROBE_IMAGES_PER_CLASS, smallest // 10)), smallest // 2)

    @cached_property
    def calibrating(self) -> tuple[int, ...]:
        """Real images of each class that the probe is calibrated with: none that it reads with or was trained on.

        >>> DataSizes((1, 8, 8), (20, 2, 200), 10).calibrating
        (2, 0, 2)
        """
        return tuple(min(2 * self.probe_images, (count - self.probe_images) // 2) for count in self.counts)

    def drawn(self, per_class: int) -> int:
        """Images of all classes in a real batch of so many of each, every class capped at what can be drawn of it.

        >>> DataSizes((1, 8, 8), (20, 200), 10).drawn(64)
        82
        """
        return sum(min(per_class, count - self.probe_images) for count in self.counts)

    def drawn_evenly(self, per_class: int) -> int:
        """The same where every class is capped at the smallest.

        >>> DataSizes((1, 8, 8), (20, 200), 10).drawn_evenly(64)
        36
        """
        return self.classes * min(per_class, min(self.counts) - self.probe_images)

    def validating_of(self, share: float) -> tuple[int, ...]:
        """Images of each class that validate, where so large a share of each shall: at least one of each.

        >>> DataSizes((1, 8, 8), (20, 200), 10).validating_of(0.1)
        (2, 20)
        """
        share = min(share, MOST_IMAGES / self.train)
        return tuple(max(1, round(share * count)) for count in self.counts)

    def validating(self, share: float) -> int:
        """Those of all classes; the images that are held out, where some are."""
        return sum(self.held_out or self.validating_of(share))

    def holding_out(self, share: float) -> DataSizes:
        """What is left to learn from where the images that validate are taken out first.

        >>> DataSizes((1, 8, 8), (20, 200), 10).holding_out(0.1).counts
        (18, 180)
        """
        held = self.validating_of(share)
        left = tuple(count - taken for count, taken in zip(self.counts, held, strict=True))
        return replace(self, counts=left, held_out=held)

    def at_once(self, images: int, of_class: int, network: NetworkConfig | None = None) -> int:
        """Of so many images of all classes, those that a step takes together: whole classes, at least one.

        Args:
            images: of all classes.
            of_class: of each.
            network: that they go through, where it may see them in another size.
        """
        shape = self.shape if network is None else network.sees(self.shape)
        return min(images, max(of_class, for_pixels(GRAPH, shape)))

    def scored(self, images: int) -> int:
        """Of so many images to be classified, those that are taken together."""
        return min(images, SCORED_PIECES * for_pixels(PIECE, self.shape))

    @property
    def drawable(self) -> int:
        """Training images that steps can see: all but those of the probe."""
        return self.train - self.classes * self.probe_images


@dataclass(frozen=True)
class Load:
    """Steps that all see equally many images: those of a job, or of one of its stages.

    Attributes:
        data: sizes of the dataset.
        steps: how many.
        images: synthetic images of each class that a step sees, decoded.
        moving: those of them that are learned.
    """

    data: DataSizes
    steps: int
    images: int
    moving: int

    @property
    def synthetic(self) -> int:
        """Synthetic images of all classes that a step sees."""
        return self.data.classes * self.images

    @property
    def grouped(self) -> int:
        """Those whose graphs are in memory at once where a step goes group of classes by group."""
        return self.data.at_once(self.synthetic, self.images)
