"""NCFM, after NCFM/NCFM.py and condenser/ of github.com/gszfwsb/NCFM.

Wang et al., CVPR 2025 (arXiv 2502.20653), with frequencies of a normal distribution.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.plain.given import Given, Made
from benchmarks.plain.mosaics import mosaics, tiles
from ddcore.augment.cutmix import cutmix
from ddcore.augment.siamese import apply, draw_stacked
from ddcore.nets import Network
from ddcore.spec import NCFMConfig


def ncfm(given: Given) -> Made:
    """Two sweeps over the classes a step, with an optimiser step after each class of either."""
    config = given.spec.method
    assert isinstance(config, NCFMConfig)
    pairs = [_pair(given, config) for _ in range(config.pairs.count)]
    stored = torch.cat([_start(given, label) for label in range(given.classes)]).clamp_(0, 1).requires_grad_()
    optimizer = torch.optim.AdamW([stored], config.lr_img, weight_decay=config.weight_decay)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=config.patience or 500)
    between = given.network().requires_grad_(False)
    for _ in range(config.iterations):
        initial, trained = pairs[int(torch.randint(len(pairs), (), generator=given.generator))]
        share = float(torch.rand((), generator=given.generator))
        _mix(between, initial, trained, share)
        total = 0.0
        for label in range(given.classes):
            loss = _matching(given, config, between, label, _of_class(given, stored, label))
            total += _descend(optimizer, loss)
        for label in range(given.classes):
            images = _augmented(given, given.normalised(_of_class(given, stored, label)))
            misfit = F.cross_entropy(trained(images), torch.full((len(images),), label))
            total += _descend(optimizer, config.calibration * misfit)
        with torch.no_grad():
            stored.clamp_(0, 1)
        plateau.step(total / given.classes)
    final = stored.detach()
    of_classes = [given.normalised(_of_class(given, final, label)) for label in range(given.classes)]
    return Made(torch.cat(of_classes), stored=given.normalised(final))


def _matching(given: Given, config: NCFMConfig, network: Network, label: int, own: Tensor) -> Tensor:
    """300 times the distance of the characteristic functions of both sides, averaged over frequencies t."""
    real = given.of_class(label, config.batch_real)
    both = _augmented(given, torch.cat([real, given.normalised(own)]))
    with torch.no_grad():
        f = F.normalize(network.features(both[: len(real)]))
    g = F.normalize(network.features(both[len(real) :]))
    t = torch.randn(config.frequencies, g.shape[1], generator=given.generator)
    cos_f, sin_f = (f @ t.T).cos().mean(0), (f @ t.T).sin().mean(0)
    cos_g, sin_g = (g @ t.T).cos().mean(0), (g @ t.T).sin().mean(0)
    length_f, length_g = (cos_f**2 + sin_f**2).sqrt(), (cos_g**2 + sin_g**2).sqrt()
    amplitude = (length_f - length_g) ** 2
    phase = 2 * (length_f * length_g - cos_f * cos_g - sin_f * sin_g)
    a = config.amplitude
    return 300 * (a * amplitude + (1 - a) * phase.clamp(min=1e-12)).sqrt().mean()


def _pair(given: Given, config: NCFMConfig) -> tuple[Network, Network]:
    """A network as it was drawn, and after its training on the real images."""
    recipe, initial = config.pairs, given.network()
    trained = copy.deepcopy(initial)
    optimizer = torch.optim.SGD(
        trained.parameters(), recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    milestones = [2 * recipe.epochs // 3, 5 * recipe.epochs // 6]
    falling = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, gamma=0.2)
    without_cutout = tuple(operation for operation in given.strategy if operation != "cutout")
    for _ in range(recipe.epochs):
        for rows in torch.randperm(len(given.images), generator=given.generator).split(recipe.batch_size):
            drawn = draw_stacked(without_cutout, len(rows), given.dataset.shape, given.generator)
            images = apply(drawn, given.images[rows])
            images, labels = cutmix(
                images, given.labels[rows], given.classes, given.generator, probability=recipe.cutmix
            )
            _descend(optimizer, F.cross_entropy(trained(images), labels))
        falling.step()
    return initial.requires_grad_(False), trained.requires_grad_(False)


@torch.no_grad()
def _mix(between: Network, initial: Network, trained: Network, share: float) -> None:
    sides: Sequence[Network] = (between, initial, trained)
    for mixed, first, last in zip(*(side.parameters() for side in sides), strict=True):
        mixed.copy_((1 - share) * first + share * last)


def _augmented(given: Given, images: Tensor) -> Tensor:
    """One transformation of the batch, of operations that are stacked."""
    return apply(draw_stacked(given.strategy, None, given.dataset.shape, given.generator), images)


def _start(given: Given, label: int) -> Tensor:
    """Mosaics of random real images of a class, in pixel values."""
    ipc = given.spec.ipc
    return mosaics(given.pixels(given.of_class(label, 4 * ipc)), ipc)


def _of_class(given: Given, stored: Tensor, label: int) -> Tensor:
    """The tiles of a class, in pixel values."""
    ipc = given.spec.ipc
    return tiles(stored[label * ipc : (label + 1) * ipc])


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> float:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()
