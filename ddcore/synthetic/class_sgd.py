"""Momentum SGD that steps once for each class, in closed form.

IDM, BACON, IID and IDC call their optimiser after the loss of every class. It moves the whole tensor of
images each time, so that a class goes on coasting on its velocity while the others have their turn: in a
sweep over C classes, class c coasts c steps, takes its own step, and coasts C - 1 - c more. The losses of
different classes do not depend on each other's images, so :func:`coast_before_`, one batched gradient and
:func:`step_and_coast_` equal the sequential loop up to rounding. A step without a gradient is v <- m v, then
x <- x - lr v; k of them make v <- m^k v, and x <- x - lr v (m + ... + m^k) with the v that they began with.

At a momentum of 0.5 and 10 classes the velocity has all but vanished at the next sweep: this is plain SGD at
twice the learning rate, where one joint step a sweep would carry momentum over.
"""

from __future__ import annotations

import torch
from torch import Tensor

Rate = float | Tensor
"""A learning rate: one number, a (C,) tensor with one for each class, or a tensor with the images' dimensions."""

Bounds = tuple[float, float]
"""Lowest and highest value of a pixel."""


def coast_before_(
    images: Tensor, velocity: Tensor, *, classes: int, lr: Rate, momentum: float, bounds: Bounds | None = None
) -> None:
    """Move each class, in place, to where its turn in a sweep finds it: class c coasts c steps.

    Args:
        images: (C * n, ...) floating point, class-major.
        velocity: momentum buffer of the same shape; zeros before the first sweep.
        classes: C, at least 1.
        lr: learning rate, one for all, (C,), or one that broadcasts to the images ((1, channels, 1, 1)).
        momentum: of SGD, 0 to 1.
        bounds: clamp the images after every step; they must lie within the bounds already. Images that are
            clamped between sweeps only (IDC, once an outer iteration) need no bounds here: clamp them there.

    Raises:
        ValueError: the images are not whole classes, or do not fit the velocity or the rates.
    """
    coast_(images, velocity, torch.arange(classes), lr=lr, momentum=momentum, bounds=bounds)


@torch.no_grad()
def step_and_coast_(
    images: Tensor,
    velocity: Tensor,
    gradient: Tensor,
    *,
    classes: int,
    lr: Rate,
    momentum: float,
    bounds: Bounds | None = None,
) -> None:
    """Take each class's own step, in place, and coast it to the end of the sweep: C - 1 - c steps.

    Args:
        images: as :func:`coast_before_` left them.
        velocity: likewise.
        gradient: of each class's loss in its own images, taken at these images; same shape.
        classes: as in :func:`coast_before_`, like all that follow.
        lr: learning rate.
        momentum: of SGD.
        bounds: of the images.

    Raises:
        ValueError: as :func:`coast_before_`.
    """
    velocity.mul_(momentum).add_(gradient)
    images.sub_(velocity * _per_row(lr, images, classes))
    if bounds is not None:
        images.clamp_(*bounds)
    coast_(images, velocity, torch.arange(classes - 1, -1, -1), lr=lr, momentum=momentum, bounds=bounds)


@torch.no_grad()
def coast_(
    images: Tensor, velocity: Tensor, steps: Tensor, *, lr: Rate, momentum: float, bounds: Bounds | None = None
) -> None:
    """Take steps without a gradient, in place: x <- x - lr v (m + ... + m^k), v <- m^k v.

    A coasting pixel never turns round, so clamping it once at the end equals clamping it after every step.

    >>> images, velocity = torch.zeros(2, 1), torch.ones(2, 1)
    >>> coast_(images, velocity, torch.tensor([1, 2]), lr=1.0, momentum=0.5)
    >>> images.flatten().tolist(), velocity.flatten().tolist()
    ([-0.5, -0.75], [0.5, 0.25])

    Args:
        images: (C * n, ...) floating point, class-major.
        velocity: same shape.
        steps: (C,) int64, k of each class, 0 or more.
        lr: learning rate, as in :func:`coast_before_`.
        momentum: m, 0 to 1.
        bounds: clamp the images, which lie within the bounds already.

    Raises:
        ValueError: the images are not whole classes, or do not fit the velocity or the rates.
    """
    classes = len(steps)
    if len(images) % classes or images.shape != velocity.shape:
        raise ValueError(
            f"images {tuple(images.shape)} and velocity {tuple(velocity.shape)} are not {classes} whole classes"
        )
    decay = torch.tensor(momentum, dtype=torch.float64) ** steps
    travel = torch.tensor([sum(momentum**i for i in range(1, k + 1)) for k in steps.tolist()], dtype=torch.float64)
    images.sub_(velocity * (_per_row(travel, images, classes) * _per_row(lr, images, classes)))
    velocity.mul_(_per_row(decay, images, classes))
    if bounds is not None:
        images.clamp_(*bounds)


def _per_row(values: Rate, images: Tensor, classes: int) -> Tensor:
    """One value, or one for each class, shaped to multiply class-major images; what has their shape stays as it is."""
    values = torch.as_tensor(values, dtype=images.dtype, device=images.device)
    if values.ndim > 1:
        return values
    if values.ndim:
        if len(values) != classes:
            raise ValueError(f"{len(values)} learning rates for {classes} classes")
        values = values.repeat_interleave(len(images) // classes)
    return values.view(-1, *[1] * (images.ndim - 1))
