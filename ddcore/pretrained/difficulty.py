"""Which real images a network in training sees, epoch by epoch: from easy ones to hard ones.

Li et al., "Prioritize Alignment in Dataset Distillation", 2024 (arXiv 2408.03360). Released code:
github.com/NUS-HPC-AI-Lab/PAD.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from ddcore.formulas.difficulty import error_norms
from ddcore.pretrained.teachers import teachers
from ddcore.runtime.context import PIECE, Run
from ddcore.spec import CurriculumConfig


class Curriculum:
    """The training images of a run by their difficulty, and the part of them that an epoch takes.

    Args:
        config: when which part is taken, and the networks that say how hard an image is.
        run: the run whose images they are.

    Raises:
        ConfigurationError: those networks do not fit on the disk or into the memory, beside the others of the run.
    """

    def __init__(self, config: CurriculumConfig, run: Run) -> None:
        self._config, self._run = config, run
        self._scorers = teachers(config.scorers, run)

    def prepare(self) -> None:
        """Have the networks trained that say how hard images are."""
        self._scorers.prepare()

    def rows(self, epoch: int) -> Tensor:
        """Training rows of an epoch, int64 (n,), class after class.

        Args:
            epoch: from 0.
        """
        parts = ((rows, self._config.part(epoch, len(rows))) for rows in self.by_difficulty)
        return torch.cat([rows[part.start : part.stop] for rows, part in parts])

    @cached_property
    def by_difficulty(self) -> list[Tensor]:
        """Training rows of each class, int64, from the easiest to the hardest; of equals the first."""
        labels, difficulty = self._run.dataset.train.labels.cpu(), self._difficulty()
        of_class = [(labels == label).nonzero().flatten() for label in range(len(self._run.dataset.classes))]
        return [rows[difficulty[rows].argsort(stable=True)] for rows in of_class]

    @torch.no_grad()
    def _difficulty(self) -> Tensor:
        """Mean over the networks of the length of their error on each training image, float64 on the CPU."""
        labels = self._run.dataset.train.labels
        total = torch.zeros(len(labels), dtype=torch.float64)
        for index in range(len(self._scorers)):
            params = self._scorers[index]
            for rows in torch.arange(len(labels)).split(PIECE):
                logits = self._scorers.functional.logits(params, self._run.real_images(rows), training=False)
                total[rows] += error_norms(logits, labels[rows].to(logits.device)).double().cpu()
        return total / len(self._scorers)
