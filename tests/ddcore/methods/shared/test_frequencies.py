"""Frequencies, drawn and made by a network, against modules of the framework."""

from __future__ import annotations

import pytest
import torch
from torch import Generator, Tensor, nn

from ddcore.methods.shared.frequencies import GaussianFrequencies, NetworkFrequencies

COUNT, DIMENSION = 6, 5


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def of_network(momentum: float = 0.5) -> NetworkFrequencies:
    return NetworkFrequencies(COUNT, DIMENSION, generator(1), lr=0.1, momentum=momentum)


def module(frequencies: NetworkFrequencies) -> nn.Sequential:
    """The released network, with the weights of ours."""
    layers: list[nn.Module] = []
    for activation in (nn.LeakyReLU(0.2), nn.LeakyReLU(0.2), nn.Tanh()):
        layers += [nn.Linear(DIMENSION, DIMENSION), nn.BatchNorm1d(DIMENSION), activation]
    network = nn.Sequential(*layers)
    for theirs, ours in zip(network.parameters(), frequencies.weights, strict=True):
        theirs.data.copy_(ours.detach())
    return network


def test_gaussian_entries_are_standard_normal_and_anew_each_time() -> None:
    frequencies, source = GaussianFrequencies(4000, 8), generator()
    first, second = frequencies.draw(source), frequencies.draw(source)
    assert first.shape == (4000, 8)
    assert first.mean().abs() < 0.02
    assert (first.std() - 1).abs() < 0.02
    assert not torch.equal(first, second)
    assert not frequencies.weights


def test_weights_begin_as_the_framework_draws_them() -> None:
    frequencies = NetworkFrequencies(COUNT, 64, generator(1), lr=0.1, momentum=0.5)
    weight, bias, scale, shift = frequencies.weights[:4]
    for drawn in (weight, bias):
        assert 0.8 / 8 < drawn.abs().max() <= 1 / 8
    assert (scale.min().item(), scale.max().item(), shift.abs().max().item()) == (1, 1, 0)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_the_network_makes_and_climbs_as_the_modules_do(momentum: float) -> None:
    """Three steps upwards of a loss in what it makes, on the same noise."""
    frequencies, ours, noise = of_network(momentum), generator(), generator()
    network = module(frequencies)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=momentum, maximize=True)
    target = torch.randn(COUNT, DIMENSION, generator=generator(2))
    for _ in range(3):
        drawn = frequencies.draw(ours)
        expected = network(torch.randn(COUNT, DIMENSION, generator=noise))
        torch.testing.assert_close(drawn, expected, rtol=1e-4, atol=1e-5)
        frequencies.ascend(torch.autograd.grad((drawn * target).sum(), list(frequencies.weights)))
        optimizer.zero_grad()
        (expected * target).sum().backward()
        optimizer.step()
    assert made_of(frequencies, target) > made_of(of_network(), target), "climbing makes the loss larger"


def made_of(frequencies: NetworkFrequencies, target: Tensor) -> float:
    """The loss of what a network makes of the same noise."""
    network = module(frequencies)
    noise = torch.randn(COUNT, DIMENSION, generator=generator(9))
    return float((network(noise) * target).sum().detach())


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_a_restored_network_goes_on_alike(momentum: float) -> None:
    whole, rest = of_network(momentum), of_network(momentum)
    target = torch.randn(COUNT, DIMENSION, generator=generator(2))

    def climb(frequencies: NetworkFrequencies, seed: int) -> None:
        drawn = frequencies.draw(generator(seed))
        frequencies.ascend(torch.autograd.grad((drawn * target).sum(), list(frequencies.weights)))

    climb(whole, 0)
    rest.load_state({name: tensor.clone() for name, tensor in whole.state().items()})
    for frequencies in (whole, rest):
        climb(frequencies, 1)
    assert torch.equal(whole.draw(generator(2)), rest.draw(generator(2)))
