"""A teacher's labels of every batch of some epochs, made once and learned by every network.

Shen & Xing, "A Fast Knowledge Distillation Framework for Visual Recognition", ECCV 2022 (arXiv 2112.01528), as SRe2L
and its heirs label their sets. They store the crops beside the labels; here the batches are made again from a seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from ddcore.errors import ConfigurationError
from ddcore.formulas.highest_logits import HighestLogits, all_logits, highest
from ddcore.runtime.randomness import stream_seed
from ddcore.spec.evaluation.label_sizes import class_bytes
from ddcore.training.trainer import Labeller, Recipe, seen

_CLASS_DTYPES = {1: torch.uint8, 2: torch.int16, 4: torch.int32}


@dataclass(frozen=True, eq=False)
class Others:
    """What makes all logits of the highest ones.

    Attributes:
        classes: (K, N, top), whose the stored logits are; uint8 up to 256 classes, int16 up to 32768, else int32.
        rest: (K, N) float16: the logit of each other class, see :func:`ddcore.formulas.highest_logits.highest`.
        count: number of classes.
    """

    classes: Tensor
    rest: Tensor
    count: int


@dataclass(frozen=True, eq=False)
class StoredLabels:
    """Labels of all batches of K epochs; a training of more epochs begins with the first again.

    Attributes:
        logits: (K, N, classes) float16 on the CPU, in the order in which an epoch takes the N images; (K, N, top), in
            descending order, where only the highest of each image are stored.
        seed: of shuffling, augmentation and mixing.
        others: what the other classes have, where only the highest are stored.
    """

    logits: Tensor
    seed: int
    others: Others | None = None

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor], *, classes: int, seed: int) -> StoredLabels:
        """From what :meth:`tensors` gave.

        Args:
            tensors: by name.
            classes: how many there are.
            seed: see the class.

        Raises:
            KeyError: one is missing.
        """
        highest_alone = "classes" in tensors or "rest" in tensors
        others = Others(tensors["classes"], tensors["rest"], classes) if highest_alone else None
        return cls(tensors["logits"], seed, others)

    def tensors(self) -> dict[str, Tensor]:
        """Everything that is stored, by name: see :func:`layout`."""
        if self.others is None:
            return {"logits": self.logits}
        return {"logits": self.logits, "classes": self.others.classes, "rest": self.others.rest}

    @property
    def epochs(self) -> int:
        """K."""
        return len(self.logits)

    @property
    def top(self) -> int | None:
        """How many logits of each image are stored, where these are not all."""
        return None if self.others is None else self.logits.shape[2]

    def generator(self, epoch: int) -> Generator:
        """What makes the batches of an epoch, from 1."""
        return _generator(self.seed, (epoch - 1) % len(self.logits))

    def of(self, epoch: int, first: int, count: int) -> Tensor:
        """Logits (count, classes) float32 of so many images that an epoch takes, from one on.

        Raises:
            ValueError: an epoch has fewer images.
        """
        place, images = (epoch - 1) % len(self.logits), self.logits.shape[1]
        if first + count > images:
            raise ValueError(f"there are labels of {images} images an epoch, not of {first + count}")
        rows = slice(first, first + count)
        logits = self.logits[place, rows].float()
        if self.others is None:
            return logits
        kept = HighestLogits(logits, self.others.classes[place, rows], self.others.rest[place, rows].float())
        return all_logits(kept, self.others.count)


def layout(
    *, epochs: int, images: int, classes: int, top: int | None
) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """Names, dtypes and shapes of the tensors that labels are stored in; see :class:`StoredLabels`."""
    if top is None:
        return {"logits": (torch.float16, (epochs, images, classes))}
    return {
        "logits": (torch.float16, (epochs, images, top)),
        "classes": (_CLASS_DTYPES[class_bytes(classes)], (epochs, images, top)),
        "rest": (torch.float16, (epochs, images)),
    }


def record(
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    labeller: Labeller,
    *,
    classes: int,
    epochs: int,
    seed: int,
    top: int | None = None,
    normalize: Callable[[Tensor], Tensor] | None = None,
    check_stop: Callable[[], None] | None = None,
) -> StoredLabels:
    """Have the batches of some epochs labelled.

    Args:
        images: (N, C, H, W), see :func:`ddcore.training.trainer.train`; on the device of the teacher.
        labels: (N,) int64.
        recipe: how networks will be trained; its loss and temperature decide on what the other classes have.
        labeller: the teacher.
        classes: how many there are.
        epochs: K.
        seed: decides on the batches.
        top: how many of the highest logits of each image are stored, fewer than there are classes; ``None`` for all.
        normalize: applied to each batch.
        check_stop: called after each batch; may raise.

    Raises:
        ConfigurationError: a logit is too large for half precision.
    """
    shapes = layout(epochs=epochs, images=len(images), classes=classes, top=top)
    found = {name: torch.empty(shape, dtype=dtype) for name, (dtype, shape) in shapes.items()}
    labels = labels.to(images.device)
    for epoch in range(epochs):
        taken = 0
        for batch, _ in seen(images, labels, recipe, classes, _generator(seed, epoch), normalize):
            for name, part in _kept(labeller(batch).cpu(), recipe, top).items():
                found[name][epoch, taken : taken + len(batch)] = part
            taken += len(batch)
            if check_stop is not None:
                check_stop()
    if not all(bool(tensor.isfinite().all()) for tensor in found.values()):
        raise ConfigurationError(
            "the teacher has logits that half precision cannot hold, so its labels cannot be stored; use "
            "`evaluation.labels`: 'online', or a lower `evaluation.teacher.lr`"
        )
    return StoredLabels.of_tensors(found, classes=classes, seed=seed)


def _kept(logits: Tensor, recipe: Recipe, top: int | None) -> Mapping[str, Tensor]:
    """What is stored of the logits of a batch, by name, before it is rounded."""
    if top is None:
        return {"logits": logits}
    return highest(logits, top, recipe.temperature if recipe.label_loss == "kl" else None)._asdict()


def _generator(seed: int, epoch: int) -> Generator:
    return Generator().manual_seed(stream_seed(seed, f"labels/{epoch}"))
