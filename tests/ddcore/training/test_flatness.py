"""Slopes towards flat minima against the formulas, written out weight by weight."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ddcore.machine.compute import Compute
from ddcore.nets import Functional, build
from ddcore.spec import ConvNetConfig
from ddcore.training.flatness import Flatness, flatten_
from ddcore.training.trainer import Recipe, train

START = [0.5, -1.0, 2.0]


def slope_of(weights: list[float]) -> list[float]:
    """Of x^4 + x y + y^2 z + cos(z)."""
    x, y, z = weights
    return [4 * x**3 + y, x + 2 * y * z, y**2 - math.sin(z)]


@pytest.mark.parametrize(("rho", "alpha"), [(0.05, 0.0), (0.05, 0.3), (0.5, 1.0)])
def test_it_is_the_slope_nearby_less_what_disagrees(rho: float, alpha: float) -> None:
    here = slope_of(START)
    length = math.sqrt(sum((abs(w) * g) ** 2 for w, g in zip(START, here, strict=True)))
    nearby = slope_of([w + rho * w**2 * g / length for w, g in zip(START, here, strict=True)])
    inner = sum(p * g for p, g in zip(nearby, here, strict=True))
    square = sum(p**2 for p in nearby)
    expected = [p - alpha * (g - inner / square * p) for p, g in zip(nearby, here, strict=True)]

    # Two tensors, as a network has several.
    weights = [torch.tensor(part, dtype=torch.float64, requires_grad=True) for part in (START[:1], START[1:])]

    def slopes() -> None:
        (x,), (y, z) = weights
        (x**4 + x * y + y**2 * z + z.cos()).backward()

    slopes()
    flatten_(weights, slopes, Flatness(rho, alpha))
    found: list[Tensor] = [weight.grad for weight in weights if weight.grad is not None]
    assert torch.cat(found).tolist() == pytest.approx(expected, rel=1e-9)
    assert torch.cat([weight.detach() for weight in weights]).tolist() == START


def test_networks_are_trained_by_it_and_their_statistics_move_once() -> None:
    config = ConvNetConfig(width=4, depth=1, norm="batch")
    images, labels = torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3
    functional = Functional(build(config, (1, 8, 8), 3), Compute(torch.device("cpu")))
    params = functional.new(torch.Generator().manual_seed(1))
    network = build(config, (1, 8, 8), 3)
    network.load_state_dict(params)
    weights = list(network.parameters())
    F.cross_entropy(network(images), labels).backward()
    statistics = {name: value.clone() for name, value in network.named_buffers()}
    flatten_(weights, lambda: F.cross_entropy(network(images), labels).backward(), Flatness(0.1, 0.3))

    recipe = Recipe(epochs=1, lr=0.1, momentum=0.0, weight_decay=0.0, batch_size=12, flatness=Flatness(0.1, 0.3))
    train(functional, params, images, labels, recipe, torch.Generator().manual_seed(2))
    for name, weight in network.named_parameters():
        assert weight.grad is not None
        torch.testing.assert_close(params[name], weight.detach() - 0.1 * weight.grad, rtol=1e-4, atol=1e-6)
    for name, value in statistics.items():
        torch.testing.assert_close(params[name], value, rtol=1e-5, atol=1e-6)
