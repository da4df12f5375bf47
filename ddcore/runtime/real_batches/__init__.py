"""The real batch of each class that a matching method compares with: one way of drawing it a file.

A file here with a class decorated by :func:`ddcore.registry.implements`, which is called with its configuration and the
run, is found; nothing lists it.
"""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from ddcore.nets.functional import Params
from ddcore.runtime.checkpoint import Stateful


class RealBatches(Stateful):
    """Draws the real batch of each class, step by step."""

    @abstractmethod
    def rows(self, index: int, params: Params, batch: int) -> list[Tensor]:
        """Training rows of each class, int64, distinct within a class.

        Args:
            index: of the step.
            params: the network of the step.
            batch: rows wanted of each class; capped at the class size.
        """
