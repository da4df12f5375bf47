"""Distances from a teacher's outputs, against their sums written out in float64."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from ddcore.formulas.label_losses import kl, mse_logits


def logits(b: float) -> Tensor:
    """(5, 3) float64, sin(k + b)."""
    return 3 * torch.sin(torch.arange(15, dtype=torch.float64) + b).view(5, 3)


def softened(row: Sequence[float], temperature: float) -> list[float]:
    powers = [math.exp(value / temperature) for value in row]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize("temperature", [1.0, 20.0])
def test_the_divergence_is_the_mean_over_images_of_its_sum_over_classes(temperature: float) -> None:
    student, teacher = logits(0.0), logits(1.0)
    expected = 0.0
    for of_student, of_teacher in zip(student.tolist(), teacher.tolist(), strict=True):
        p, q = softened(of_teacher, temperature), softened(of_student, temperature)
        expected += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / 5
    assert kl(student, teacher, temperature).item() == pytest.approx(expected, rel=1e-12)


def test_its_slope_is_that_without_the_factor_of_the_squared_temperature() -> None:
    """(q - p) / (N T), by hand."""
    student, teacher, temperature = logits(0.0).requires_grad_(), logits(1.0), 4.0
    (slope,) = torch.autograd.grad(kl(student, teacher, temperature), student)
    p, q = (torch.softmax(x / temperature, dim=1) for x in (teacher, student.detach()))
    torch.testing.assert_close(slope, (q - p) / (5 * temperature), rtol=1e-12, atol=1e-15)


def test_logits_are_compared_by_the_mean_over_images_and_classes() -> None:
    student, teacher = logits(0.0), logits(1.0)
    pairs = zip(student.flatten().tolist(), teacher.flatten().tolist(), strict=True)
    expected = sum((a - b) ** 2 for a, b in pairs) / 15
    assert mse_logits(student, teacher).item() == pytest.approx(expected, rel=1e-12)
