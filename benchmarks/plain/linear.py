"""Linear gradient matching, after distill.py and synsets/ of github.com/GeorgeCazenavette/linear-gradient-matching.

Cazenavette, Torralba & Sitzmann, NeurIPS 2025 (arXiv 2511.16674).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.plain.given import Given, Made
from benchmarks.plain.teachers import teacher_of
from ddcore.augment.resized_crop import ResizedCrops
from ddcore.spec import LinearGradientConfig


def linear_gradient(given: Given) -> Made:
    """Match the gradient of a random linear classifier, on images that are sums of levels from coarse to fine."""
    config = given.spec.method
    assert isinstance(config, LinearGradientConfig)
    network = teacher_of(given, config.teacher)
    labels = torch.arange(given.classes).repeat_interleave(given.spec.ipc)
    levels = [_level(given, len(labels), 1)]
    optimizer = torch.optim.Adam(levels, config.lr_img)
    for step in range(config.iterations):
        if step and step % config.grow_every == 0 and levels[-1].shape[2] < _side(given):
            levels = _grown(given, levels)
            optimizer = torch.optim.Adam(levels, config.lr_img)
        head = torch.nn.Linear(network.classifier.in_features, given.classes)
        torch.nn.init.normal_(head.weight, std=config.head_std, generator=given.generator)
        torch.nn.init.zeros_(head.bias)
        rows = torch.randperm(len(given.images), generator=given.generator)[: config.views * len(labels)]
        with torch.no_grad():
            real = network.features(_view(given, config, given.images[rows]))
        views = _view(given, config, _images(given, levels).repeat_interleave(config.views, dim=0))
        target = _gradient(head, real, given.labels[rows])
        own = _gradient(head, network.features(views), labels.repeat_interleave(config.views))
        optimizer.zero_grad()
        (1 - F.cosine_similarity(own, target.detach(), dim=0)).backward()
        optimizer.step()
    with torch.no_grad():
        return Made(_images(given, levels), teacher=network)


def _gradient(head: torch.nn.Linear, features: Tensor, labels: Tensor) -> Tensor:
    """Of the mean cross-entropy in all weights and biases, as one vector, with a graph to the features."""
    loss = F.cross_entropy(head(features), labels)
    slopes = torch.autograd.grad(loss, [head.weight, head.bias], create_graph=True)
    return torch.cat([slope.flatten() for slope in slopes])


def _side(given: Given) -> int:
    return max(given.dataset.shape[1:])


def _level(given: Given, count: int, side: int) -> Tensor:
    channels = given.dataset.shape[0]
    return torch.randn(count, channels, side, side, generator=given.generator).requires_grad_()


def _grown(given: Given, levels: list[Tensor]) -> list[Tensor]:
    """A level of twice the side joins; all shrink, so that their sum has the width of one."""
    known, last = len(levels), levels[-1]
    new = _level(given, len(last), min(2 * last.shape[2], _side(given)))
    kept = [(level.detach() * known / (known + 1)).requires_grad_() for level in levels]
    return [*kept, (new.detach() / (known + 1)).requires_grad_()]


def _images(given: Given, levels: list[Tensor]) -> Tensor:
    """sigmoid(2 sum), normalised. The colours of the source, which are those of three channels, are left out."""
    assert given.dataset.shape[0] == 1
    size = given.dataset.shape[1:]
    total = torch.stack([F.interpolate(level, size, mode="bilinear", align_corners=False) for level in levels]).sum(0)
    return given.normalised(torch.sigmoid(2 * total))


def _view(given: Given, config: LinearGradientConfig, images: Tensor) -> Tensor:
    """A random part of each image, enlarged, with noise of a deviation in pixel values."""
    crops = ResizedCrops.draw(len(images), images.shape, config.smallest, given.generator, flip=given.dataset.flip)
    noise = torch.randn(images.shape, generator=given.generator)
    return crops(images) + noise * config.noise / torch.tensor(given.dataset.std).view(1, -1, 1, 1)
