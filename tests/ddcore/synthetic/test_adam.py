"""Tensors learned by Adam, against the framework's own."""

from __future__ import annotations

import torch

from ddcore.synthetic.adam import LearnedByAdam


def start() -> torch.Tensor:
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(1))


def follow(learned: LearnedByAdam, steps: range) -> None:
    for step in steps:
        learned.clear_gradient()
        learned.begin_step()
        (learned.value.sin().sum() * (step + 1)).backward()
        learned.step()


def test_steps_are_those_of_the_framework() -> None:
    learned, reference = LearnedByAdam(start(), lr=0.02), start().requires_grad_()
    adam = torch.optim.Adam([reference], lr=0.02, betas=(0.9, 0.999), eps=1e-8)
    follow(learned, range(5))
    for step in range(5):
        adam.zero_grad()
        (reference.sin().sum() * (step + 1)).backward()
        adam.step()
    torch.testing.assert_close(learned.value, reference, rtol=1e-6, atol=1e-7)


def test_a_checkpoint_goes_on_to_the_same_bytes_and_a_restart_forgets() -> None:
    whole, begun, resumed = (LearnedByAdam(start(), lr=0.02) for _ in range(3))
    follow(whole, range(5))
    follow(begun, range(2))
    resumed.load_state({name: value.clone() for name, value in begun.state().items()})
    follow(resumed, range(2, 5))
    assert torch.equal(resumed.value, whole.value)
    resumed.restart(start())
    fresh = LearnedByAdam(start(), lr=0.02)
    follow(resumed, range(3))
    follow(fresh, range(3))
    assert torch.equal(resumed.value, fresh.value)


def test_values_stay_above_the_lowest() -> None:
    learned = LearnedByAdam(torch.tensor([0.01, 1.0]), lr=0.1, lowest=0.0)
    learned.value.sum().backward()
    learned.step()
    torch.testing.assert_close(learned.value.detach(), torch.tensor([0.0, 0.9]))
