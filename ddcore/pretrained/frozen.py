"""A network that stays as it is and whose features are looked at, wherever its weights come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import torch
from torch import Generator, Tensor

from ddcore.nets.functional import Functional, Params
from ddcore.runtime.context import Run


class Frozen(ABC):
    """One network in evaluation mode, seeing images as they are.

    Args:
        run: the run that needs it.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._params: Params = {}

    @property
    @abstractmethod
    def functional(self) -> Functional:
        """Its architecture."""

    @abstractmethod
    def prepare(self, generator: Generator) -> None:
        """Have its weights, by whatever draws a generator on the CPU has to decide on."""

    @property
    def params(self) -> Params:
        """Its parameters and buffers, which nobody may change."""
        return self._params

    @property
    def feature_count(self) -> int:
        """F, how many features it has."""
        return self._params["classifier.weight"].shape[1]

    def features(self, images: Tensor) -> Tensor:
        """Features (N, F) float32 of normalised images (N, C, H, W) as they are, differentiable to the images."""
        return self.functional.features(self._params, images, training=False)

    def select(self, rule: Callable[[Tensor], Tensor]) -> Tensor:
        """Training rows that a rule keeps of every class.

        Args:
            rule: rows to keep, int64 (n,), of the features (N, F) float32 of the images of one class.

        Returns:
            int64, class-major, and in each class as the rule orders them.
        """
        return torch.cat([rows[rule(features)] for rows, features in self.features_by_class()])

    def features_by_class(self, without: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Training rows of each class in turn, int64 (n,), with the features of their images, float32 (n, F).

        Args:
            without: int64 rows to leave out.
        """
        labels = self._run.dataset.train.labels.cpu().clone()
        if without is not None:
            labels[without] = -1
        for label in range(len(self._run.dataset.classes)):
            rows = (labels == label).nonzero().flatten()
            yield rows, self._run.real_features(self._params, rows, functional=self.functional)
