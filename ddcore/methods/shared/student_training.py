"""What methods share that train a student on the synthetic images and differentiate through its training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Generator, Tensor
from typing_extensions import override

from ddcore.augment import siamese
from ddcore.autograd.adjoint import Batch, InnerTraining, OuterGradient, Path
from ddcore.errors import ConfigurationError
from ddcore.nets.functional import Functional, Params
from ddcore.runtime.context import Run
from ddcore.runtime.objective import Networks, Step
from ddcore.synthetic.set import SyntheticSet


@dataclass(frozen=True)
class StudentStep(Step):
    """A student, where it starts and how it is trained.

    Attributes:
        training: of the student on the synthetic images.
        start: parameters and buffers that it starts from.
        labels: of all synthetic images, (N,) int64 or (N, classes) probabilities.
        expert: the network of the real side; ``None`` where that is the trained student itself.
        curvature: whether the walk back counts how early steps move later ones.
    """

    training: InnerTraining
    start: Params
    labels: Tensor
    expert: Params | None
    curvature: bool

    @property
    def functional(self) -> Functional:
        """The student's architecture."""
        return self.training.gradients.functional

    @cached_property
    def images(self) -> Tensor:
        """The synthetic images that are being learned, as they are in this step, a constant."""
        return self.synthetic.moving_images.detach()

    @cached_property
    def path(self) -> Path:
        """The student after each step that is differentiated, trained once."""
        return self.training.forward(self.start, self.images, self.labels)

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
        slope = self.training.backward(self.path, final, self.images, self.labels, curvature=self.curvature)
        self.synthetic.moving_images.backward(slope.images)
        return slope


@dataclass(frozen=True)
class QueryStep(StudentStep):
    """A student, and the real images that it is tested on.

    Attributes:
        real: augmented real images, normalised.
        real_labels: of these, int64.
    """

    real: Tensor
    real_labels: Tensor


def query_step(
    run: Run, index: int, synthetic: SyntheticSet, training: InnerTraining, rows: Tensor, drawn: siamese.Draw
) -> QueryStep:
    """A fresh student, trained on the synthetic images alone, and real images to test it on.

    Args:
        run: draws the student.
        index: of the step.
        synthetic: what it is trained on, with the labels that the set has by now.
        training: of the student; the walk back counts how early steps move later ones.
        rows: int64 training rows of the real images, on the CPU.
        drawn: how these are augmented.
    """
    return QueryStep(
        index,
        synthetic,
        training,
        run.functional.new(run.random.stream("method/network")),
        synthetic.training_labels,
        expert=None,
        curvature=True,
        real=siamese.apply(drawn, run.real_images(rows)),
        real_labels=run.dataset.train.labels[rows].to(synthetic.device),
    )


def check_classes_per_step(wanted: int | None, run: Run) -> None:
    """Refuse more classes of a step than there are.

    Raises:
        ConfigurationError: naming the field, its value and what is possible.
    """
    classes = len(run.dataset.classes)
    if (wanted or 2) > classes:
        raise ConfigurationError(
            f"`classes_per_step` is {wanted}, but {run.dataset.name} has {classes} classes; choose 2 to {classes}, or "
            "none"
        )


def drawn_classes(classes: int, wanted: int, generator: Generator) -> list[int]:
    """Some of the classes, rising, each as likely as any other."""
    chosen: list[int] = torch.randperm(classes, generator=generator)[:wanted].sort().values.tolist()
    return chosen


def drawn_rows(classes: Sequence[int], size: int, wanted: int, generator: Generator) -> Tensor:
    """Rows of a training step: a few distinct images of each of some classes.

    Args:
        classes: which take part.
        size: images of each class.
        wanted: how many of them; capped at ``size``.
        generator: CPU generator.

    Returns:
        int64, class after class.
    """
    return torch.cat([torch.randperm(size, generator=generator)[:wanted] + c * size for c in classes])


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
