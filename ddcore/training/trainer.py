"""Train networks on real or synthetic images: the one trainer behind evaluation, teachers and experts.

SGD, Adam or AdamW (:mod:`ddcore.training.optimizers`), cross-entropy with classes or probabilities or the distance from
a teacher's logits of each batch, shuffled mini-batches, augmentation with parameters for every image, and CutMix (Yun
et al., ICCV 2019).

One network at a time: on a CPU, several networks stacked under ``torch.func.vmap`` never train faster.
Measured on 2 cores by ``python -m benchmarks`` (stacked against in turn): equal for ConvNets of
width 64 on 8 x 8 images, 1.8 times slower for ConvNet-3 of width 128 on 32 x 32 images in eager fp32, and
8 times slower in compiled bf16, where a grouped convolution leaves the fast kernels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ddcore.augment.cutmix import cutmix
from ddcore.augment.siamese import Strategy
from ddcore.augment.training import Augmenter, siamese
from ddcore.data.sampling import batches
from ddcore.errors import DivergedError
from ddcore.formulas import label_losses
from ddcore.nets.functional import Functional, Params
from ddcore.spec.evaluation import LabelLoss, Trains
from ddcore.training.flatness import Flatness, flatten_
from ddcore.training.optimizers import SGD, Adam, AdamW, Optimizer, Velocity

_SCORING_PIECES = 16

OnEpoch = Callable[[int], None]
"""Told the number of passes made."""
Labeller = Callable[[Tensor], Tensor]
"""A teacher's logits (N, classes) float32, as constants, of normalised images (N, C, H, W) as a network sees them."""


class Replay(Protocol):
    """Batches that were labelled before, to be seen again: see :class:`ddcore.training.stored_labels.StoredLabels`."""

    def generator(self, epoch: int) -> Generator:
        """What makes the batches of an epoch, from 1, again; on the CPU."""

    def of(self, epoch: int, first: int, count: int) -> Tensor:
        """A teacher's logits (count, classes) float32 of so many images that an epoch takes, from one on."""


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes:
        epochs: passes over the images, at least 1.
        lr: learning rate.
        momentum: of SGD, 0 to 1.
        weight_decay: on all parameters.
        batch_size: images a step; the last step of a pass takes what is left.
        optimizer: SGD, or Adam or AdamW with their usual betas.
        drops: passes after which the learning rate is multiplied by ``drop_factor``.
        drop_factor: positive.
        restarts: whether the optimiser forgets its state (the momentum) when the rate drops.
        half_cosine: whether the rate is lr (1 + cos(pi e / 2 epochs)) / 2 after e passes, and ends at half of ``lr``.
        cosine: whether it is lr (1 + cos(pi e / epochs)) / 2 after e passes, and ends at 0.
        strategy: operations of augmentation; empty for none.
        augmenter: how they are applied.
        cutmix: probability that an augmented batch is mixed with itself (beta 1).
        temperature: what logits are divided by before their softmax meets the labels.
        flatness: of the minimum that is looked for, at the price of a second pass a step; ``None`` for any.
        label_loss: what is minimised where a teacher labels the batches; ``mse_logits`` takes no temperature.
        trains: all parameters, or those of the linear classifier alone; the others, and the running statistics of batch
            normalisation, then stay as they are.
    """

    epochs: int
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch_size: int = 256
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    drops: tuple[int, ...] = ()
    drop_factor: float = 0.1
    restarts: bool = True
    half_cosine: bool = False
    cosine: bool = False
    strategy: Strategy = ()
    augmenter: Augmenter = siamese
    cutmix: float = 0.0
    temperature: float = 1.0
    flatness: Flatness | None = None
    label_loss: LabelLoss = "kl"
    trains: Trains = "network"


def train(
    functional: Functional,
    params: Params,
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    generator: Generator,
    *,
    normalize: Callable[[Tensor], Tensor] | None = None,
    on_epoch: OnEpoch | None = None,
    check_stop: Callable[[], None] | None = None,
    velocity: Velocity | None = None,
    labeller: Labeller | None = None,
    replay: Replay | None = None,
) -> Velocity:
    """Train a network in place.

    Args:
        functional: the architecture.
        params: where training starts, as from :meth:`Functional.new`; holds the trained network afterwards,
            the buffers of batch normalisation included.
        images: (N, C, H, W); normalised floating point, or anything that ``normalize`` turns into that
            batch by batch (uint8 pixels).
        labels: (N,) int64, or (N, classes) probabilities.
        recipe: how to train.
        generator: decides shuffling and augmentation; drawn from on the CPU, so that nothing waits for a device.
        normalize: applied to each batch of ``images`` on the device of the network.
        on_epoch: called after each pass with the number of passes made; may raise to end training.
        check_stop: called after each step; may raise to end training.
        velocity: what the optimiser of an earlier training arrived at, to go on with; at rest by default.
        labeller: labels every batch, augmented and mixed, in the place of ``labels``.
        replay: likewise, of batches that it makes in the place of ``generator``.

    Returns:
        What the optimiser arrived at.

    Raises:
        DivergedError: the loss became NaN or infinite.
    """
    device = functional.compute.device
    generator = _on_host(generator)
    images, labels = images.to(device), labels.to(device)
    weights = [params[name].requires_grad_() for name in _trained(functional, recipe)]
    try:
        optimizer = _optimizer(weights, recipe, recipe.lr)
        if velocity:
            optimizer.velocity = {
                place: {key: value if key == "step" else value.to(weights[place]) for key, value in known.items()}
                for place, known in velocity.items()
            }
        for epoch in range(1, recipe.epochs + 1):
            source, taken = generator if replay is None else replay.generator(epoch), 0
            for batch, targets in seen(images, labels, recipe, functional.classes, source, normalize):
                of_teacher = None if labeller is None else labeller(batch)
                if replay is not None:
                    of_teacher = replay.of(epoch, taken, len(batch)).to(device)
                taken += len(batch)
                loss = _loss(_logits(functional, params, batch, recipe), targets, of_teacher, recipe)
                optimizer.zero_grad()
                loss.backward()
                if recipe.flatness is not None:
                    _flatten(functional, params, weights, batch, targets, of_teacher, recipe)
                optimizer.step()
                if check_stop is not None:
                    check_stop()
            _check_finite(loss, epoch, recipe)
            if epoch in recipe.drops:
                optimizer = _with_lower_rate(optimizer, weights, recipe, recipe.drops.count(epoch))
            if recipe.half_cosine:
                optimizer.lr = recipe.lr * (1 + math.cos(math.pi * epoch / (2 * recipe.epochs))) / 2
            if recipe.cosine:
                optimizer.lr = recipe.lr * (1 + math.cos(math.pi * epoch / recipe.epochs)) / 2
            if on_epoch is not None:
                on_epoch(epoch)
        return optimizer.velocity
    finally:
        for weight in weights:
            weight.requires_grad_(False).grad = None


def seen(
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    classes: int,
    generator: Generator,
    normalize: Callable[[Tensor], Tensor] | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of one pass as a network sees them: shuffled, normalised, augmented and mixed.

    Args:
        images: see :func:`train`, on the device of the network.
        labels: likewise.
        recipe: how to train.
        classes: how many there are.
        generator: on the CPU; decides everything.
        normalize: see :func:`train`.

    Yields:
        Images (n, C, H, W) in normalised units, and their labels.
    """
    for rows in batches(len(images), recipe.batch_size, generator):
        rows = rows.to(images.device)
        batch, targets = images[rows], labels[rows]
        batch = batch if normalize is None else normalize(batch)
        batch = recipe.augmenter(batch, recipe.strategy, generator)
        if recipe.cutmix > 0:
            batch, targets = cutmix(batch, targets, classes, generator, probability=recipe.cutmix)
        yield batch, targets


@torch.no_grad()
def accuracy(
    functional: Functional,
    params: Params,
    images: Tensor,
    labels: Tensor,
    *,
    normalize: Callable[[Tensor], Tensor] | None = None,
) -> float:
    """Share of images whose largest logit is that of their label, in percent.

    Args:
        functional: the architecture.
        params: its parameters; batch normalisation uses its running statistics.
        images: (N, C, H, W), normalised or to be normalised by ``normalize``; N at least 1.
        labels: (N,) int64.
        normalize: applied to each batch of ``images`` on the device of the network.
    """
    device = functional.compute.device
    correct = torch.zeros((), dtype=torch.int64, device=device)
    size = functional.piece * _SCORING_PIECES
    for part, expected in zip(torch.split(images, size), torch.split(labels, size), strict=True):
        batch = part.to(device)
        batch = batch if normalize is None else normalize(batch)
        predicted = functional.logits(params, batch, training=False).argmax(dim=1)
        correct += (predicted == expected.to(device)).sum()
    return 100.0 * int(correct) / len(labels)


def _trained(functional: Functional, recipe: Recipe) -> tuple[str, ...]:
    """Names of the parameters that a recipe changes."""
    return functional.names if recipe.trains == "network" else ("classifier.weight", "classifier.bias")


def _logits(functional: Functional, params: Params, batch: Tensor, recipe: Recipe) -> Tensor:
    """Logits of a batch, differentiable to what the recipe changes."""
    if recipe.trains == "network":
        return functional.logits(params, batch)
    features = functional.features_no_grad(params, batch, training=False)
    return F.linear(features, params["classifier.weight"], params["classifier.bias"])


def _loss(logits: Tensor, targets: Tensor, of_teacher: Tensor | None, recipe: Recipe) -> Tensor:
    """How far a network is from the labels, or from what the teacher says of the same images where there is one."""
    if of_teacher is None:
        return F.cross_entropy(logits / recipe.temperature, targets)
    if recipe.label_loss == "mse_logits":
        return label_losses.mse_logits(logits, of_teacher)
    return label_losses.kl(logits, of_teacher, recipe.temperature)


def _flatten(
    functional: Functional,
    params: Params,
    weights: list[Tensor],
    batch: Tensor,
    targets: Tensor,
    of_teacher: Tensor | None,
    recipe: Recipe,
) -> None:
    """Replace the gradients by those towards a flat minimum; the statistics of batch normalisation move only once."""
    if recipe.flatness is None:
        raise ValueError("the recipe looks for no flat minimum")
    names = _trained(functional, recipe)
    again = {name: value if name in names else value.clone() for name, value in params.items()}

    def slopes_again() -> None:
        _loss(_logits(functional, again, batch, recipe), targets, of_teacher, recipe).backward()

    flatten_(weights, slopes_again, recipe.flatness)


def _optimizer(weights: list[Tensor], recipe: Recipe, lr: float) -> Optimizer:
    if recipe.optimizer != "sgd":
        return {"adam": Adam, "adamw": AdamW}[recipe.optimizer](weights, lr, weight_decay=recipe.weight_decay)
    return SGD(weights, lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)


def _with_lower_rate(optimizer: Optimizer, weights: list[Tensor], recipe: Recipe, times: int) -> Optimizer:
    """The optimiser with its rate dropped so many times, afresh where the recipe restarts it."""
    optimizer.lr *= recipe.drop_factor**times
    return _optimizer(weights, recipe, optimizer.lr) if recipe.restarts else optimizer


def _check_finite(loss: Tensor, epoch: int, recipe: Recipe) -> None:
    if not math.isfinite(loss.item()):
        raise DivergedError(
            f"the loss of a network in training became {loss.item()} in epoch {epoch} of {recipe.epochs} at a "
            f"learning rate of {recipe.lr}; lower the learning rate, or use `precision`: 'fp32'"
        )


def _on_host(generator: Generator) -> Generator:
    """The generator itself, or one on the CPU that is seeded from it."""
    if generator.device.type == "cpu":
        return generator
    seed = torch.randint(2**62, (), generator=generator, device=generator.device)
    return Generator().manual_seed(int(seed))
