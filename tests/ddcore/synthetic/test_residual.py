"""What is added to images is moved by AdamW, and decays towards nothing."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ddcore.synthetic.residual import Residual

Fill = Callable[..., Tensor]


def residual(fill: Fill) -> tuple[Residual, Tensor]:
    unit = torch.tensor([2.0, 5.0]).view(1, 2, 1, 1)
    return Residual(fill(3, 2, 2, 2), lr=0.01, weight_decay=0.3, unit=unit), unit


def test_steps_are_those_of_torch_on_what_is_added_in_its_own_units(fill: Fill) -> None:
    learned, unit = residual(fill)
    start = fill(3, 2, 2, 2)
    added = torch.zeros_like(start, requires_grad=True)
    theirs = torch.optim.AdamW([added], lr=0.01, weight_decay=0.3)
    for step in range(6):
        target = fill(3, 2, 2, 2, a=2.0, b=float(step))
        for value, optimizer in ((learned.value, None), (start + added * unit, theirs)):
            ((value - target) ** 2).sum().backward()
            if optimizer is None:
                learned.step()
                learned.clear_gradient()
            else:
                optimizer.step()
                optimizer.zero_grad()
    torch.testing.assert_close(learned.value.detach(), (start + added * unit).detach(), rtol=1e-6, atol=1e-6)


def test_without_a_slope_it_stays_where_it_began(fill: Fill) -> None:
    learned, _ = residual(fill)
    learned.begin_step()
    learned.step()
    assert torch.equal(learned.value, fill(3, 2, 2, 2))


def test_it_goes_on_from_its_state(fill: Fill) -> None:
    first, _ = residual(fill)
    other, _ = residual(lambda *shape: torch.zeros(shape))

    def step(learned: Residual, number: int) -> None:
        learned.clear_gradient()
        learned.gradient.add_(fill(3, 2, 2, 2, a=1.0 + number))
        learned.step()

    for number in range(3):
        step(first, number)
    other.load_state({name: tensor.clone() for name, tensor in first.state().items()})
    for learned in (first, other):
        step(learned, 3)
    assert all(torch.equal(first.state()[name], tensor) for name, tensor in other.state().items())
    first.restart(fill(3, 2, 2, 2, b=2.0))
    step(first, 0)
    fresh = Residual(fill(3, 2, 2, 2, b=2.0), lr=0.01, weight_decay=0.3, unit=torch.tensor([2.0, 5.0]).view(1, 2, 1, 1))
    step(fresh, 0)
    assert torch.equal(first.value, fresh.value)
