"""What is being learned: a few images per class, their labels and the optimiser that moves them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from ddcore.data.images import ImageSet
from ddcore.errors import DivergedError


class SyntheticSet:
    """Synthetic images in normalised pixel space, class-major, with momentum SGD on all of them.

    Attributes:
        images: (C * ipc, channels, H, W) float32 leaf tensor, rows ordered by class; never clamped.
        labels: (C * ipc,) int64, ``0 … 0, 1 … 1, …``.
        ipc: images per class.
        velocity: momentum buffer, shaped like ``images``.
    """

    def __init__(self, images: Tensor, ipc: int, *, lr: float, momentum: float) -> None:
        if images.ndim != 4 or len(images) % ipc:
            raise ValueError(f"images {tuple(images.shape)} are not whole classes of {ipc}")
        self.images = images.detach().to(torch.float32, copy=True).requires_grad_()
        self.labels = torch.arange(len(images) // ipc, device=images.device).repeat_interleave(ipc)
        self.ipc = ipc
        self.lr = lr
        self.momentum = momentum
        self.velocity = torch.zeros_like(self.images)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.labels) // self.ipc

    def class_groups(self, images: int) -> Iterator[range]:
        """Groups of consecutive classes with at most ``images`` images each, but at least one class.

        As few groups as that allows, and of even size, so that few batch sizes occur.
        """
        at_most = max(1, images // self.ipc)
        groups = -(-self.classes // at_most)
        size = -(-self.classes // groups)
        for first in range(0, self.classes, size):
            yield range(first, min(first + size, self.classes))

    def rows(self, classes: range) -> slice:
        """Rows of consecutive classes."""
        return slice(classes.start * self.ipc, classes.stop * self.ipc)

    @property
    def gradient(self) -> Tensor:
        """Gradient accumulated so far in this step, zeros where no objective has added any."""
        if self.images.grad is None:
            self.images.grad = torch.zeros_like(self.images)
        return self.images.grad

    def clear_gradient(self) -> None:
        """Start a step with no gradient."""
        self.images.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Take one SGD step on all images at once: v <- momentum v + g, x <- x - lr v."""
        self.velocity.mul_(self.momentum).add_(self.gradient)
        self.images.sub_(self.velocity, alpha=self.lr)

    def check_finite(self, step: int) -> None:
        """Refuse images that have become NaN or infinite, so that no checkpoint ever holds them.

        Raises:
            DivergedError: naming the step and the first class concerned.
        """
        images = self.images.detach()
        if bool(torch.isfinite(images.sum())) or bool(torch.isfinite(images).all()):
            return
        row = int((~torch.isfinite(images)).flatten(1).any(dim=1).nonzero()[0])
        raise DivergedError(
            f"the synthetic images became NaN or infinite at step {step} (class {int(self.labels[row])}); those of "
            "the last checkpoint are kept. Lower `method.lr_img` or the regulariser weights, or use `precision`: 'fp32'"
        )

    def state(self) -> dict[str, Tensor]:
        """Tensors that a checkpoint keeps."""
        return {"images": self.images.detach(), "velocity": self.velocity}

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a checkpoint's tensors."""
        self.images.copy_(state["images"])
        self.velocity.copy_(state["velocity"])


def real_rows(train: ImageSet, ipc: int, generator: torch.Generator) -> Tensor:
    """Rows of ``ipc`` training images of each class, drawn uniformly without replacement.

    Args:
        train: real images; every class must have at least ``ipc``.
        ipc: images per class.
        generator: source of the draw, on the CPU.

    Returns:
        (C * ipc,) int64, class-major.
    """
    chosen = []
    for label in range(len(train.classes)):
        rows = (train.labels.cpu() == label).nonzero().flatten()
        chosen.append(rows[torch.randperm(len(rows), generator=generator)[:ipc]])
    return torch.cat(chosen)
