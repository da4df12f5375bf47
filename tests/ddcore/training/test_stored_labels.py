"""Labels of the batches of epochs: made once, and learned by every network from the same batches."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

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
from ddcore.spec.evaluation.label_sizes import image_bytes
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


def recorded(epochs: int = 2, top: int | None = None, recipe: Recipe = RECIPE) -> StoredLabels:
    return record(IMAGES, LABELS, recipe, teacher(), classes=3, epochs=epochs, seed=5, top=top)


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


def kept_by_hand(row: Tensor, top: int, recipe: Recipe) -> Tensor:
    """The logits of an image in half precision, one number in the place of all but the highest."""
    z = row.double().tolist()
    kept = sorted(range(len(z)), key=lambda c: (-z[c], c))[:top]
    others = [z[c] for c in range(len(z)) if c not in kept]
    if recipe.label_loss == "mse_logits":
        rest = sum(others) / len(others)
    else:
        rest = recipe.temperature * math.log(sum(math.exp(x / recipe.temperature) for x in others) / len(others))
    return torch.tensor([z[c] if c in kept else rest for c in range(len(z))]).half().float()


@pytest.mark.parametrize("recipe", [RECIPE, replace(RECIPE, label_loss="mse_logits")], ids=("kl", "mse_logits"))
@pytest.mark.parametrize("top", [1, 2])
def test_the_highest_logits_of_each_image_are_stored_and_one_number_for_the_others(recipe: Recipe, top: int) -> None:
    found, say = recorded(top=top, recipe=recipe), teacher()
    assert (found.epochs, found.top) == (2, top)
    for epoch in (1, 2, 3):
        said = torch.cat([say(batch) for batch in batches_by_hand((epoch - 1) % 2)])
        for image, row in enumerate(said):
            expected = kept_by_hand(row, top, recipe)
            torch.testing.assert_close(found.of(epoch, image, 1), expected.unsqueeze(0), rtol=1e-3, atol=1e-6)
        assert torch.equal(found.of(epoch, 0, 10)[4:7], found.of(epoch, 4, 3))
    with pytest.raises(ValueError, match="labels of 10 images an epoch, not of 11"):
        found.of(1, 8, 3)


def test_the_kept_classes_have_the_probabilities_of_the_teacher() -> None:
    """Up to half precision, at the temperature of the recipe."""
    whole, found = recorded(), recorded(top=1)
    assert found.others is not None
    p, q = ((labels.of(1, 0, 10) / 2).softmax(dim=1) for labels in (whole, found))
    classes = found.others.classes[0].long()
    torch.testing.assert_close(q.gather(1, classes), p.gather(1, classes), rtol=1e-3, atol=0)
    assert torch.equal(classes.flatten(), p.argmax(dim=1))


@pytest.mark.parametrize(
    ("classes", "top", "dtype"), [(256, 9, torch.uint8), (257, 9, torch.int16), (32_769, 2, torch.int32)]
)
def test_stored_bytes_are_those_that_are_foretold(classes: int, top: int, dtype: torch.dtype) -> None:
    logits = torch.randn(10, classes, generator=Generator().manual_seed(1))
    logits[3, -1] = 9  # the last class has the largest number
    said = iter(logits.split(4))
    plain = replace(RECIPE, cutmix=0)
    found = record(IMAGES, LABELS, plain, lambda batch: next(said), classes=classes, epochs=1, seed=0, top=top)
    tensors = found.tensors()
    shapes = {"logits": (1, 10, top), "classes": (1, 10, top), "rest": (1, 10)}
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == shapes
    assert sum(tensor.nbytes for tensor in tensors.values()) == 10 * image_bytes(classes, top)
    assert tensors["classes"].dtype == dtype
    again = StoredLabels.of_tensors(tensors, classes=classes, seed=found.seed).of(1, 0, 10)
    assert torch.equal(again, found.of(1, 0, 10))
    assert torch.equal(again.argmax(dim=1), logits.argmax(dim=1))
    assert int(again[3].argmax()) == classes - 1


def test_a_network_learns_from_all_but_one_what_it_learns_from_all() -> None:
    """And something else from the highest alone."""
    learned = []
    for top in (None, 2, 1):
        f = functional()
        params = f.new(Generator().manual_seed(1))
        train(f, params, IMAGES, LABELS, RECIPE, Generator().manual_seed(1), replay=recorded(top=top))
        learned.append(torch.cat([params[name].flatten() for name in f.names]))
    whole, all_but_one, highest = learned
    torch.testing.assert_close(all_but_one, whole, rtol=1e-4, atol=1e-5)
    assert (highest - whole).norm() > 100 * (all_but_one - whole).norm()
    assert (highest - whole).norm() > 1e-3 * whole.norm()


def test_logits_that_are_not_stored_may_be_beyond_half_precision() -> None:
    row = torch.tensor([3.0, 2.0, 1.0, -1e6])
    found = record(IMAGES, LABELS, RECIPE, lambda batch: row.repeat(len(batch), 1), classes=4, epochs=1, seed=0, top=2)
    assert found.of(1, 0, 1)[0].tolist() == pytest.approx([3, 2, 1 - 2 * math.log(2), 1 - 2 * math.log(2)], abs=1e-3)
    mean = replace(RECIPE, label_loss="mse_logits")
    with pytest.raises(ConfigurationError, match="half precision cannot hold"):
        record(IMAGES, LABELS, mean, lambda batch: row.repeat(len(batch), 1), classes=4, epochs=1, seed=0, top=2)
