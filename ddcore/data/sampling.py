"""Which rows of a dataset a step looks at. Everything random comes from the generator passed in.

Rows are drawn on the CPU, where a draw costs no synchronisation with the compute device; index images
that live elsewhere with ``rows.to(images.device)``.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from ddcore.data.dataset import Dataset
from ddcore.errors import DataError


class ClassSampler:
    """Draws training rows class by class, uniformly and without replacement within a draw.

    Args:
        labels: int64 (N,) of all rows.
        classes: how many classes there are.
        exclude: rows that are never drawn (the probe), any shape; ``None`` for none.

    Raises:
        DataError: a class has no row left to draw.

    >>> sampler = ClassSampler(torch.tensor([0, 1, 0, 1]), 2)
    >>> sampler.draw(2, torch.Generator().manual_seed(0)).sort(dim=1).values.tolist()
    [[0, 2], [1, 3]]
    """

    def __init__(self, labels: Tensor, classes: int, exclude: Tensor | None = None) -> None:
        eligible = torch.ones(len(labels), dtype=torch.bool)
        if exclude is not None:
            eligible[exclude.reshape(-1).cpu()] = False
        rows = eligible.nonzero().squeeze(1)
        kept = labels.cpu()[rows]
        self.counts: tuple[int, ...] = tuple(torch.bincount(kept, minlength=classes).tolist())
        """Rows of each class that can be drawn."""
        self._rows = rows[torch.argsort(kept, stable=True)]
        self._rows_of_class = torch.split(self._rows, list(self.counts))
        if 0 in self.counts:
            empty = self.counts.index(0)
            raise DataError(
                f"class {empty} has no training image left to draw; every class needs at least one "
                "beside those set aside for the probe"
            )

    def draw(self, per_class: int, generator: Generator) -> Tensor:
        """As many rows of every class.

        Args:
            per_class: rows wanted of each class; capped at the size of the smallest class.
            generator: CPU generator.

        Returns:
            int64 (classes, min(per_class, smallest class)); row c holds distinct rows of class c in
            uniformly random order.
        """
        return torch.stack(self.draw_each(min(per_class, min(self.counts)), generator))

    def draw_each(self, per_class: int, generator: Generator) -> list[Tensor]:
        """Up to ``per_class`` rows of each class, every class capped at its own size.

        This is the draw for imbalanced sets: a small class does not shorten the others. Where all
        classes hold ``per_class`` rows it makes the same draws as :meth:`draw`.

        Returns:
            One int64 tensor a class, of length min(per_class, class size).
        """
        # The head of a full permutation: at 5,000 rows a class this takes 15 microseconds, a third of what
        # drawing only the rows wanted and striking out repetitions takes; it is exact and has no cases.
        return [rows[torch.randperm(len(rows), generator=generator)[:per_class]] for rows in self._rows_of_class]

    def draw_mixed(self, count: int, generator: Generator) -> Tensor:
        """Distinct rows of all classes mixed, every drawable row as likely as any other.

        Returns:
            int64, of length min(count, rows that can be drawn).
        """
        return self._rows[torch.randperm(len(self._rows), generator=generator)[:count]]


def reserve(dataset: Dataset, per_class: int, generator: Generator) -> Tensor:
    """A fixed class-balanced sample of training rows, to be excluded from a :class:`ClassSampler`.

    Args:
        dataset: rows are drawn from its training split.
        per_class: rows wanted of each class; capped at half of the smallest class, so that every
            class keeps images to learn from.
        generator: CPU generator.

    Returns:
        int64 (classes, k) of distinct rows.

    Raises:
        DataError: a class has fewer than two training images.
    """
    check_class_sizes(dataset)
    sampler = ClassSampler(dataset.train.labels, len(dataset.classes))
    return sampler.draw(min(per_class, min(dataset.class_counts) // 2), generator)


def check_class_sizes(dataset: Dataset) -> None:
    """Refuse a dataset that leaves nothing to learn from beside what is set aside.

    Raises:
        DataError: a class has fewer than two training images.
    """
    smallest = min(dataset.class_counts)
    if smallest < 2:
        name = dataset.classes[dataset.class_counts.index(smallest)]
        images = "image" if smallest == 1 else "images"
        raise DataError(
            f"class '{name}' of {dataset.name} has {smallest} training {images}; at least 2 are needed, "
            "one to learn from and one to measure with: add images of it, or leave the class out"
        )


def batches(n: int, batch_size: int, generator: Generator) -> Iterator[Tensor]:
    """One pass over ``n`` rows in random order.

    Args:
        n: how many rows there are.
        batch_size: rows a batch; the last may be shorter.
        generator: decides the order; the batches lie on its device.

    Yields:
        int64 tensors that together hold each of 0 to n - 1 once.

    >>> [len(batch) for batch in batches(10, 4, torch.Generator())]
    [4, 4, 2]
    """
    yield from torch.split(torch.randperm(n, generator=generator, device=generator.device), batch_size)
