"""Ways of augmenting a batch that a network is trained on: each image sees parameters of its own.

A network in training needs no gradient to the pixels, so operations that have none are welcome here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Generator, Tensor

from ddcore.augment.dc import per_image
from ddcore.augment.dc_bench import eight_bit
from ddcore.augment.resized_crop import ResizedCrops
from ddcore.augment.siamese import Strategy, apply, draw, draw_stacked, strategy_for
from ddcore.data.dataset import Dataset
from ddcore.spec import AUGMENTERS, EvaluationConfig

SMALLEST = 0.08
"""Least area of a resized crop, as a share of the image."""

Augmenter = Callable[[Tensor, Strategy, Generator], Tensor]
"""Transforms normalised images (N, C, H, W) by some operations, with a CPU generator; none for no operations."""


def siamese(images: Tensor, strategy: Strategy, generator: Generator) -> Tensor:
    """One operation for the batch, with parameters for every image: see :func:`ddcore.augment.siamese.draw`."""
    return apply(draw(strategy, len(images), images.shape, generator), images)


def stacked(images: Tensor, strategy: Strategy, generator: Generator) -> Tensor:
    """Several operations, with parameters for every image: see :func:`ddcore.augment.siamese.draw_stacked`."""
    return apply(draw_stacked(strategy, len(images), images.shape, generator), images)


def resized_crop(images: Tensor, strategy: Strategy, generator: Generator) -> Tensor:
    """A random part of each image at full size, mirrored half of the time: ``crop``, ``flip`` or both.

    As ``RandomResizedCrop`` and ``RandomHorizontalFlip`` of torchvision, see :class:`ddcore.augment.ResizedCrops`.
    """
    if not strategy:
        return images
    smallest = SMALLEST if "crop" in strategy else 1.0
    crops = ResizedCrops.draw(len(images), images.shape, smallest, generator, flip="flip" in strategy)
    if "crop" not in strategy:
        return torch.where(crops.mirrored.to(images.device).view(-1, 1, 1, 1), images.flip(3), images)
    return crops(images)


def augmenter_of(config: EvaluationConfig, dataset: Dataset) -> Augmenter:
    """The way of augmenting that an evaluation asks for, on images of a dataset."""
    if config.augmenter == "eight_bit":
        return partial(eight_bit, dataset)
    ways = {"siamese": siamese, "stacked": stacked, "per_image": per_image, "resized_crop": resized_crop}
    return ways[config.augmenter]


def strategy_of(config: EvaluationConfig, job: str, flip: bool) -> Strategy:
    """The operations that an evaluation asks for.

    Args:
        config: may name them, or leave them to the job.
        job: the augmentation of the job.
        flip: whether a mirrored image keeps its class.

    Returns:
        Names of operations; ``cutout`` is left out where CutMix takes its place, unless the evaluation lists it.

    >>> config = EvaluationConfig(protocol="idc")
    >>> strategy_of(config, "none", flip=False)
    ('color', 'crop', 'scale', 'rotate')
    """
    asked = config.augmentation or job
    if config.augmenter == "resized_crop" and asked == "auto":
        return tuple(operation for operation in AUGMENTERS["resized_crop"] if flip or operation != "flip")
    if config.augmenter not in ("siamese", "stacked"):
        return () if asked == "none" else tuple(asked.split("_"))
    strategy = strategy_for(asked, flip)
    if config.cutmix > 0 and config.augmentation in (None, "auto"):
        return tuple(operation for operation in strategy if operation != "cutout")
    return strategy
