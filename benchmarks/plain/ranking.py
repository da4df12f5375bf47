"""How a trained network ranks real images, and the random crops of them that RDED and its heirs rank."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.plain.given import Given
from ddcore.nets import Network


def losses(teacher: Network, images: Tensor, label: int) -> Tensor:
    """Cross-entropy (n,) of a trained network with the class of images (n, C, H, W): the lower, the surer it is."""
    with torch.no_grad():
        logits = teacher(images)
    return F.cross_entropy(logits, torch.full((len(images),), label), reduction="none")


def cropped(given: Given, image: Tensor, size: tuple[int, int], smallest: float) -> Tensor:
    """A random crop of an image (1, C, H, W) at a size: area uniform from ``smallest`` to all, place uniform."""
    height, width = image.shape[2:]
    area, down, right = torch.rand(3, generator=given.generator).tolist()
    side = (smallest + area * (1 - smallest)) ** 0.5
    tall, wide = max(1, round(side * height)), max(1, round(side * width))
    top, left = int(down * (height - tall + 1)), int(right * (width - wide + 1))
    part = image[:, :, top : top + tall, left : left + wide]
    return F.interpolate(part, size, mode="bilinear", align_corners=False, antialias=True)
