"""Training ConvNet-3 of width 128 on 3 x 32 x 32 images: a plain loop on the module, and ours."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from benchmarks.forward import SHAPE, functional
from benchmarks.harness import Benchmark, Way, Work, vector
from ddcore.augment import siamese
from ddcore.nets import Functional, Network, build
from ddcore.spec import ConvNetConfig
from ddcore.training.trainer import Recipe, train

STRATEGY = siamese.strategy_for("auto", flip=True)
EVALUATION = Recipe(epochs=15, batch_size=256, strategy=STRATEGY)
"""A twentieth of the 300 epochs of the evaluation protocol."""
TEACHER = Recipe(epochs=1, batch_size=128, weight_decay=1e-3)


def _set(images: int) -> tuple[Tensor, Tensor]:
    return torch.randn(images, *SHAPE, generator=torch.Generator().manual_seed(1)), torch.arange(images) % 10


def plain(net: Network, images: Tensor, labels: Tensor, recipe: Recipe, generator: Generator) -> None:
    """Train a module in place by the loop that everyone writes, with the draws that the trainer makes.

    Args:
        net: on the device of the images.
        images: normalised (N, 3, 32, 32).
        labels: int64 (N,).
        recipe: of SGD, with Siamese augmentation if any.
        generator: on the CPU.
    """
    device = images.device

    def optimizer(lr: float) -> torch.optim.SGD:
        return torch.optim.SGD(net.parameters(), lr=lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)

    sgd = optimizer(recipe.lr)
    for epoch in range(1, recipe.epochs + 1):
        for rows in torch.randperm(len(images), generator=generator).split(recipe.batch_size):
            batch = images[rows.to(device)]
            drawn = siamese.draw(recipe.strategy, len(batch), SHAPE, generator)
            loss = F.cross_entropy(net(siamese.apply(drawn, batch)), labels[rows.to(device)])
            sgd.zero_grad()
            loss.backward()
            sgd.step()
        if epoch in recipe.drops:
            sgd = optimizer(sgd.param_groups[0]["lr"] * recipe.drop_factor)


def ours(f: Functional, images: int, recipe: Recipe) -> Work:
    training_set = _set(images)

    def work() -> Sequence[Tensor]:
        params = f.new(torch.Generator().manual_seed(0))
        train(f, params, *training_set, recipe, torch.Generator().manual_seed(2))
        return [vector(params[name] for name in f.names)]

    return work


def _plain(images: int, recipe: Recipe) -> Work:
    f = functional("fp32", compiled=False)
    pixels, labels = (tensor.to(f.compute.device) for tensor in _set(images))

    def work() -> Sequence[Tensor]:
        net = build(ConvNetConfig(), SHAPE, 10).to(f.compute.device)
        net.load_state_dict(f.new(torch.Generator().manual_seed(0)))
        plain(net, pixels, labels, recipe, torch.Generator().manual_seed(2))
        return [vector(net.parameters())]

    return work


def _ways(images: int, recipe: Recipe) -> Sequence[Way]:
    return [
        Way("plain loop, eager fp32", _plain(images, recipe)),
        Way("trainer, eager fp32", ours(functional("fp32", compiled=False), images, recipe)),
        Way("trainer, compiled fp32", ours(functional("fp32", compiled=True), images, recipe)),
        Way("trainer, compiled bf16", ours(functional("bf16", compiled=True), images, recipe)),
    ]


BENCHMARKS = (
    Benchmark(
        "evaluation",
        f"evaluation training: {EVALUATION.epochs} epochs on 100 images with augmentation",
        lambda: _ways(100, EVALUATION),
        target=3.0,
    ),
    Benchmark("teacher", "teacher training: one epoch on 2,560 images", lambda: _ways(2560, TEACHER), target=3.0),
)
