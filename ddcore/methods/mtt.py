"""MTT and TESLA: a student that learns from the synthetic images should go where an expert went on the real ones.

Cazenavette et al., "Dataset Distillation by Matching Training Trajectories", CVPR 2022 (arXiv 2203.11932);
Cui et al., "Scaling up Dataset Distillation to ImageNet-1K with Constant Memory", ICML 2023 (arXiv 2211.10586).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from ddcore.augment import siamese
from ddcore.autograd.adjoint import InnerSGD, OuterGradient
from ddcore.autograd.gradients import Gradients
from ddcore.data.sampling import batches
from ddcore.errors import DivergedError
from ddcore.methods.shared.student_training import StudentStep, training_on
from ddcore.nets.functional import Params
from ddcore.pretrained.experts import experts
from ddcore.pretrained.stage_networks import Stageable, StageNetworks
from ddcore.registry import implements
from ddcore.runtime.context import Run
from ddcore.runtime.objective import Method, Readings
from ddcore.runtime.randomness import stream_seed
from ddcore.spec import MTTConfig, TESLAConfig, TrajectoryConfig
from ddcore.spec.methods.trajectory import MAX_CHANGE, MAX_MOVE
from ddcore.synthetic.parameter import Learned
from ddcore.synthetic.set import SyntheticSet

C = TypeVar("C", bound=TrajectoryConfig)

LOWEST_RATE = 1e-3
"""Share of its first value below which the learned rate must not fall: from there on no student would move."""


def squared_distance(one: Params, other: Params) -> Tensor:
    """Squared distance of two networks, a scalar: ||one - other||^2 over the entries of ``one``.

    >>> squared_distance({"w": torch.ones(2)}, {"w": torch.zeros(2)}).item()
    2.0
    """
    return torch.stack([(one[name] - other[name]).square().sum() for name in one]).sum()


def trajectory_loss(student: Params, start: Params, target: Params) -> Tensor:
    """Share of the expert's way that the student is off: ||theta_N - theta*_{t+M}||^2 / ||theta*_t - theta*_{t+M}||^2.

    Args:
        student: theta_N, trained parameters only.
        start: theta*_t, which the student started from.
        target: theta*_{t+M}.
    """
    return squared_distance(student, target) / squared_distance({name: start[name] for name in student}, target)


def trajectory_slope(student: Params, start: Params, target: Params) -> Params:
    """Slope of :func:`trajectory_loss` in the student: 2 (theta_N - theta*_{t+M}) / ||theta*_t - theta*_{t+M}||^2."""
    way = squared_distance({name: start[name] for name in student}, target)
    return {name: 2 * (value - target[name]) / way for name, value in student.items()}


class TrajectoryMatching(Method[C, StudentStep], Stageable):
    """Matching of training trajectories, with a learned learning rate of the student.

    That rate is learned as it is, not its logarithm, so that published rates of its optimiser hold; a run in which
    it falls to nothing is stopped.
    """

    def __init__(self, config: C, run: Run) -> None:
        super().__init__(config, run)
        self._gradients = Gradients(run.functional, training=True)
        self._experts = experts(config.experts, config.trained_to, run, curriculum=config.expert_curriculum)

    @override
    def prepare(self) -> None:
        self._experts.prepare()

    @override
    def start_from(self, networks: StageNetworks) -> None:
        """Follow experts that go on from there on the real images."""
        networks.prepare()
        config = self.config.experts.model_copy(update={"count": len(networks)})
        of_stage = experts(config, self.config.trained_to, self.run, networks, self.config.expert_curriculum)
        of_stage.prepare()
        self._experts = of_stage

    @override
    def start(self) -> SyntheticSet:
        synthetic = self._set({})
        if self.config.labels == "soft":
            synthetic.soft_labels = F.one_hot(synthetic.labels, synthetic.classes).float()
        return synthetic

    def _set(self, others: Mapping[str, Learned], start: Tensor | None = None) -> SyntheticSet:
        """The set with its learned rate.

        Args:
            others: what else is learned, by name.
            start: rows to start from; by default those that the job asks for.
        """
        config = self.config
        rate = torch.tensor(config.lr_init, device=self.run.compute.device)
        move, change = config.max_move, config.max_change
        lr = Learned(
            rate,
            lr=config.lr_lr,
            momentum=config.momentum_lr,
            longest=None if change is None else lambda value: change * value,
        )
        return self.run.synthetic_set(
            lr=config.lr_img,
            momentum=config.momentum,
            others={"lr": lr, **others},
            longest=None if move is None else lambda _: move,
            start=start,
        )

    @override
    def draw(self, index: int, synthetic: SyntheticSet) -> StudentStep:
        run, config = self.run, self.config
        window, expert = self._starts(index), self._expert(index)
        first = window[int(torch.randint(len(window), (), generator=run.random.host_stream("method/start")))]
        start, target = (self._experts.snapshot(expert, epoch) for epoch in (first, first + config.expert_epochs))
        if config.labels == "soft":
            with torch.no_grad():
                logits = run.functional.logits(target, synthetic.images, training=False)
            synthetic.soft_labels = logits.softmax(dim=1)
        rows = self._rows(len(synthetic), config.batch_syn or int(synthetic.moving.sum()))
        generator = run.random.host_stream("method/augment")
        draws = [siamese.draw(run.strategy, len(part), run.dataset.shape, generator) for part in rows]
        frozen = (synthetic.images.detach(), synthetic.moving) if synthetic.live.start else ()
        batch = training_on(rows, draws, *frozen)
        training = InnerSGD(self._gradients, batch, config.student_steps, synthetic.learned["lr"].value)
        return StudentStep(
            index,
            synthetic,
            training,
            start,
            synthetic.training_labels,
            expert=target,
            curvature=config.gradient != "tesla",
        )

    @override
    def backward(self, step: StudentStep) -> Readings:
        student, start, target = (self._compared(each) for each in (step.student, step.start, self._target(step)))
        loss = trajectory_loss(student, start, target)
        rate, path = step.synthetic.learned["lr"], self.run.steps_path
        if not math.isfinite(loss):
            raise DivergedError(
                f"the student diverged at step {step.index + 1}: at a learned rate of {rate.value.item():.3g} its "
                f"distance to the expert became {loss.item()}; the images of the last checkpoint are kept. "
                f"{self._way_out(path)}, `{path}.lr_init` or the regulariser weights"
            )
        if self.config.gradient == "unrolled":
            end = step.training.unroll(start, step.synthetic.moving_images, step.labels)
            trajectory_loss(self._compared(end), start, target).backward()
        elif self._may_follow(loss):
            slope = self._slope(step.student, step.start, self._target(step))
            self._follow(step.synthetic, step.pull_back(slope))
        else:
            step.synthetic.rest()
        distance = squared_distance(student, target).sqrt()
        return {"loss/base": loss, "lr": rate.value.detach().clone(), "student_distance": distance}

    def _starts(self, index: int) -> range:  # noqa: ARG002 - for windows that move
        """Snapshots that the student of a step may start from."""
        return range(self.config.max_start)

    def _may_follow(self, loss: Tensor) -> bool:  # noqa: ARG002 - for limits of it
        """Whether the set takes the step, given its loss."""
        return True

    def _follow(self, synthetic: SyntheticSet, slope: OuterGradient) -> None:
        """Add what a student's training says of all but the images."""
        synthetic.learned["lr"].gradient.add_(slope.lr)

    @override
    def advance(self, step: StudentStep) -> None:
        rate, floor = step.synthetic.learned["lr"].value.item(), LOWEST_RATE * self.config.lr_init
        path = self.run.steps_path
        if rate < floor:
            raise DivergedError(
                f"the learned learning rate of the student fell to {rate:.3g} at step {step.index + 1}, below its "
                f"floor of {floor:.3g} (a thousandth of `{path}.lr_init`); the images of the last checkpoint are kept. "
                f"{self._way_out(path)}"
            )

    def _way_out(self, path: str) -> str:
        """What to change where steps went too far.

        A lower rate of the learned rate alone only puts the end off: images that were thrown far make its slope so
        steep that it falls a few steps later.
        """
        config = self.config
        if config.max_move is not None and config.max_change is not None:
            return f"Lower `{path}.lr_img` and `{path}.lr_lr`, both (they are {config.lr_img:g} and {config.lr_lr:g})"
        return (
            f"Limit the steps by `{path}.max_move`: {MAX_MOVE} and `{path}.max_change`: {MAX_CHANGE}, or lower "
            f"`{path}.lr_img` and `{path}.lr_lr`"
        )

    def _expert(self, index: int) -> int:
        """The expert of a step: all take turns, in an order drawn anew for every round."""
        turn, place = divmod(index, len(self._experts))
        generator = torch.Generator().manual_seed(stream_seed(self.run.spec.seed, f"method/experts/{turn}"))
        return int(torch.randperm(len(self._experts), generator=generator)[place])

    def _rows(self, images: int, batch: int) -> list[Tensor]:
        """Rows of every student step: a shuffled pass over the images is used up before the next begins."""
        generator, rows = self.run.random.host_stream("method/batches"), list[Tensor]()
        while len(rows) < self.config.student_steps:
            rows += batches(images, batch, generator)
        return rows[: self.config.student_steps]

    def _compared(self, params: Params) -> Params:
        """What is compared: trained parameters without buffers."""
        return {name: params[name] for name in self._gradients.names}

    def _slope(self, student: Params, start: Params, target: Params) -> Params:
        """Slope of the loss in each trained parameter of the student."""
        return trajectory_slope(*(self._compared(params) for params in (student, start, target)))

    def _target(self, step: StudentStep) -> Params:
        if step.expert is None:
            raise ValueError("a step of trajectory matching has an expert")
        return step.expert


@implements(MTTConfig)
class MTT(TrajectoryMatching[MTTConfig]):
    """Trajectory matching by the exact gradient."""


@implements(TESLAConfig)
class TESLA(TrajectoryMatching[TESLAConfig]):
    """Trajectory matching by the gradient that takes every Hessian for zero."""
