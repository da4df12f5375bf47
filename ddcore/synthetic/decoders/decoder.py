"""What every decoder does: images of stored rows, and stored rows of images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from ddcore.synthetic.parameter import Learned


class Decoder(ABC):
    """A differentiable map from stored rows to images, class by class.

    Attributes:
        views: images that come out of each stored row; for a bounded decoder, of the one it is finished with.
        learned: tensors of the decoder itself that are learned beside the rows, by name.
    """

    views: int = 1
    learned: Mapping[str, Learned] = {}

    @property
    def tiles(self) -> int:
        """Images that :meth:`encode` makes each stored row of."""
        return self.views

    @property
    def finished(self) -> Decoder:
        """Decoder of the images that are scored and delivered: this one, but where it saves work while learning."""
        return self

    def count(self, rows: int) -> int:
        """Images that come out of ``rows`` stored rows of one class."""
        return rows * self.views

    def origins(self, rows: int) -> Tensor:
        """Which of a class's stored rows each of its images is made of: (count(rows),) int64, in their order."""
        return torch.arange(rows)

    @abstractmethod
    def decode(self, stored: Tensor, rows: int) -> Tensor:
        """Images of whole classes.

        Args:
            stored: (classes * rows, ...), class-major.
            rows: stored rows of each class.

        Returns:
            (classes * count(rows), C, H, W), class-major; within a class all first views, then all second ones.
        """

    @abstractmethod
    def encode(self, images: Tensor, rows: int) -> Tensor:
        """Stored rows to start from, given images in the order in which :meth:`decode` returns them.

        Args:
            images: (classes * rows * tiles, C, H, W), class-major.
            rows: stored rows of each class.
        """

    def shown(self, stored: Tensor, rows: int) -> Tensor:
        """What to show of stored rows: the rows themselves where they are images."""
        return self.decode(stored, rows)

    def row_shape(self, shape: tuple[int, int, int]) -> tuple[int, ...]:
        """Shape of a stored row, for images of a shape; rows are images by default."""
        return shape

    def parts(self, stored: Tensor) -> dict[str, Tensor]:  # noqa: ARG002 - for those that have some
        """What a bundle keeps that is no image, by name, in normalised units; nothing by default."""
        return {}
