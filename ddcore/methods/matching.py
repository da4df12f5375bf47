"""What methods share that compare real and synthetic images under one network and one augmentation."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ddcore.data import augment
from ddcore.nets.functional import Params
from ddcore.objective import Step
from ddcore.run import Run
from ddcore.synthetic import SyntheticSet


@dataclass(frozen=True)
class MatchingStep(Step):
    """A network, a real batch of each class, and one augmentation for each class.

    Attributes:
        params: the network that both sides pass through.
        rows: training rows of each class, int64.
        draws: the transformation of each class, shared by its real and synthetic images.
    """

    params: Params
    rows: tuple[Tensor, ...]
    draws: tuple[augment.Draw, ...]


def draw_step(run: Run, index: int, synthetic: SyntheticSet, params: Params, batch_real: int) -> MatchingStep:
    """Draw the real batches and the augmentations of a step, class by class.

    Args:
        run: its sampler, strategy and streams.
        index: of the step.
        synthetic: what is being learned.
        params: the network of the step.
        batch_real: real images of each class; capped at the class size.
    """
    rows = run.sampler.draw_each(batch_real, run.random.host_stream("method/real"))
    generator = run.random.host_stream("method/augment")
    draws = tuple(augment.draw(run.strategy, None, run.dataset.shape, generator) for _ in range(synthetic.classes))
    return MatchingStep(index, synthetic, params, tuple(rows), draws)
