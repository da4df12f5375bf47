"""Learned tensors, against the framework's own SGD."""

from __future__ import annotations

import pytest
import torch

from ddcore.synthetic.parameter import Learned, LearnedByClass


def test_class_steps_of_the_momentum_check() -> None:
    """By hand: loss x^2 / 2, x = (1, 2, 3), lr 0.1, momentum 0.5, two sweeps of class steps."""
    learned = LearnedByClass(torch.tensor([1.0, 2.0, 3.0]), classes=3, lr=0.1, momentum=0.5)
    for _ in range(2):
        learned.clear_gradient()
        learned.begin_step()
        (learned.value.square().sum() / 2).backward()
        learned.step()
    assert learned.value.tolist() == pytest.approx([0.65875, 1.365, 2.19], rel=1e-6)


def test_class_steps_equal_a_loop_of_the_frameworks_sgd_over_classes() -> None:
    start = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    learned = LearnedByClass(start, classes=3, lr=0.2, momentum=0.5)
    reference = start.clone().requires_grad_()
    sgd = torch.optim.SGD([reference], lr=0.2, momentum=0.5)
    for sweep in range(4):
        learned.clear_gradient()
        learned.begin_step()
        (learned.value.sin().sum() * (sweep + 1)).backward()
        learned.step()
        for label in range(3):
            sgd.zero_grad(set_to_none=False)
            (reference[2 * label : 2 * label + 2].sin().sum() * (sweep + 1)).backward()
            sgd.step()
    torch.testing.assert_close(learned.value, reference, rtol=1e-5, atol=1e-6)


def test_a_rate_for_each_channel_is_a_learning_rate_of_its_own() -> None:
    start, rates = torch.randn(3, 2, 1, 1, generator=torch.Generator().manual_seed(1)), (0.2, 0.7)
    learned = Learned(start, lr=torch.tensor(rates).view(1, 2, 1, 1), momentum=0.5)
    channels = [Learned(start[:, c], lr=rate, momentum=0.5) for c, rate in enumerate(rates)]
    for part in (learned, *channels):
        for _ in range(3):
            part.clear_gradient()
            part.value.sin().sum().backward()
            part.step()
    expected = torch.stack([part.value for part in channels], dim=1)
    torch.testing.assert_close(learned.value, expected, rtol=1e-6, atol=1e-7)


def test_state_goes_on_where_it_was_saved() -> None:
    def steps(learned: Learned, count: int) -> None:
        for _ in range(count):
            learned.clear_gradient()
            learned.value.square().sum().backward()
            learned.step()

    whole, first = (Learned(torch.arange(3.0), lr=0.1, momentum=0.9) for _ in range(2))
    steps(whole, 5)
    steps(first, 2)
    second = Learned(torch.zeros(3), lr=0.1, momentum=0.9)
    second.load_state({name: tensor.clone() for name, tensor in first.state().items()})
    steps(second, 3)
    assert torch.equal(whole.value, second.value)


def test_a_step_beyond_the_limit_is_cut_with_its_momentum() -> None:
    """Against momentum SGD written out: the direction stays, the root mean square is the limit."""
    start, gradients = torch.tensor([3.0, -1.0, 2.0]), [torch.tensor([0.3, 0.0, 0.4]), torch.tensor([30.0, 0.0, 40.0])]
    limited = Learned(start, lr=0.5, momentum=0.5, longest=lambda value: 0.1 * value.abs().max())
    x, v = start.double(), torch.zeros(3, dtype=torch.float64)
    for gradient in (*gradients, gradients[0]):
        limited.clear_gradient()
        limited.gradient.add_(gradient)
        limited.step()
        v = 0.5 * v + gradient.double()
        length, most = (0.5 * v).square().mean().sqrt(), 0.1 * x.abs().max()
        v = v * min(1.0, float(most / length))
        x = x - 0.5 * v
        torch.testing.assert_close(limited.value.detach().double(), x, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(limited.velocity.double(), v, rtol=1e-6, atol=1e-7)


def test_a_step_within_the_limit_is_the_same_to_the_bit() -> None:
    start, gradient = torch.randn(5, generator=torch.Generator().manual_seed(0)), torch.full((5,), 0.1)
    plain, limited = Learned(start, lr=0.3, momentum=0.5), Learned(start, lr=0.3, momentum=0.5, longest=lambda _: 9.0)
    for _ in range(3):
        for one in (plain, limited):
            one.clear_gradient()
            one.gradient.add_(gradient)
            one.step()
    assert torch.equal(plain.value, limited.value)
    still = Learned(start, lr=0.3, momentum=0.5, longest=lambda _: 0.1)
    still.step()
    assert torch.equal(still.value.detach(), start), "no gradient, no step"
