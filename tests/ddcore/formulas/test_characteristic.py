"""Characteristic functions against a figure worked out beforehand and against complex numbers, term by term."""

from __future__ import annotations

import cmath
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ddcore.formulas.characteristic import characteristic, characteristic_distance


def s(count: int, delta: float = 0.0) -> Tensor:
    return torch.sin(1 + delta + torch.arange(count, dtype=torch.float64))


REAL, SYNTHETIC = F.normalize(s(12).view(4, 3)), F.normalize(s(6, 4).view(2, 3))
FREQUENCIES = s(15, 2).view(5, 3)


def distance(real: Tensor, synthetic: Tensor, frequencies: Tensor, amplitude: float = 0.5) -> Tensor:
    functions = [characteristic(features, frequencies) for features in (real, synthetic)]
    return characteristic_distance(functions[0], functions[1], amplitude)


def slowly(real: Tensor, synthetic: Tensor, frequencies: Tensor, amplitude: float) -> float:
    """The printed formula, one frequency and one image at a time."""
    total = 0.0
    for t in frequencies.tolist():
        means = []
        for sample in (real.tolist(), synthetic.tolist()):
            angles = [sum(a * b for a, b in zip(t, x, strict=True)) for x in sample]
            means.append(sum(cmath.exp(1j * angle) for angle in angles) / len(sample))
        r, q = means
        amplitudes = (abs(r) - abs(q)) ** 2
        phases = 2 * abs(r) * abs(q) * (1 - math.cos(cmath.phase(r) - cmath.phase(q)))
        total += math.sqrt(amplitude * amplitudes + (1 - amplitude) * phases)
    return total / len(frequencies)


def test_printed_distance() -> None:
    """Worked out beforehand in float64, by the published formula."""
    assert distance(REAL, SYNTHETIC, FREQUENCIES).item() == pytest.approx(0.17305059937044803, rel=1e-12)


@pytest.mark.parametrize("amplitude", [0.0, 0.3, 0.5, 0.9])
def test_amplitudes_and_phases_are_weighted_as_printed(amplitude: float) -> None:
    expected = slowly(REAL, SYNTHETIC, FREQUENCIES, amplitude)
    assert distance(REAL, SYNTHETIC, FREQUENCIES, amplitude).item() == pytest.approx(expected, rel=1e-12)


def test_at_equal_weights_it_is_the_distance_in_the_complex_plane() -> None:
    real, synthetic = (torch.exp(1j * (x @ FREQUENCIES.T)).mean(0) for x in (REAL, SYNTHETIC))
    expected = ((real - synthetic).abs() / math.sqrt(2)).mean()
    torch.testing.assert_close(distance(REAL, SYNTHETIC, FREQUENCIES), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("amplitude", [0.3, 0.5])
def test_the_slopes_are_those_of_finite_differences(amplitude: float) -> None:
    """In the features of the synthetic side, and in the frequencies, which a network learns."""
    inputs = [SYNTHETIC.clone().requires_grad_(), FREQUENCIES.clone().requires_grad_()]
    slopes = torch.autograd.grad(distance(REAL, inputs[0], inputs[1], amplitude), inputs)
    width = 1e-6
    for which, slope in enumerate(slopes):
        for place in range(slope.numel()):
            values = []
            for sign in (1, -1):
                moved = [tensor.detach().clone() for tensor in inputs]
                moved[which].view(-1)[place] += sign * width
                values.append(slowly(REAL, moved[0], moved[1], amplitude))
            assert slope.view(-1)[place].item() == pytest.approx((values[0] - values[1]) / (2 * width), abs=1e-8)


def test_equal_samples_are_no_distance_apart_and_have_finite_slopes() -> None:
    """Zero but for the least phase, whose root is what is left."""
    own = REAL.clone().requires_grad_()
    value = distance(REAL, own, FREQUENCIES)
    (slope,) = torch.autograd.grad(value, own)
    assert value.item() == pytest.approx(math.sqrt(0.5e-12), rel=1e-6)
    assert slope.isfinite().all()
