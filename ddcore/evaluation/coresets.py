"""Real images kept by each of several rules, and the images that it is decided on which rule kept the best ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

import torch
from torch import Generator, Tensor

from ddcore.data.dataset import Dataset
from ddcore.formulas import selection
from ddcore.pretrained.frozen import Frozen
from ddcore.runtime.context import Run
from ddcore.runtime.randomness import stream_seed
from ddcore.spec.evaluation import VALIDATION, Rule
from ddcore.spec.work import DataSizes

_CHOOSE: Mapping[Rule, Callable[[Tensor, int, Generator], Tensor]] = {
    "herding": lambda features, count, _: selection.herding(features, count),
    "k_means": selection.k_means,
    "k_center": lambda features, count, _: selection.k_center(features, count),
}


class Coresets:
    """The coresets of a job and the validation images that none of them keeps.

    Args:
        run: dataset, images a class and seed of the job.
        teacher: by whose features the rules choose; ready when they do.
        validation: int64 training rows to be tested on; by default a share of each class.

    Attributes:
        validation: likewise.
    """

    def __init__(self, run: Run, teacher: Frozen, validation: Tensor | None = None) -> None:
        self._run = run
        self._teacher = teacher
        drawn = validation_rows(run.dataset, VALIDATION, self._generator("validation"))
        self.validation = drawn if validation is None else validation

    @cached_property
    def rows(self) -> Mapping[Rule, Tensor]:
        """Training rows that each rule keeps, int64, class-major; a class with too few gives all it has."""
        generator, kept = self._generator("clusters"), {rule: list[Tensor]() for rule in _CHOOSE}
        for rows, features in self._teacher.features_by_class(without=self.validation):
            count = min(self._run.spec.ipc, len(rows))
            for rule, choose in _CHOOSE.items():
                kept[rule].append(rows[choose(features, count, generator)])
        return {rule: torch.cat(parts) for rule, parts in kept.items()}

    def _generator(self, stream: str) -> Generator:
        return Generator().manual_seed(stream_seed(self._run.spec.seed, f"evaluation/coresets/{stream}"))


def validation_rows(dataset: Dataset, share: float, generator: Generator) -> Tensor:
    """Training rows to test on, int64, class-major.

    Args:
        dataset: rows of its training images are drawn.
        share: of each class, 0 to 1; at least one image of it, and as many of all classes as
            :meth:`ddcore.spec.work.DataSizes.validating_of` allows.
        generator: on the CPU.
    """
    counts = DataSizes(dataset.shape, dataset.class_counts, len(dataset.test)).validating_of(share)
    of_class = [(dataset.train.labels == label).nonzero().flatten() for label in range(len(counts))]
    drawn = [rows[torch.randperm(len(rows), generator=generator)[:n]] for rows, n in zip(of_class, counts, strict=True)]
    return torch.cat(drawn)
