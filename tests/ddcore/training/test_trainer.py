"""The trainer against a plain loop, written out, on a plain module."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ddcore.augment import siamese
from ddcore.augment.cutmix import cutmix
from ddcore.augment.training import stacked
from ddcore.data.dataset import normalize
from ddcore.errors import DivergedError
from ddcore.machine.compute import Compute
from ddcore.nets import Functional, Network, Params, build
from ddcore.spec import ConvNetConfig, NetworkConfig
from ddcore.training.trainer import Recipe, accuracy, train
from tests.ddcore.compiler import needs_compiler

CPU = torch.device("cpu")
SHAPE = (3, 8, 8)
SMALL = ConvNetConfig(width=8, depth=2)
RECIPE = Recipe(epochs=4, lr=0.05, momentum=0.9, weight_decay=5e-3, batch_size=8, drops=(2,))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def functional(config: NetworkConfig = SMALL, compute: Compute | None = None) -> Functional:
    return Functional(build(config, SHAPE, 3), compute or Compute(CPU))


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    return torch.randn(20, *SHAPE, generator=generator(1)), torch.arange(20) % 3


def module(params: Params, config: NetworkConfig = SMALL) -> Network:
    net = build(config, SHAPE, 3).train()
    net.load_state_dict(params)
    return net


def plain_training(
    net: Network,
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    source: torch.Generator,
    augmented: Callable[[Tensor], Tensor] = lambda x: x,
) -> None:
    """v <- momentum v + (g + decay w); w <- w - lr v, over shuffled batches; at the drop, lr / 10 and v = 0."""
    lr, velocity = recipe.lr, [torch.zeros_like(p) for p in net.parameters()]
    for epoch in range(1, recipe.epochs + 1):
        order = torch.randperm(len(images), generator=source)
        for first in range(0, len(images), recipe.batch_size):
            rows = order[first : first + recipe.batch_size]
            log_probabilities = F.log_softmax(net(augmented(images[rows])), dim=1)
            target = labels[rows] if labels.is_floating_point() else F.one_hot(labels[rows], 3).float()
            loss = -(target * log_probabilities).sum(dim=1).mean()
            gradients = torch.autograd.grad(loss, list(net.parameters()))
            with torch.no_grad():
                for p, g, v in zip(net.parameters(), gradients, velocity, strict=True):
                    v.mul_(recipe.momentum).add_(g + recipe.weight_decay * p)
                    p.sub_(lr * v)
        if epoch in recipe.drops:
            lr, velocity = lr * 0.1, [torch.zeros_like(p) for p in net.parameters()]


def assert_equal_networks(params: Params, net: Network, tolerance: float = 1e-5) -> None:
    for name, expected in net.state_dict().items():
        torch.testing.assert_close(params[name], expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("config", [SMALL, ConvNetConfig(width=4, depth=1, norm="batch")], ids=["instance", "batch"])
@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
def test_training_equals_the_plain_loop(config: NetworkConfig, soft: bool, batch: tuple[Tensor, Tensor]) -> None:
    images, labels = batch
    if soft:
        labels = torch.rand(20, 3, generator=generator(2))
        labels = labels / labels.sum(dim=1, keepdim=True)
    f = functional(config)
    params = f.new(generator())
    net = module(params, config)
    train(f, params, images, labels, RECIPE, generator(7))
    plain_training(net, images, labels, RECIPE, generator(7))
    assert_equal_networks(params, net)


def test_augmentation_takes_one_operation_a_batch_with_parameters_for_every_image(batch: tuple[Tensor, Tensor]) -> None:
    strategy = ("color", "cutout", "flip")
    recipe = Recipe(epochs=3, batch_size=8, strategy=strategy)
    source, drawn = generator(7), []

    def augmented(x: Tensor) -> Tensor:
        drawn.append(siamese.draw(strategy, len(x), SHAPE, source))
        return siamese.apply(drawn[-1], x)

    f = functional()
    params = f.new(generator())
    net = module(params)
    train(f, params, *batch, recipe, generator(7))
    plain_training(net, *batch, recipe, source, augmented)
    assert_equal_networks(params, net)
    assert len({d.operation for d in drawn}) > 1
    assert all(len(p) == size for d, size in zip(drawn, (8, 8, 4) * 3, strict=True) for p in d.parameters)


def test_without_a_drop_the_rate_and_the_momentum_stay(batch: tuple[Tensor, Tensor]) -> None:
    recipe = Recipe(epochs=3, lr=0.05, batch_size=20, drops=())
    f = functional()
    params = f.new(generator())
    net = module(params)
    train(f, params, *batch, recipe, generator(7))
    plain_training(net, *batch, recipe, generator(7))
    assert_equal_networks(params, net)


def framework_training(
    net: Network,
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    source: torch.Generator,
    optimizer: torch.optim.Optimizer,
) -> None:
    """The framework's own optimiser and schedule over shuffled batches, without a restart."""
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, list(recipe.drops), gamma=recipe.drop_factor)
    for _ in range(recipe.epochs):
        for rows in torch.split(torch.randperm(len(images), generator=source), recipe.batch_size):
            optimizer.zero_grad()
            F.cross_entropy(net(images[rows]), labels[rows]).backward()
            optimizer.step()
        schedule.step()


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_a_schedule_without_restart_is_that_of_the_framework(
    optimizer: Literal["sgd", "adam", "adamw"], batch: tuple[Tensor, Tensor]
) -> None:
    """Two drops to a fifth, as IDC scores, with the momentum kept.

    Without normalisation: before it, the slopes of biases are rounding errors, which Adam would blow up.
    """
    config = ConvNetConfig(width=8, depth=2, norm="none")
    recipe = Recipe(
        6,
        lr=0.02,
        weight_decay=1e-3,
        batch_size=8,
        optimizer=optimizer,
        drops=(2, 4),
        drop_factor=0.2,
        restarts=False,
    )
    f = functional(config)
    params = f.new(generator())
    net = module(params, config)
    makes: dict[str, Any] = {
        "sgd": partial(torch.optim.SGD, momentum=0.9),
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
    }
    theirs = makes[optimizer](net.parameters(), lr=0.02, weight_decay=1e-3)
    train(f, params, *batch, recipe, generator(7))
    framework_training(net, *batch, recipe, generator(7), theirs)
    assert_equal_networks(params, net)


def test_half_a_cosine_ends_at_half_the_rate(batch: tuple[Tensor, Tensor]) -> None:
    """With AdamW, as RDED scores: lr (1 + cos(pi e / 2 E)) / 2 in the epoch with the index e."""
    config = ConvNetConfig(width=8, depth=2, norm="none")
    recipe = Recipe(6, lr=0.02, weight_decay=0.1, batch_size=8, optimizer="adamw", half_cosine=True)
    f = functional(config)
    params = f.new(generator())
    net = module(params, config)
    train(f, params, *batch, recipe, generator(7))
    theirs, source = torch.optim.AdamW(net.parameters(), lr=0.02, weight_decay=0.1), generator(7)
    for epoch in range(6):
        theirs.param_groups[0]["lr"] = 0.01 * (1 + math.cos(math.pi * epoch / 12))
        for rows in torch.randperm(20, generator=source).split(8):
            theirs.zero_grad()
            F.cross_entropy(net(batch[0][rows]), batch[1][rows]).backward()
            theirs.step()
    assert_equal_networks(params, net)


def test_a_head_learns_alone_at_a_rate_that_ends_at_zero(batch: tuple[Tensor, Tensor]) -> None:
    """A linear layer on the features of a network in evaluation mode, which keeps its weights and statistics."""
    config = ConvNetConfig(width=8, depth=2, norm="batch")
    recipe = Recipe(6, lr=0.02, weight_decay=0.0, batch_size=8, optimizer="adam", cosine=True, trains="head")
    f = functional(config)
    params = f.new(generator())
    params["blocks.0.1.running_mean"].fill_(0.3)
    before = {name: value.clone() for name, value in params.items()}
    net = module(params, config).eval()
    train(f, params, *batch, recipe, generator(7))
    theirs, source = torch.optim.Adam(net.classifier.parameters(), lr=0.02), generator(7)
    for epoch in range(6):
        theirs.param_groups[0]["lr"] = 0.01 * (1 + math.cos(math.pi * epoch / 6))
        for rows in torch.randperm(20, generator=source).split(8):
            theirs.zero_grad()
            F.cross_entropy(net(batch[0][rows]), batch[1][rows]).backward()
            theirs.step()
    assert_equal_networks(params, net)
    moved = {name for name, value in params.items() if not torch.equal(value, before[name])}
    assert moved == {"classifier.weight", "classifier.bias"}


@pytest.mark.parametrize("loss", ["kl", "mse_logits"])
def test_a_teacher_labels_what_the_network_sees(
    loss: Literal["kl", "mse_logits"], batch: tuple[Tensor, Tensor]
) -> None:
    """Batches augmented and mixed: by hand, with the same draws, and the teacher's logits of the result."""
    strategy, source = ("crop", "cutout"), generator(7)
    recipe = Recipe(
        3, lr=0.1, momentum=0.0, weight_decay=0.0, batch_size=8, strategy=strategy, cutmix=0.7, temperature=5.0,
        label_loss=loss,
    )  # fmt: skip
    teacher = build(ConvNetConfig(width=4, depth=1), SHAPE, 3).eval()
    f = functional()
    params = f.new(generator())
    net = module(params)
    train(f, params, *batch, recipe, generator(7), labeller=lambda images: teacher(images).detach())
    for _ in range(3):
        for rows in torch.randperm(20, generator=source).split(8):
            images = siamese.apply(siamese.draw(strategy, len(rows), SHAPE, source), batch[0][rows])
            images, _ = cutmix(images, batch[1][rows], 3, source, probability=0.7)
            ours, theirs = net(images), teacher(images).detach()
            if loss == "kl":
                p, q = (torch.log_softmax(logits / 5.0, dim=1) for logits in (theirs, ours))
                distance = (p.exp() * (p - q)).sum(dim=1).mean()
            else:
                distance = (ours - theirs).square().mean()
            gradients = torch.autograd.grad(distance, list(net.parameters()))
            with torch.no_grad():
                for p, g in zip(net.parameters(), gradients, strict=True):
                    p.sub_(0.1 * g)
    assert_equal_networks(params, net)


def test_two_drops_after_one_epoch_count_twice(batch: tuple[Tensor, Tensor]) -> None:
    f, networks = functional(), []
    for drops, factor in (((1, 1), 0.5), ((1,), 0.25)):
        params = f.new(generator())
        recipe = Recipe(3, lr=0.05, batch_size=20, drops=drops, drop_factor=factor)
        train(f, params, *batch, recipe, generator(7))
        networks.append(params)
    assert all(torch.equal(networks[0][name], networks[1][name]) for name in networks[0])


def test_logits_are_divided_by_the_temperature(batch: tuple[Tensor, Tensor]) -> None:
    """The slope is that of the divergence of the two softened distributions."""
    images, temperature = batch[0], 3.0
    teacher = torch.randn(20, 3, generator=generator(4))
    labels = F.softmax(teacher / temperature, dim=1)
    f = functional()
    params = f.new(generator())
    net = module(params)
    train(
        f,
        params,
        images,
        labels,
        Recipe(1, lr=0.5, momentum=0, weight_decay=0, batch_size=20, temperature=3),
        generator(7),
    )
    divergence = F.kl_div(F.log_softmax(net(images) / temperature, dim=1), labels, reduction="batchmean")
    gradients = torch.autograd.grad(divergence, list(net.parameters()))
    with torch.no_grad():
        for p, g in zip(net.parameters(), gradients, strict=True):
            p.sub_(0.5 * g)
    assert_equal_networks(params, net)


@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
def test_cutmix_follows_augmentation(soft: bool, batch: tuple[Tensor, Tensor]) -> None:
    images, labels = batch
    if soft:
        labels = F.softmax(torch.randn(20, 3, generator=generator(2)), dim=1)
    recipe = Recipe(3, lr=0.05, batch_size=8, strategy=("color", "crop"), augmenter=stacked, cutmix=0.7)
    f = functional()
    params = f.new(generator())
    net = module(params)
    train(f, params, images, labels, recipe, generator(7))
    source, optimizer = generator(7), torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    mixed = 0
    for _ in range(3):
        for rows in torch.split(torch.randperm(20, generator=source), 8):
            drawn = siamese.draw_stacked(recipe.strategy, len(rows), SHAPE, source)
            before = siamese.apply(drawn, images[rows])
            x, y = cutmix(before, labels[rows], 3, source, probability=0.7)
            mixed += not torch.equal(x, before)
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
    assert 0 < mixed < 9
    assert_equal_networks(params, net)


def test_pixels_are_normalised_batch_by_batch(batch: tuple[Tensor, Tensor]) -> None:
    pixels = torch.randint(256, (20, *SHAPE), generator=generator(3), dtype=torch.uint8)
    labels = batch[1]

    def normalized(x: Tensor) -> Tensor:
        return normalize(x, (0.4, 0.5, 0.6), (0.2, 0.2, 0.2))

    f = functional()
    ours, theirs = f.new(generator()), f.new(generator())
    train(f, ours, pixels, labels, RECIPE, generator(7), normalize=normalized)
    train(f, theirs, normalized(pixels), labels, RECIPE, generator(7))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert accuracy(f, ours, pixels, labels, normalize=normalized) == accuracy(f, ours, normalized(pixels), labels)


def test_the_same_seed_gives_the_same_bytes(batch: tuple[Tensor, Tensor]) -> None:
    f = functional()
    recipe = Recipe(epochs=2, batch_size=8, strategy=("color", "crop"))
    results = []
    for seed in (7, 7, 8):
        params = f.new(generator())
        train(f, params, *batch, recipe, generator(seed))
        results.append(torch.cat([p.flatten() for p in params.values()]))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_epochs_are_counted_and_a_stop_leaves_plain_parameters(batch: tuple[Tensor, Tensor]) -> None:
    class Stopped(Exception):
        pass

    steps: list[int] = []
    epochs: list[int] = []

    def check_stop() -> None:
        steps.append(1)
        if len(steps) == 8:
            raise Stopped

    f = functional()
    params = f.new(generator())
    with pytest.raises(Stopped):
        train(f, params, *batch, RECIPE, generator(), on_epoch=epochs.append, check_stop=check_stop)
    assert epochs == [1, 2], "three steps an epoch; the stop came in the third"
    assert all(not p.requires_grad and p.grad is None for p in params.values())


def test_a_loss_that_is_not_finite_is_an_error_with_a_way_out(batch: tuple[Tensor, Tensor]) -> None:
    images, labels = batch
    f = functional()
    with pytest.raises(DivergedError, match=r"became nan in epoch 1 of 4 at a learning rate of 0\.05; lower"):
        train(f, f.new(generator()), images * float("nan"), labels, RECIPE, generator())


@pytest.mark.parametrize("count", [1, 7, 3000])
def test_accuracy_is_the_share_of_largest_logits_in_percent(count: int) -> None:
    f = functional(compute=Compute(CPU, piece=8))
    params = f.new(generator())
    images = torch.randn(count, *SHAPE, generator=generator(5))
    labels = torch.arange(count) % 3
    expected = 100 * (module(params)(images).argmax(1) == labels).float().mean().item()
    assert accuracy(f, params, images, labels) == pytest.approx(expected)


def test_accuracy_uses_the_running_statistics_and_leaves_them(batch: tuple[Tensor, Tensor]) -> None:
    config = ConvNetConfig(width=4, depth=1, norm="batch")
    f = functional(config)
    params = f.new(generator())
    train(f, params, *batch, RECIPE, generator())
    before = {name: value.clone() for name, value in params.items()}
    expected = 100 * (module(params, config).eval()(batch[0]).argmax(1) == batch[1]).float().mean().item()
    assert accuracy(f, params, *batch) == pytest.approx(expected)
    assert all(torch.equal(params[name], before[name]) for name in params)


@pytest.mark.slow
@needs_compiler
def test_compiled_training_equals_the_plain_loop(batch: tuple[Tensor, Tensor]) -> None:
    f = functional(compute=Compute(CPU, compiled=True))
    params = f.new(generator())
    net = module(params)
    recipe = Recipe(epochs=4, lr=0.05, batch_size=20, drops=(2,))
    train(f, params, *batch, recipe, generator(7))
    plain_training(net, *batch, recipe, generator(7))
    assert_equal_networks(params, net)
