"""AdamW that steps once for each class, over whole sweeps.

NCFM calls its optimiser after the loss of every class. It moves the whole tensor of images each time: the images of the
other classes have a gradient of zero, so their moments decay, they go on moving along them, and their weights decay. In
a sweep over C classes, class c takes c such steps, then its own, and C - 1 - c more. The losses of different classes do
not depend on each other's images, so :func:`coast_`, one batched gradient, :func:`step_` and :func:`coast_` again equal
the sequential loop up to rounding. One step a sweep does not.

A step n with the gradient g is that of Loshchilov & Hutter, "Decoupled Weight Decay Regularization", ICLR 2019
(arXiv 1711.05101), and of :class:`torch.optim.AdamW`:

    x <- x - r w (x - o)
    m <- b m + (1 - b) g,  v <- c v + (1 - c) g^2
    x <- x - r / u (m / (1 - b^n)) / (sqrt(v / (1 - c^n)) + e u)

Rate r, decay w and e are meant for pixel values: u of them are one unit of the images, whose origin o is the value 0.
Without a gradient m and v only shrink, so k such steps need no more than to follow x.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

FIRST, SECOND = 0.9, 0.999
"""b and c, by which the first and the second moment shrink at a step."""
EPSILON = 1e-8


@dataclass(frozen=True)
class AdamW:
    """What a step depends on beside the moments.

    Attributes:
        lr: r, learning rate in pixel values.
        weight_decay: w, 0 or more.
        origin: o, one number or a tensor that broadcasts to the images.
        unit: u, pixel values that are one unit of the images; likewise.
    """

    lr: float
    weight_decay: float
    origin: float | Tensor = 0.0
    unit: float | Tensor = 1.0


@dataclass(frozen=True)
class Moving:
    """Class-major images on their way through a sweep; the tensors change with each step.

    Attributes:
        images: floating point (C * n, ...).
        mean: m of each pixel, zeros before the first step.
        square: v of each pixel, likewise.
        taken: (C,) int64 on the CPU, steps that each class has taken.
    """

    images: Tensor
    mean: Tensor
    square: Tensor
    taken: Tensor

    def __post_init__(self) -> None:
        whole = len(self.images) % len(self.taken) == 0
        if not whole or not self.images.shape == self.mean.shape == self.square.shape:
            raise ValueError(
                f"images {tuple(self.images.shape)} with moments {tuple(self.mean.shape)} and "
                f"{tuple(self.square.shape)} are not {len(self.taken)} whole classes"
            )

    @property
    def by_class(self) -> tuple[Tensor, Tensor, Tensor]:
        """Images and moments as views (C, n, ...)."""
        images, mean, square = (
            tensor.unflatten(0, (len(self.taken), -1)) for tensor in (self.images, self.mean, self.square)
        )
        return images, mean, square


@torch.no_grad()
def step_(moving: Moving, gradient: Tensor, rule: AdamW) -> None:
    """Take one step of every class, in place.

    Args:
        moving: the images.
        gradient: of each class's loss in its own images, same shape.
        rule: of the step.
    """
    images, mean, square = moving.by_class
    moving.taken.add_(1)
    moving.mean.mul_(FIRST).add_(gradient, alpha=1 - FIRST)
    moving.square.mul_(SECOND).addcmul_(gradient, gradient, value=1 - SECOND)
    number = moving.taken.double()
    first, second = _each(1 - FIRST**number, images), _each((1 - SECOND**number).sqrt(), images)
    _decay_(images, rule)
    images.sub_(rule.lr / rule.unit * (mean / first) / (square.sqrt() / second + EPSILON * rule.unit))


@torch.no_grad()
def coast_(moving: Moving, steps: Tensor, rule: AdamW) -> None:
    """Take steps without a gradient, in place.

    Args:
        moving: the images.
        steps: (C,) int64 on the CPU, k of each class, 0 or more; falling or rising from class to class.
        rule: of the steps.
    """
    images, mean, square = moving.by_class
    descent, root = mean * (rule.lr / rule.unit), square.sqrt()
    k = torch.arange(1, int(steps.max()) + 1, dtype=torch.float64).unsqueeze(1)
    number = moving.taken + k
    first = _each(FIRST**k / (1 - FIRST**number), images)
    second = _each((SECOND**k / (1 - SECOND**number)).sqrt(), images)
    for place in range(len(k)):
        goes = (steps > place).nonzero().flatten().tolist()
        classes = slice(goes[0], goes[-1] + 1)
        _decay_(images[classes], rule)
        width = root[classes] * second[place, classes] + EPSILON * rule.unit
        images[classes].sub_(descent[classes] * first[place, classes] / width)
    mean.mul_(_each(FIRST ** steps.double(), images))
    square.mul_(_each(SECOND ** steps.double(), images))
    moving.taken.add_(steps)


def _decay_(images: Tensor, rule: AdamW) -> None:
    if rule.weight_decay:
        images.sub_((images - rule.origin) * (rule.lr * rule.weight_decay))


def _each(values: Tensor, images: Tensor) -> Tensor:
    """Values (..., C) shaped to multiply images (C, n, ...)."""
    return values.to(images.device, images.dtype)[(..., *[None] * (images.ndim - 1))]
