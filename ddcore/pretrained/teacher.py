"""One network trained on the real images, and what it says of images: features and probabilities."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ddcore.run.context import PIECE, Run
from ddcore.spec import TeacherConfig


class Teacher:
    """One network of a pool, alone: in evaluation mode, and seeing images as they are.

    Args:
        config: of the pool.
        run: the run that needs it.
    """

    def __init__(self, config: TeacherConfig, run: Run) -> None:
        self._run = run
        self._pool = run.teachers(config)

    def prepare(self, generator: Generator) -> None:
        """Have the network trained: the one of the pool that a generator on the CPU decides on."""
        self._params = self._pool.draw_alone(generator)

    def select(self, rule: Callable[[Tensor], Tensor]) -> Tensor:
        """Training rows that a rule keeps of every class.

        Args:
            rule: rows to keep, int64 (n,), of the features (N, F) float32 of the images of one class.

        Returns:
            int64, class-major, and in each class as the rule orders them.
        """
        labels, kept = self._run.dataset.train.labels.cpu(), []
        for label in range(len(self._run.dataset.classes)):
            rows = (labels == label).nonzero().flatten()
            kept.append(rows[rule(self._features(rows))])
        return torch.cat(kept)

    @torch.no_grad()
    def probabilities(self, images: Tensor, temperature: float) -> Tensor:
        """Softmax of the logits over a temperature.

        Args:
            images: uint8 (N, C, H, W), or floating point in normalised units.
            temperature: positive; the higher, the more even.

        Returns:
            float32 (N, classes) on the device of the run.
        """
        normalize = self._run.dataset.normalize
        pieces = (p.to(self._run.compute.device) for p in images.split(PIECE))
        seen = (normalize(piece) if piece.dtype == torch.uint8 else piece for piece in pieces)
        logits = [self._pool.functional.logits(self._params, piece, training=False) for piece in seen]
        return F.softmax(torch.cat(logits) / temperature, dim=1)

    def _features(self, rows: Tensor) -> Tensor:
        return self._run.real_features(self._params, rows, functional=self._pool.functional)
