"""DC-bench's augmentations: those of torchvision on 8-bit pixels, with one draw for a whole batch.

Cui et al., "DC-BENCH: Dataset Condensation Benchmark", NeurIPS 2022 (arXiv 2207.09639), and
``custom_aug`` in evaluator/evaluator_utils.py of github.com/justincui03/dc_benchmark. The batch
leaves its normalised units, is clamped to what 8 bits hold, transformed as one picture would be, and normalised again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor

from ddcore.augment import siamese
from ddcore.augment.siamese import Strategy
from ddcore.data.dataset import Dataset

PAD = 4
"""Black pixels by which ``crop`` pads every side."""
JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.2}
_LARGE = 64
"""From this side on, AutoAugment follows the policy learned on ImageNet; below, the one learned on CIFAR-10."""


def eight_bit(dataset: Dataset, images: Tensor, operations: Strategy, generator: Generator) -> Tensor:
    """Apply operations to 8-bit forms of the images, one after the other, each with one draw for the batch.

    Args:
        dataset: whose units the images are in.
        images: float (N, C, H, W) in normalised units, on any device.
        operations: of ``autoaugment`` (the policy of CIFAR-10, or ImageNet's from 64 pixels on), ``randaugment`` (one
            operation of magnitude 9), ``crop`` (padded by 4), ``flip``, ``jitter``, and ``cutout``, which comes last
            and erases a square of half the side in normalised units.
        generator: on the CPU; decides on everything.

    Returns:
        float32 (N, C, H, W), without a gradient to the images; as they are when there are no operations.
    """
    if not operations:
        return images
    # truncated, as published
    pixels = (dataset.denormalize(images.detach()).clamp(0, 1) * 255).to(torch.uint8)
    seed = int(torch.randint(2**62, (), generator=generator))
    # torchvision draws from the global generator of the CPU, whatever the device.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        for operation in operations:
            if operation != "cutout":
                pixels = _transform(operation, dataset.shape)(pixels)
    augmented = dataset.normalize(pixels)
    if "cutout" in operations:
        centre = (torch.randint(side, (1,), generator=generator) for side in dataset.shape[1:])
        augmented = siamese.cutout(augmented, *(place.to(augmented.device) for place in centre))
    return augmented


def _transform(operation: str, shape: tuple[int, int, int]) -> Any:
    from torchvision.transforms import v2  # takes seconds to import

    if operation == "autoaugment":
        large = max(shape) >= _LARGE
        return v2.AutoAugment(v2.AutoAugmentPolicy.IMAGENET if large else v2.AutoAugmentPolicy.CIFAR10)
    if operation == "randaugment":
        return v2.RandAugment(num_ops=1)
    if operation == "crop":
        return v2.RandomCrop(shape[1:], padding=PAD)
    return v2.RandomHorizontalFlip() if operation == "flip" else v2.ColorJitter(**JITTER)
