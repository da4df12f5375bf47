"""SRe2L and FADRM, after recover.py of github.com/VILA-Lab/SRe2L and of github.com/Jiacheng8/FADRM.

Yin, Xing & Shen, NeurIPS 2023 (arXiv 2306.13092); Cui et al., NeurIPS 2025 (arXiv 2506.24125).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.plain.given import Given, Made
from benchmarks.plain.ranking import cropped, losses
from benchmarks.plain.teachers import teacher_of
from ddcore.augment.resized_crop import ResizedCrop
from ddcore.nets import Network
from ddcore.spec import FADRMConfig, SRe2LConfig


class Statistics:
    """Hooks a normalisation, and keeps how far its input is from the real images in mean and variance.

    Args:
        layer: with running statistics.
    """

    def __init__(self, layer: nn.BatchNorm2d) -> None:
        self.distance = torch.zeros(())
        layer.register_forward_hook(self._look)

    def _look(self, layer: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        assert isinstance(layer, nn.BatchNorm2d)
        assert layer.running_mean is not None
        assert layer.running_var is not None
        (maps,) = inputs
        mean, variance = maps.mean([0, 2, 3]), maps.var([0, 2, 3], unbiased=False)
        self.distance = (layer.running_var - variance).norm() + (layer.running_mean - mean).norm()


def sre2l(given: Given) -> Made:
    """From noise, one image of each class at a time."""
    config = given.spec.method
    assert isinstance(config, SRe2LConfig)
    teacher = teacher_of(given, config.teacher)
    statistics = _hooked(teacher)
    shape = (given.classes, *given.dataset.shape)
    batches = [torch.randn(shape, generator=given.generator) for _ in range(given.spec.ipc)]
    for images in batches:
        _recover(given, config, teacher, statistics, images, range(config.iterations))
    return _made(batches, teacher)


def fadrm(given: Given) -> Made:
    """From crops, in rounds with an optimiser of their own; half of the crop comes back after all but the last."""
    config = given.spec.method
    assert isinstance(config, FADRMConfig)
    teacher = teacher_of(given, config.teacher)
    statistics = _hooked(teacher)
    of_class = [_crops(given, config, teacher, label) for label in range(given.classes)]
    batches, steps = [], config.iterations // config.rounds
    for number in range(given.spec.ipc):
        patch = torch.stack([crops[number] for crops in of_class])
        images = patch.clone()
        for first in range(0, config.iterations, steps):
            _recover(given, config, teacher, statistics, images, range(first, first + steps))
            if first + steps < config.iterations:
                images = (1 - config.residual) * images + config.residual * patch
        batches.append(images)
    return _made(batches, teacher)


def _recover(
    given: Given,
    config: SRe2LConfig | FADRMConfig,
    teacher: Network,
    statistics: list[Statistics],
    images: Tensor,
    steps: range,
) -> None:
    """Change a batch (classes, C, H, W) in place, by some of all the steps along which the rate falls to zero."""
    lowest, highest = (given.normalised(torch.full((1, given.dataset.shape[0], 1, 1), end)) for end in (0.0, 1.0))
    labels = torch.arange(given.classes)
    images.requires_grad_()
    optimizer = torch.optim.Adam([images], config.lr_img, betas=(0.5, 0.9), eps=1e-8)
    for step in steps:
        optimizer.param_groups[0]["lr"] = config.lr_img * (1 + math.cos(math.pi * step / config.iterations)) / 2
        view = ResizedCrop.draw(
            given.dataset.shape, config.smallest, config.shift, given.generator, flip=given.dataset.flip
        )
        loss = F.cross_entropy(teacher(view(images)), labels)
        weights = [config.first_layer] + [1.0] * (len(statistics) - 1)
        unlike = sum(weight * layer.distance for weight, layer in zip(weights, statistics, strict=True))
        optimizer.zero_grad()
        (loss + config.statistics_weight * unlike).backward()
        optimizer.step()
        with torch.no_grad():
            images.copy_(images.maximum(lowest).minimum(highest))
    images.requires_grad_(False)


def _crops(given: Given, config: FADRMConfig, teacher: Network, label: int) -> Tensor:
    """Of one crop of each candidate, those that the teacher is neither surest nor least sure of."""
    _, height, width = given.dataset.shape
    images = given.of_class(label, config.candidates)
    crops = torch.cat([cropped(given, image[None], (height, width), config.smallest) for image in images])
    first = (len(crops) - given.spec.ipc) // 2
    return crops[losses(teacher, crops, label).argsort()[first : first + given.spec.ipc]]


def _hooked(teacher: Network) -> list[Statistics]:
    return [Statistics(layer) for layer in teacher.modules() if isinstance(layer, nn.BatchNorm2d)]


def _made(batches: list[Tensor], teacher: Network) -> Made:
    """From batches of one image of each class to images class after class."""
    return Made(torch.stack(batches, dim=1).flatten(0, 1), teacher=teacher)
