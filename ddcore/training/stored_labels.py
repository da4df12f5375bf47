"""A teacher's labels of every batch of some epochs, made once and learned by every network.

Shen & Xing, "A Fast Knowledge Distillation Framework for Visual Recognition", ECCV 2022 (arXiv 2112.01528), as SRe2L
and its heirs label their sets. They store the crops beside the labels; here the batches are made again from a seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from ddcore.errors import ConfigurationError
from ddcore.runtime.randomness import stream_seed
from ddcore.training.trainer import Labeller, Recipe, seen


@dataclass(frozen=True, eq=False)
class StoredLabels:
    """Labels of all batches of K epochs; a training of more epochs begins with the first again.

    Attributes:
        logits: (K, N, classes) float16 on the CPU, in the order in which an epoch takes the N images.
        seed: of shuffling, augmentation and mixing.
    """

    logits: Tensor
    seed: int

    def generator(self, epoch: int) -> Generator:
        """What makes the batches of an epoch, from 1."""
        return _generator(self.seed, (epoch - 1) % len(self.logits))

    def of(self, epoch: int, first: int, count: int) -> Tensor:
        """Logits (count, classes) float32 of so many images that an epoch takes, from one on.

        Raises:
            ValueError: an epoch has fewer images.
        """
        of_epoch = self.logits[(epoch - 1) % len(self.logits)]
        if first + count > len(of_epoch):
            raise ValueError(f"there are labels of {len(of_epoch)} images an epoch, not of {first + count}")
        return of_epoch[first : first + count].float()


def record(
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    labeller: Labeller,
    *,
    classes: int,
    epochs: int,
    seed: int,
    normalize: Callable[[Tensor], Tensor] | None = None,
    check_stop: Callable[[], None] | None = None,
) -> StoredLabels:
    """Have the batches of some epochs labelled.

    Args:
        images: (N, C, H, W), see :func:`ddcore.training.trainer.train`; on the device of the teacher.
        labels: (N,) int64.
        recipe: how networks will be trained.
        labeller: the teacher.
        classes: how many there are.
        epochs: K.
        seed: decides on the batches.
        normalize: applied to each batch.
        check_stop: called after each batch; may raise.

    Raises:
        ConfigurationError: a logit is too large for half precision.
    """
    found = torch.empty(epochs, len(images), classes, dtype=torch.float16)
    labels = labels.to(images.device)
    for epoch in range(epochs):
        taken = 0
        for batch, _ in seen(images, labels, recipe, classes, _generator(seed, epoch), normalize):
            found[epoch, taken : taken + len(batch)] = labeller(batch).half().cpu()
            taken += len(batch)
            if check_stop is not None:
                check_stop()
    if not bool(found.isfinite().all()):
        raise ConfigurationError(
            "the teacher has logits that half precision cannot hold, so its labels cannot be stored; use "
            "`evaluation.labels`: 'online', or a lower `evaluation.teacher.lr`"
        )
    return StoredLabels(found, seed)


def _generator(seed: int, epoch: int) -> Generator:
    return Generator().manual_seed(stream_seed(seed, f"labels/{epoch}"))
