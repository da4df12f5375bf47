"""What methods share that train a student on the synthetic images and differentiate through its training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor
from typing_extensions import override

from ddcore.adjoint import Batch, InnerSGD, OuterGradient
from ddcore.data import augment
from ddcore.nets.functional import Functional, Params
from ddcore.objective import Networks, Step


@dataclass(frozen=True)
class StudentStep(Step):
    """A student, where it starts and how it is trained.

    Attributes:
        sgd: its training on the synthetic images.
        start: parameters and buffers that it starts from.
        labels: of all synthetic images, (N,) int64 or (N, classes) probabilities.
        expert: the network of the real side; ``None`` where that is the trained student itself.
        curvature: whether the walk back counts how early steps move later ones.
    """

    sgd: InnerSGD
    start: Params
    labels: Tensor
    expert: Params | None
    curvature: bool

    @property
    def functional(self) -> Functional:
        """The student's architecture."""
        return self.sgd.gradients.functional

    @cached_property
    def images(self) -> Tensor:
        """All synthetic images as they are in this step, a constant."""
        return self.synthetic.images.detach()

    @cached_property
    def path(self) -> Sequence[Params]:
        """The student after each step that is differentiated, trained once."""
        return self.sgd.forward(self.start, self.images, self.labels)

    @property
    def student(self) -> Params:
        """The trained student."""
        return self.path[-1]

    @property
    @override
    def networks(self) -> Networks:
        return Networks(self.functional, self.expert or self.student, self.student, self.pull_back)

    def pull_back(self, final: Params) -> OuterGradient:
        """Take the slope of a loss in the trained student back through its training, and add it to the images.

        Args:
            final: dL/dtheta_N by parameter.

        Returns:
            The same slope, for what else is learned.
        """
        slope = self.sgd.backward(self.path, final, self.images, self.labels, curvature=self.curvature)
        self.synthetic.images.backward(slope.images)
        return slope


def training_on(rows: Sequence[Tensor], draws: Sequence[augment.Draw]) -> Batch:
    """Steps of training on some of the images each, augmented as drawn.

    Args:
        rows: int64 rows of each step.
        draws: the augmentation of each step.
    """

    def batch(step: int, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        chosen = rows[step].to(images.device)
        return augment.apply(draws[step], images[chosen]), labels[chosen]

    return batch
