"""Which real images a trained network is surest of."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ddcore.pretrained.teachers import Teacher
from ddcore.runtime.context import Run


def drawn_candidates(run: Run, count: int, generator: Generator) -> Iterator[Tensor]:
    """Training rows of each class in turn, int64 (n,): ``count`` of them drawn uniformly, or all of a smaller class.

    Args:
        run: its training images.
        count: at least 1.
        generator: on the CPU.
    """
    labels = run.dataset.train.labels.cpu()
    for label in range(len(run.dataset.classes)):
        rows = (labels == label).nonzero().flatten()
        yield rows[torch.randperm(len(rows), generator=generator)[:count]]


def unsureness(teacher: Teacher, images: Tensor, label: int) -> Tensor:
    """Cross-entropy of the teacher with a class, (n,) float32: the lower, the surer it is.

    Args:
        teacher: prepared; in evaluation mode.
        images: (n, C, H, W) in normalised units, on the device of the run.
        label: of all of them.
    """
    logits = teacher.logits(images)
    return F.cross_entropy(logits, torch.full((len(images),), label, device=logits.device), reduction="none")


def surest(losses: Tensor, count: int) -> Tensor:
    """Rows of the ``count`` lowest of (n,) losses, rising; of equals the first.

    >>> surest(torch.tensor([3.0, 1.0, 2.0, 1.0]), 3).tolist()
    [1, 3, 2]
    """
    return losses.argsort(stable=True)[:count]
