"""What methods share that train a student on the synthetic images and differentiate through its training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor
from typing_extensions import override

from ddcore.augment import siamese
from ddcore.autograd.adjoint import Batch, InnerSGD, OuterGradient
from ddcore.nets.functional import Functional, Params
from ddcore.runtime.objective import Networks, Step


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
        """The synthetic images that are being learned, as they are in this step, a constant."""
        return self.synthetic.moving_images.detach()

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
        self.synthetic.moving_images.backward(slope.images)
        return slope


def training_on(
    rows: Sequence[Tensor], draws: Sequence[siamese.Draw], constant: Tensor | None = None, moving: Tensor | None = None
) -> Batch:
    """Steps of training on some of the images each, augmented as drawn.

    Args:
        rows: int64 rows of each step.
        draws: the augmentation of each step.
        constant: (N, C, H, W), all images where some are frozen: the steps are then given those that move, and take the
            others from here. A step that takes nothing else costs no slope.
        moving: (N,) bool on the CPU, with them: which images move.
    """

    def batch(step: int, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        chosen = rows[step].to(images.device)
        if constant is None or moving is None:
            return siamese.apply(draws[step], images[chosen]), labels[chosen]
        taken, moves = constant[chosen], moving[rows[step]]
        if bool(moves.any()):
            place = (moving.cumsum(0) - 1)[rows[step][moves]]
            taken = taken.index_put((moves.nonzero().flatten().to(images.device),), images[place.to(images.device)])
        return siamese.apply(draws[step], taken), labels[chosen]

    return batch
