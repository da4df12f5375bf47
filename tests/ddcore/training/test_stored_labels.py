"""Labels of the batches of epochs: made once, and learned by every network from the same batches."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ddcore.augment.cutmix import cutmix
from ddcore.augment.training import siamese
from ddcore.errors import ConfigurationError
from ddcore.machine.compute import Compute
from ddcore.nets import build
from ddcore.nets.functional import Functional
from ddcore.runtime.randomness import stream_seed
from ddcore.spec import ConvNetConfig
from ddcore.training.stored_labels import StoredLabels, record
from ddcore.training.trainer import Recipe, train

CONFIG = ConvNetConfig(width=4, depth=2, norm="none")
RECIPE = Recipe(5, lr=0.05, batch_size=4, strategy=("crop", "flip"), cutmix=0.7, temperature=2.0)
IMAGES = torch.randn(10, 3, 8, 8, generator=Generator().manual_seed(0))
LABELS = torch.arange(10) % 3


def functional() -> Functional:
    return Functional(build(CONFIG, (3, 8, 8), 3), Compute(torch.device("cpu")))


def teacher() -> Callable[[Tensor], Tensor]:
    f = functional()
    params = f.new(Generator().manual_seed(9))
    return lambda batch: f.logits(params, batch).detach()


def recorded(epochs: int = 2) -> StoredLabels:
    return record(IMAGES, LABELS, RECIPE, teacher(), classes=3, epochs=epochs, seed=5)


def batches_by_hand(epoch: int) -> list[Tensor]:
    """The batches of an epoch, counted from 0, as their description has it."""
    generator, found = Generator().manual_seed(stream_seed(5, f"labels/{epoch}")), []
    for rows in torch.randperm(10, generator=generator).split(4):
        batch = siamese(IMAGES[rows], ("crop", "flip"), generator)
        found.append(cutmix(batch, LABELS[rows], 3, generator, probability=0.7)[0])
    return found


def test_labels_are_what_the_teacher_says_of_each_batch_in_half_precision() -> None:
    found, say = recorded(), teacher()
    assert found.logits.shape == (2, 10, 3)
    assert found.logits.dtype == torch.float16
    for epoch in range(2):
        expected = torch.cat([say(batch) for batch in batches_by_hand(epoch)])
        assert torch.equal(found.logits[epoch], expected.half())
    assert not torch.equal(found.logits[0], found.logits[1])


def test_every_network_learns_these_labels_of_these_batches_and_then_the_first_again() -> None:
    """Five epochs on the labels of two, against a plain loop."""
    f, stored = functional(), recorded()
    params = f.new(Generator().manual_seed(1))
    net = build(CONFIG, (3, 8, 8), 3)
    net.load_state_dict({name: value.clone() for name, value in params.items()})
    before = torch.get_rng_state()
    train(f, params, IMAGES, LABELS, RECIPE, Generator().manual_seed(1), replay=stored)
    assert torch.equal(torch.get_rng_state(), before)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    for epoch in range(5):
        taken = 0
        for batch in batches_by_hand(epoch % 2):
            said = stored.logits[epoch % 2, taken : taken + len(batch)].float()
            p, q = (said / 2).log_softmax(dim=1), (net(batch) / 2).log_softmax(dim=1)
            optimizer.zero_grad()
            F.kl_div(q, p, reduction="batchmean", log_target=True).backward()
            optimizer.step()
            taken += len(batch)
    for name, value in net.state_dict().items():
        torch.testing.assert_close(params[name], value, rtol=1e-4, atol=1e-5)


def test_two_networks_differ_in_their_start_alone() -> None:
    stored, found = recorded(), []
    for seed in (1, 2):
        f = functional()
        params = f.new(Generator().manual_seed(3))
        train(f, params, IMAGES, LABELS, RECIPE, Generator().manual_seed(seed), replay=stored)
        found.append(params)
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_labels_of_other_images_are_refused() -> None:
    f, stored = functional(), recorded()
    with pytest.raises(ValueError, match="labels of 10 images an epoch, not of 12"):
        train(f, f.new(Generator()), IMAGES.repeat(2, 1, 1, 1), LABELS.repeat(2), RECIPE, Generator(), replay=stored)


def test_logits_beyond_half_precision_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="half precision cannot hold"):
        record(IMAGES, LABELS, RECIPE, lambda batch: torch.full((len(batch), 3), 1e6), classes=3, epochs=1, seed=0)
