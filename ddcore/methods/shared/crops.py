"""Random crops of real images."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


def random_crops(images: Tensor, size: tuple[int, int], smallest: float, generator: Generator) -> Tensor:
    """A crop of each image, with the proportions of the image: its area uniform, its place uniform.

    Args:
        images: (n, C, H, W) floating point.
        size: (height, width) of the crops, which are shrunk or enlarged to it (bilinear, with a low-pass filter).
        smallest: least share of the area, above 0 to 1.
        generator: on the CPU.

    Returns:
        (n, C, *size), same dtype.
    """
    height, width = images.shape[2:]
    drawn = torch.rand(len(images), 3, generator=generator, dtype=torch.float64).tolist()
    crops = []
    for image, (area, down, right) in zip(images, drawn, strict=True):
        side = math.sqrt(smallest + area * (1 - smallest))
        tall, wide = max(1, round(side * height)), max(1, round(side * width))
        top, left = int(down * (height - tall + 1)), int(right * (width - wide + 1))
        part = image[None, :, top : top + tall, left : left + wide]
        crops.append(F.interpolate(part, size, mode="bilinear", align_corners=False, antialias=True))
    return torch.cat(crops)
