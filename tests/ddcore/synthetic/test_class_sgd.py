"""The closed form of class steps equals the optimiser called once for every class."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NotRequired, TypedDict

import pytest
import torch
from torch import Tensor

from ddcore.synthetic.class_sgd import Bounds, coast_, coast_before_, step_and_coast_

Gradient = Callable[[Tensor, int, int], Tensor]
"""Of the images of class c in a sweep."""


class Sweeps(TypedDict):
    """What both sides of a comparison are told."""

    classes: int
    lr: float
    momentum: float
    sweeps: int
    bounds: NotRequired[Bounds]


def sequential(
    x: Tensor,
    gradient: Gradient,
    *,
    classes: int,
    lr: float,
    momentum: float,
    sweeps: int,
    bounds: Bounds | None = None,
) -> Tensor:
    """The published loop: an optimiser on the whole tensor, called after the loss of each class."""
    images = x.clone().requires_grad_()
    optimizer = torch.optim.SGD([images], lr=lr, momentum=momentum)
    per_class = len(x) // classes
    for sweep in range(sweeps):
        for c in range(classes):
            rows = slice(c * per_class, (c + 1) * per_class)
            images.grad = torch.zeros_like(images)
            images.grad[rows] = gradient(images.detach()[rows], c, sweep)
            optimizer.step()
            if bounds is not None:
                images.data.clamp_(*bounds)
    return images.detach()


def in_sweeps(
    x: Tensor,
    gradient: Gradient,
    *,
    classes: int,
    lr: float | Tensor,
    momentum: float,
    sweeps: int,
    bounds: Bounds | None = None,
) -> Tensor:
    images, velocity = x.clone(), torch.zeros_like(x)
    coast = partial(coast_before_, classes=classes, lr=lr, momentum=momentum, bounds=bounds)
    step_and_coast = partial(step_and_coast_, classes=classes, lr=lr, momentum=momentum, bounds=bounds)
    for sweep in range(sweeps):
        coast(images, velocity)
        parts = [gradient(part, c, sweep) for c, part in enumerate(images.chunk(classes))]
        step_and_coast(images, velocity, torch.cat(parts))
    return images


def pull(part: Tensor, c: int, sweep: int) -> Tensor:
    return (1 + 0.3 * c) * torch.sin(2 * part + sweep) + 0.1 * part**3


def push(part: Tensor, c: int, sweep: int) -> Tensor:
    """Drives some pixels over the bounds 0 and 1, and some back again."""
    return torch.sin(9 * part + c + 2 * sweep)


def test_the_printed_example_of_class_steps_against_a_joint_step() -> None:
    x = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    got = in_sweeps(x, lambda part, c, sweep: part, classes=3, lr=0.1, momentum=0.5, sweeps=2)
    torch.testing.assert_close(got, torch.tensor([0.65875, 1.365, 2.19], dtype=torch.float64), rtol=1e-12, atol=0)
    joint = in_sweeps(x, lambda part, c, sweep: part, classes=1, lr=0.1, momentum=0.5, sweeps=2)
    torch.testing.assert_close(joint, torch.tensor([0.76, 1.52, 2.28], dtype=torch.float64), rtol=1e-12, atol=0)


def test_the_printed_example_of_idc() -> None:
    def gradient(part: Tensor, c: int, sweep: int) -> Tensor:
        return torch.full_like(part, math.sin(1 + 10 * sweep + c))

    x = torch.zeros(10, dtype=torch.float64)
    got = in_sweeps(x, gradient, classes=10, lr=1.0, momentum=0.5, sweeps=4)
    expected = torch.tensor([-0.548985, -1.828446, -1.422151], dtype=torch.float64)
    torch.testing.assert_close(got[:3], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("classes", [1, 2, 3, 10])
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9, 1.0])
def test_sweeps_equal_the_loop_over_classes(classes: int, momentum: float) -> None:
    x = torch.randn(classes * 2, 3, 4, generator=torch.Generator().manual_seed(classes), dtype=torch.float64)
    how: Sweeps = {"classes": classes, "lr": 0.07, "momentum": momentum, "sweeps": 5}
    torch.testing.assert_close(in_sweeps(x, pull, **how), sequential(x, pull, **how), rtol=1e-12, atol=1e-13)
    how["sweeps"] = 2
    single = in_sweeps(x.float(), pull, **how)
    torch.testing.assert_close(single, sequential(x.float(), pull, **how), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("momentum", [0.5, 0.9])
def test_clamping_after_every_step_equals_the_clamped_loop(momentum: float) -> None:
    x = torch.rand(8, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    how: Sweeps = {"classes": 4, "lr": 0.3, "momentum": momentum, "sweeps": 6, "bounds": (0.0, 1.0)}
    expected = sequential(x, push, **how)
    assert ((expected == 0) | (expected == 1)).any()
    assert ((expected > 0) & (expected < 1)).any()
    torch.testing.assert_close(in_sweeps(x, push, **how), expected, rtol=1e-12, atol=1e-13)


def test_clamping_between_sweeps_falls_between_the_two_coasts() -> None:
    """IDC clamps once an outer iteration, while every class but the last still coasts from its own step."""
    x = torch.rand(6, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    coast = partial(coast_before_, classes=3, lr=0.4, momentum=0.9)
    step_and_coast = partial(step_and_coast_, classes=3, lr=0.4, momentum=0.9)
    images, velocity = x.clone(), torch.zeros_like(x)
    reference = x.clone().requires_grad_()
    optimizer = torch.optim.SGD([reference], lr=0.4, momentum=0.9)
    clamped = 0
    for sweep in range(6):
        if sweep % 2 == 0:
            images.clamp_(0, 1)
            clamped += int(((reference.data < 0) | (reference.data > 1)).sum())
            reference.data.clamp_(0, 1)
        coast(images, velocity)
        gradient = torch.cat([pull(part, c, sweep) for c, part in enumerate(images.chunk(3))])
        step_and_coast(images, velocity, gradient)
        for c in range(3):
            rows = slice(2 * c, 2 * c + 2)
            reference.grad = torch.zeros_like(reference)
            reference.grad[rows] = pull(reference.data[rows], c, sweep)
            optimizer.step()
    assert clamped
    torch.testing.assert_close(images, reference.data, rtol=1e-12, atol=1e-13)


def test_every_class_may_have_its_own_learning_rate() -> None:
    x = torch.randn(6, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    rates = torch.tensor([0.05, 0.2, 0.01], dtype=torch.float64)
    got = in_sweeps(x, pull, classes=3, lr=rates, momentum=0.5, sweeps=4)
    for c, rate in enumerate(rates.tolist()):
        expected = sequential(x, pull, classes=3, lr=rate, momentum=0.5, sweeps=4)
        torch.testing.assert_close(got[2 * c : 2 * c + 2], expected[2 * c : 2 * c + 2], rtol=1e-12, atol=1e-13)


def test_every_channel_may_have_its_own_learning_rate() -> None:
    x = torch.randn(6, 2, 3, 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    rates = torch.tensor([0.05, 0.2], dtype=torch.float64)
    got = in_sweeps(x, pull, classes=3, lr=rates.view(1, 2, 1, 1), momentum=0.5, sweeps=4)
    for channel, rate in enumerate(rates.tolist()):
        expected = sequential(x, pull, classes=3, lr=rate, momentum=0.5, sweeps=4)
        torch.testing.assert_close(got[:, channel], expected[:, channel], rtol=1e-12, atol=1e-13)


def test_learned_images_are_moved_in_place_and_outside_autograd() -> None:
    images, velocity = torch.ones(4, 1, requires_grad=True), torch.ones(4, 1)
    coast_(images, velocity, torch.tensor([0, 3]), lr=1.0, momentum=0.5)
    assert images.is_leaf
    assert images.detach().flatten().tolist() == [1, 1, 0.125, 0.125]
    assert velocity.flatten().tolist() == [1, 1, 0.125, 0.125]


@pytest.mark.parametrize(
    ("shape", "lr", "message"),
    [((5, 2), 0.1, "not 2 whole classes"), ((4, 3), 0.1, "not 2 whole"), ((4, 2), torch.ones(3), "3 learning rates")],
)
def test_what_does_not_fit_is_refused(shape: tuple[int, ...], lr: float | Tensor, message: str) -> None:
    velocity = torch.zeros(5, 2) if shape == (5, 2) else torch.zeros(4, 2)
    with pytest.raises(ValueError, match=message):
        coast_before_(torch.zeros(shape), velocity, classes=2, lr=lr, momentum=0.5)
