"""Distances of a batch's statistics against a figure worked out beforehand, and number by number."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ddcore.formulas.batch_statistics import distance_of_moments, moments

MAPS = torch.sin(torch.arange(1, 17, dtype=torch.float64)).view(2, 2, 2, 2)
KEPT_MEAN, KEPT_VARIANCE = torch.tensor([0.1, -0.2], dtype=torch.float64), torch.tensor([0.5, 0.7], dtype=torch.float64)


def distance(maps: Tensor) -> Tensor:
    return distance_of_moments(*moments(maps), KEPT_MEAN, KEPT_VARIANCE)


def test_the_printed_distance() -> None:
    assert distance(MAPS).item() == pytest.approx(0.7672482785715367, rel=1e-14)


def test_it_is_that_of_the_biased_variance_and_the_mean_of_each_channel() -> None:
    of_variances, of_means = 0.0, 0.0
    for channel in range(2):
        values = MAPS[:, channel].flatten().tolist()
        mean = sum(values) / 8
        variance = sum((value - mean) ** 2 for value in values) / 8
        of_means += (mean - KEPT_MEAN[channel].item()) ** 2
        of_variances += (variance - KEPT_VARIANCE[channel].item()) ** 2
    assert distance(MAPS).item() == pytest.approx(math.sqrt(of_variances) + math.sqrt(of_means), rel=1e-13)


def test_its_slope_is_that_of_finite_differences() -> None:
    assert torch.autograd.gradcheck(distance, MAPS.clone().requires_grad_())
