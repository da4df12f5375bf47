"""SRe2L and FADRM: images that trained networks recognise, with the statistics of real ones inside these networks.

Yin, Xing & Shen, "Squeeze, Recover and Relabel: Dataset Condensation at ImageNet Scale From A New Perspective", NeurIPS
2023 (arXiv 2306.13092); its form that begins with crops of real images is SRe2L++ of Cui et al., "Dataset Distillation
via Committee Voting", 2025 (arXiv 2501.07575). Cui et al., "FADRM: Fast and Accurate Data Residual Matching for Dataset
Distillation", NeurIPS 2025 (arXiv 2506.24125). Released code: github.com/VILA-Lab/SRe2L, github.com/Jiacheng8/FADRM.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from ddcore.augment.resized_crop import ResizedCrop
from ddcore.methods.shared.confidence import drawn_candidates, surest, unsureness
from ddcore.methods.shared.crops import random_crops
from ddcore.methods.shared.taught import Taught
from ddcore.registry import implements
from ddcore.runtime.objective import Method, Readings, Step
from ddcore.spec import FADRMConfig, SRe2LConfig
from ddcore.spec.methods.sre2l import RecoveringConfig
from ddcore.synthetic.annealed import Annealed, Rounds
from ddcore.synthetic.set import SyntheticSet

C = TypeVar("C", bound=RecoveringConfig)


@dataclass(frozen=True)
class RecoveringStep(Step):
    """One step of every image.

    Attributes:
        views: how the teacher sees each batch.
    """

    views: tuple[ResizedCrop, ...]


class Recovering(Taught[C], Method[C, RecoveringStep]):
    """Adam on images, each of them in a batch with one image of each of many other classes.

    Batches do not depend on each other, and Adam takes each pixel for itself, so one step of all images is what the
    released code does batch by batch. One batch is in memory at a time.
    """

    @override
    def start(self) -> SyntheticSet:
        run = self.run
        mean, std = (torch.tensor(each).view(-1, 1, 1) for each in (run.dataset.mean, run.dataset.std))
        lowest, highest = (((end - mean) / std).to(run.compute.device) for end in (0.0, 1.0))
        learned_by = partial(Annealed, rounds=self._rounds(), lowest=lowest, highest=highest)
        return SyntheticSet(self._begun(), run.spec.ipc, lr=self.config.lr_img, learned_by=learned_by)

    def _rounds(self) -> Rounds:
        """One, of all steps."""
        return Rounds(self.config.iterations)

    def _begun(self) -> Tensor:
        """Images (classes * ipc, C, H, W) to begin with: noise, or crops of which the first teacher is half sure."""
        run = self.run
        if run.spec.init == "noise":
            return run.starting_images()
        candidates = drawn_candidates(run, self.config.candidates, run.random.host_stream("method/candidates"))
        return torch.cat([self._crops(run.real_images(rows), label) for label, rows in enumerate(candidates)])

    def _crops(self, images: Tensor, label: int) -> Tensor:
        """As many crops as there are images of a class to learn, each of another real image: those in the middle."""
        run, ipc = self.run, self.run.spec.ipc
        generator, shape = run.random.host_stream("method/crops"), run.dataset.shape
        found = random_crops(images, (shape[1], shape[2]), self.config.smallest, generator)
        ranked = surest(unsureness(self._teacher, found, label), len(found))
        first = (len(found) - ipc) // 2
        return found[ranked[first : first + ipc]]

    @override
    def draw(self, index: int, synthetic: SyntheticSet) -> RecoveringStep:
        run, config, generator = self.run, self.config, self.run.random.host_stream("method/augment")
        views = [
            ResizedCrop.draw(run.dataset.shape, config.smallest, config.shift, generator, flip=run.dataset.flip)
            for _ in self._batches()
        ]
        return RecoveringStep(index, synthetic, tuple(views), fresh_network=len(self._teachers) > 1 or index == 0)

    @override
    def backward(self, step: RecoveringStep) -> Readings:
        """L = CE + r R of every batch, R the distance of its statistics from those of the real images."""
        teacher = self._teachers[step.index % len(self._teachers)]
        stored, labels = step.synthetic.stored.detach(), step.synthetic.labels
        total = torch.zeros((), device=stored.device)
        for rows, view in zip(self._batches(), step.views, strict=True):
            # A leaf of its own: the slope of rows of a large tensor would be as large as that.
            images = stored[rows].requires_grad_()
            logits, distance = teacher.unlikeness(view(images), self.config.first_layer)
            loss = F.cross_entropy(logits, labels[rows]) + self.config.statistics_weight * distance
            (slope,) = torch.autograd.grad(loss, images)
            step.synthetic.gradient[rows] += slope
            total += loss.detach()
        return {"loss/base": total}

    def _batches(self) -> Iterator[Tensor]:
        """Rows of each batch: one image of each of some consecutive classes, as even as possible."""
        classes, ipc = len(self.run.dataset.classes), self.run.spec.ipc
        for number in range(ipc):
            for group in torch.arange(classes).tensor_split(-(-classes // self.config.batch_classes)):
                yield group * ipc + number


@implements(SRe2LConfig)
class SRe2L(Recovering[SRe2LConfig]):
    """From noise, or from crops, in one go."""


@implements(FADRMConfig)
class FADRM(Recovering[FADRMConfig]):
    """From crops, in rounds that bring some of the crop back."""

    @override
    def _rounds(self) -> Rounds:
        config = self.config
        return Rounds(config.iterations, config.rounds, config.residual)
