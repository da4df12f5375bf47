"""DATM: matching of trajectories at the difficulty that a set has room for, with labels that are learned.

Guo et al., "Towards Lossless Dataset Distillation via Difficulty-Aligned Trajectory Matching", ICLR 2024 (arXiv
2310.05773). Released code: github.com/NUS-HPC-AI-Lab/DATM.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from typing_extensions import override

from ddcore.autograd.adjoint import OuterGradient
from ddcore.methods.mtt import TrajectoryMatching
from ddcore.methods.shared.student_training import StudentStep
from ddcore.nets.functional import Params
from ddcore.registry import implements
from ddcore.runtime.context import PIECE
from ddcore.runtime.objective import Readings
from ddcore.spec import DATMConfig
from ddcore.synthetic.parameter import Learned
from ddcore.synthetic.set import SyntheticSet


@implements(DATMConfig)
class DATM(TrajectoryMatching[DATMConfig]):
    """Trajectory matching with learned logits of the labels, and windows of the experts that move."""

    @override
    def start(self) -> SyntheticSet:
        rows = self._recognised()
        images, config = self.run.real_images(rows), self.config
        logits = self._said(images, self.run.dataset.train.labels[rows].to(images.device))
        labels = Learned(logits, lr=config.lr_labels, momentum=config.momentum_labels)
        return self._set({"label_logits": labels}, self.run.decoder().encode(images, self.run.spec.ipc))

    def _recognised(self) -> Tensor:
        """Training rows to start from, class-major: in a random order those that an expert classifies right.

        The first expert looks at all of them, the next ones at what is missing; what none classifies right comes last.
        """
        generator, labels = self.run.random.host_stream("init"), self.run.dataset.train.labels.cpu()
        orders = [(labels == label).nonzero().flatten() for label in range(len(self.run.dataset.classes))]
        shuffled = [rows[torch.randperm(len(rows), generator=generator)] for rows in orders]
        right = self._right(self._ends(0), torch.cat(shuffled)).split([len(rows) for rows in shuffled])
        return torch.cat([self._first(rows, known) for rows, known in zip(shuffled, right, strict=True)])

    def _first(self, rows: Tensor, right: Tensor) -> Tensor:
        """The first ``ipc`` rows of a class that some expert classifies right, filled up with others."""
        ipc, index = self.run.spec.ipc, 1
        while int(right.sum()) < ipc and index < len(self._experts):
            right = right | self._right(self._ends(index), rows)
            index += 1
        return torch.cat([rows[right], rows[~right]])[:ipc]

    @torch.no_grad()
    def _right(self, params: Params, rows: Tensor) -> Tensor:
        """Which training rows a network classifies right, bool on the CPU."""
        labels, found = self.run.dataset.train.labels.cpu(), []
        for part in rows.split(PIECE):
            logits = self.run.functional.logits(params, self.run.real_images(part), training=False)
            found.append(logits.argmax(dim=1).cpu() == labels[part])
        return torch.cat(found)

    @torch.no_grad()
    def _said(self, images: Tensor, labels: Tensor) -> Tensor:
        """Mean logits (N, classes) of the experts that classify an image right, or of all where none does."""
        total = torch.zeros(len(images), len(self.run.dataset.classes), device=images.device)
        of_right, count = torch.zeros_like(total), torch.zeros(len(images), 1, device=images.device)
        for params in self._all_ends():
            logits = self.run.functional.logits(params, images, training=False)
            right = (logits.argmax(dim=1) == labels)[:, None]
            total += logits
            of_right += torch.where(right, logits, 0)
            count += right
        return torch.where(count > 0, of_right / count.clamp(min=1), total / len(self._experts))

    def _all_ends(self) -> Iterator[Params]:
        for index in range(len(self._experts)):
            yield self._ends(index)

    def _ends(self, index: int) -> Params:
        """Where an expert ends."""
        return self._experts.snapshot(index, self._experts.epochs)

    @override
    def backward(self, step: StudentStep) -> Readings:
        readings = super().backward(step)
        return {**readings, "skipped": torch.tensor(float(step.synthetic.resting))}

    @override
    def _starts(self, index: int) -> range:
        return self.config.starts(index)

    @override
    def _may_follow(self, loss: Tensor) -> bool:
        return float(loss) <= self.config.threshold

    @override
    def _follow(self, synthetic: SyntheticSet, slope: OuterGradient) -> None:
        """Take the slope of the labels back through their softmax: p (s - <p, s>)."""
        super()._follow(synthetic, slope)
        if slope.labels is None:
            raise ValueError("the labels of a student are probabilities")
        weights = synthetic.training_labels
        inner = (weights * slope.labels).sum(dim=1, keepdim=True)
        synthetic.learned["label_logits"].gradient.add_(weights * (slope.labels - inner))
