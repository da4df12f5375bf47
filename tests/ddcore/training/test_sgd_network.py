"""A network in training, against the module and the framework's own SGD."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ddcore.machine.compute import Compute
from ddcore.nets import build
from ddcore.nets.functional import Functional
from ddcore.spec import ConvNetConfig
from ddcore.training.sgd_network import Student

SHAPE, CLASSES = (3, 8, 8), 4


def student(norm: str = "instance", seed: int = 0) -> Student:
    config = ConvNetConfig(depth=2, width=8, norm=norm)
    functional = Functional(build(config, SHAPE, CLASSES), Compute(torch.device("cpu"), training_piece=0))
    return Student(functional, Generator().manual_seed(seed), lr=0.1, momentum=0.9, weight_decay=0.01)


def batch(n: int, seed: int, *, soft: bool) -> tuple[Tensor, Tensor]:
    generator = Generator().manual_seed(seed)
    labels = torch.randn(n, CLASSES, generator=generator).softmax(1)
    return torch.randn(n, *SHAPE, generator=generator), labels if soft else labels.argmax(1)


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("soft", [True, False])
def test_steps_are_those_of_the_framework(norm: str, soft: bool) -> None:
    ours = student(norm)
    network = build(ConvNetConfig(depth=2, width=8, norm=norm), SHAPE, CLASSES).train()
    network.load_state_dict({name: value.clone() for name, value in ours.params.items()})
    sgd = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    for seed in range(4):
        images, labels = batch(12, seed, soft=soft)
        ours.learn(images, labels)
        sgd.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        sgd.step()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(ours.params[name], value, rtol=1e-4, atol=1e-5)
        assert not ours.params[name].requires_grad


def test_a_restart_forgets_weights_and_momentum() -> None:
    ours, fresh = student(), student(seed=5)
    tensors = [ours.params[name] for name in ours.params]
    ours.learn(*batch(6, 0, soft=False))
    ours.restart(Generator().manual_seed(5))
    assert all(a is b for a, b in zip(tensors, ours.params.values(), strict=True))
    for part in (ours, fresh):
        part.learn(*batch(6, 1, soft=False))
    assert all(torch.equal(value, fresh.params[name]) for name, value in ours.params.items())


def test_a_saved_student_goes_on_where_it_was() -> None:
    ours, other = student(), student(seed=1)
    ours.learn(*batch(6, 0, soft=False))
    other.load_state({name: tensor.clone() for name, tensor in ours.state().items()})
    for part in (ours, other):
        part.learn(*batch(6, 1, soft=True))
    assert all(torch.equal(tensor, other.state()[name]) for name, tensor in ours.state().items())
