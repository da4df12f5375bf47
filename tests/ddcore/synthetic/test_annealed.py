"""Adam in rounds, at a falling rate, within bounds: against the framework's, and printed rates."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ddcore.synthetic.annealed import Annealed, Rounds

LOWEST, HIGHEST = torch.tensor([-1.0, -0.5]).view(2, 1, 1), torch.tensor([1.0, 0.5]).view(2, 1, 1)


def start() -> Tensor:
    return torch.sin(torch.arange(16.0)).view(2, 2, 2, 2) / 2


def slope(step: int, value: Tensor) -> Tensor:
    return torch.cos(value * 3 + step)


def annealed(rounds: Rounds, lr: float = 0.25) -> Annealed:
    return Annealed(start(), lr=lr, rounds=rounds, lowest=LOWEST, highest=HIGHEST)


def follow(learned: Annealed, steps: range) -> None:
    for step in steps:
        learned.gradient.copy_(slope(step, learned.value.detach()))
        learned.step()


@pytest.mark.parametrize(("done", "rate"), [(0, 0.25), (500, 0.21338834764831843), (1000, 0.125), (1999, 1.5421e-7)])
def test_the_printed_rates(done: int, rate: float) -> None:
    learned = annealed(Rounds(2000, 4))
    learned.done.fill_(done)
    assert learned.rate == pytest.approx(rate, rel=1e-4)


@pytest.mark.parametrize("rounds", [Rounds(8), Rounds(8, 4, 0.5), Rounds(7, 3, 0.25)], ids=str)
def test_steps_are_those_of_one_adam_a_round_that_is_clamped_and_mixed(rounds: Rounds) -> None:
    learned = annealed(rounds)
    follow(learned, range(rounds.steps))

    value, done = start(), 0
    ends = [rounds.steps * number // rounds.count for number in range(1, rounds.count + 1)]
    for end in ends:
        value = value.clone().requires_grad_()
        optimizer = torch.optim.Adam([value], 0.25, betas=(0.5, 0.9), eps=1e-8)
        while done < end:
            optimizer.param_groups[0]["lr"] = 0.25 * 0.5 * (1 + math.cos(math.pi * done / rounds.steps))
            value.grad = slope(done, value.detach())
            optimizer.step()
            with torch.no_grad():
                value.copy_(torch.minimum(torch.maximum(value, LOWEST), HIGHEST))
            done += 1
        value = value.detach()
        if end != rounds.steps:
            value = (1 - rounds.residual) * value + rounds.residual * start()
    torch.testing.assert_close(learned.value.detach(), value, rtol=1e-6, atol=1e-6)


def test_the_printed_mixture() -> None:
    """Half of an image of 2 x 2, and half of one of 4 x 4 at that size."""
    image = torch.sin(torch.arange(1, 5, dtype=torch.float64)).view(1, 1, 2, 2)
    patch = torch.sin(1 + torch.arange(1, 17, dtype=torch.float64)).view(1, 1, 4, 4)
    small = torch.nn.functional.interpolate(patch, (2, 2), mode="bilinear", align_corners=False)
    mixed = image.lerp(small, 0.5).flatten().tolist()
    assert mixed == pytest.approx([0.5992340593, 0.4153674586, 0.0826704888, -0.5491145838], abs=1e-9)


def test_a_run_that_goes_on_takes_the_same_steps() -> None:
    rounds = Rounds(8, 2, 0.5)
    whole, begun, resumed = (annealed(rounds) for _ in range(3))
    follow(whole, range(8))
    follow(begun, range(5))
    resumed.load_state({name: tensor.clone() for name, tensor in begun.state().items()})
    follow(resumed, range(5, 8))
    assert torch.equal(resumed.value, whole.value)


def test_it_can_start_again() -> None:
    learned, fresh = annealed(Rounds(8, 2, 0.5)), annealed(Rounds(8, 2, 0.5))
    follow(learned, range(5))
    learned.restart(start())
    for each in (learned, fresh):
        follow(each, range(8))
    assert torch.equal(learned.value, fresh.value)
