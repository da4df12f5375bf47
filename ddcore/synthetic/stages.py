"""How a distilled set is divided into stages, which networks learn one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Stages:
    """The stages of a set.

    Attributes:
        of_images: (N,) int64, the stage of each image, from 0.
        sizes: stored images of each class of each stage, in order.
        rates: learning rate of each stage: learned with it, or what networks of later stages learned it at.
    """

    of_images: Tensor
    sizes: tuple[int, ...]
    rates: tuple[float, ...]

    @classmethod
    def of(cls, rows: Tensor, sizes: Sequence[int], rates: Sequence[float]) -> Stages:
        """Divide images by which stored one of its class each is made of.

        Args:
            rows: (N,) int64, from 0 within each class.
            sizes: as above.
            rates: as above.

        >>> Stages.of(torch.tensor([0, 1, 2, 0, 1, 2]), (2, 1), (0.1, 0.2)).of_images.tolist()
        [0, 0, 1, 0, 0, 1]
        """
        ends = torch.tensor(list(accumulate(sizes)), device=rows.device)
        return cls(torch.bucketize(rows, ends, right=True), tuple(sizes), tuple(rates))

    def of_real(self, labels: Tensor) -> Tensor:
        """Stages (M,) of as many real images of each class, divided alike by their places in their class.

        Args:
            labels: (M,) int64, class after class.
        """
        places = torch.cat([torch.arange(count) for count in labels.bincount().tolist()]).to(labels.device)
        return Stages.of(places, self.sizes, self.rates).of_images

    def __len__(self) -> int:
        return len(self.sizes)
