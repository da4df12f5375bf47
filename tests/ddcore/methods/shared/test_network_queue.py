"""The queue of networks in training, against torch's own SGD and modules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ddcore.errors import DivergedError
from ddcore.machine.compute import Compute
from ddcore.methods.shared.network_queue import NetworkQueue
from ddcore.nets import build
from ddcore.nets.functional import Functional
from ddcore.spec import ConvNetConfig

CONFIG = ConvNetConfig(depth=2, width=4)
SHAPE = (3, 8, 8)


def functional(norm: str = "instance") -> Functional:
    config = CONFIG.model_copy(update={"norm": norm})
    return Functional(build(config, SHAPE, 3), Compute(torch.device("cpu")))


def queue(capacity: int = 3, networks: int = 3, *, lr: float = 0.05, norm: str = "instance") -> NetworkQueue:
    made = NetworkQueue(functional(norm), capacity, lr=lr, momentum=0.9, weight_decay=0.01)
    generator = torch.Generator().manual_seed(0)
    for _ in range(networks):
        made.push(generator)
    return made


def batches(fill: Callable[..., Tensor], count: int = 3, size: int = 5) -> list[tuple[Tensor, Tensor]]:
    return [(fill(size, *SHAPE, a=0.37, b=i), torch.arange(size) % 3) for i in range(count)]


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_training_is_that_of_torch_with_a_momentum_for_each_network(fill: Callable[..., Tensor], norm: str) -> None:
    networks = queue(norm=norm)
    modules, optimizers = [], []
    for queued in networks._networks:
        module = build(CONFIG.model_copy(update={"norm": norm}), SHAPE, 3).train()
        module.load_state_dict({name: value.clone() for name, value in queued.params.items()})
        modules.append(module)
        optimizers.append(torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9, weight_decay=0.01))
    for index in (0, 1, 0, 2, 0):
        correct = 0
        before = networks._networks[index].meter.clone()
        for images, labels in batches(fill):
            logits = modules[index](images)
            correct += int((logits.argmax(1) == labels).sum())
            optimizers[index].zero_grad()
            F.cross_entropy(logits, labels).backward()
            optimizers[index].step()
        networks.train(networks._networks[index], batches(fill))
        assert (networks._networks[index].meter - before).tolist() == [correct, 15]
    for queued, module in zip(networks._networks, modules, strict=True):
        for name, value in module.state_dict().items():
            torch.testing.assert_close(queued.params[name], value, rtol=1e-4, atol=1e-6)


def test_accuracy_is_in_percent_since_the_last_reset_and_zero_where_nothing_was_seen(
    fill: Callable[..., Tensor],
) -> None:
    networks = queue()
    queued = networks._networks[1]
    assert queued.accuracy.item() == 0
    queued.meter.copy_(torch.tensor([3, 4]))
    assert queued.accuracy.item() == 75
    networks.train(queued, batches(fill, count=1))
    assert queued.meter[1].item() == 9
    networks.reset_meters()
    assert queued.meter.tolist() == [0, 0]
    assert queued.accuracy.item() == 0


def test_a_full_queue_drops_its_oldest_and_the_newcomer_starts_afresh(fill: Callable[..., Tensor]) -> None:
    networks = queue()
    first, second, third = networks._networks
    networks.train(first, batches(fill))
    old = {name: value.clone() for name, value in first.params.items()}
    networks.push(torch.Generator().manual_seed(9))
    assert len(networks) == 3
    assert networks._networks[0] is second
    assert networks._networks[1] is third
    newest = networks._networks[-1]
    expected = functional().new(torch.Generator().manual_seed(9))
    assert all(torch.equal(newest.params[name], value) for name, value in expected.items())
    assert any(not torch.equal(newest.params[name], value) for name, value in old.items())
    assert all(not value.any() for name, value in newest.state().items() if name.startswith("velocity"))
    assert newest.accuracy.item() == 0


def test_picks_are_different_networks_all_alike_likely() -> None:
    networks = queue()
    generator = torch.Generator().manual_seed(0)
    numbers = {id(queued): index for index, queued in enumerate(networks._networks)}
    pairs = [tuple(numbers[id(q)] for q in networks.pick(2, generator)) for _ in range(1200)]
    counts = Counter(pairs)
    assert all(a != b for a, b in pairs)
    assert len(counts) == 6
    assert all(abs(count - 200) < 60 for count in counts.values())  # 4.6 standard deviations
    assert len(networks.pick(7, generator)) == 3


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_a_saved_queue_goes_on_alike(fill: Callable[..., Tensor], norm: str) -> None:
    networks, other = queue(norm=norm), queue(networks=1, norm=norm)
    networks.train(networks._networks[1], batches(fill))
    saved = {name: value.clone() for name, value in networks.state().items()}
    assert saved["params/classifier.weight"].shape == (3, 3, 16)
    other.load_state(saved)
    for each in (networks, other):
        each.train(each._networks[1], batches(fill))
        each.push(torch.Generator().manual_seed(3))
    ours, theirs = networks.state(), other.state()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_what_is_saved_does_not_change_with_the_queue(fill: Callable[..., Tensor]) -> None:
    networks = queue()
    saved = networks.state()
    kept = saved["params/classifier.weight"].clone()
    networks.train(networks._networks[0], batches(fill))
    assert torch.equal(saved["params/classifier.weight"], kept)


def test_a_diverging_network_is_reported_with_its_learning_rate(fill: Callable[..., Tensor]) -> None:
    networks = queue(lr=1e30)
    with pytest.raises(DivergedError, match=r"method\.lr_net"):
        networks.train(networks._networks[0], batches(fill, count=4))
