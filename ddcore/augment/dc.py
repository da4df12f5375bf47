"""DC's augmentation of training images: each image for itself undergoes one operation, which has no gradient.

Zhao, Mopuri & Bilen, "Dataset Condensation with Gradient Matching", ICLR 2021 (arXiv 2006.05929), and
``augment`` and ``get_daparam`` in utils.py of github.com/VICO-UoE/DatasetCondensation.
DC scores MNIST under crop, scale and rotate, and networks with batch normalisation under crop and noise.

Images are float (N, C, H, W) in normalised units, on any device; generators are on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import scipy
import torch
from torch import Generator, Tensor

from ddcore.augment.siamese import Strategy

PAD = 4
"""Pixels by which ``crop`` pads every side."""
SCALE = 0.2
"""``scale`` zooms each side by a factor from 1 - 0.2 to 1 + 0.2."""
DEGREES = 45
"""``rotate`` turns by whole degrees from -45 to 44."""
NOISE = 0.001
"""Standard deviation of ``noise``."""


def per_image(images: Tensor, operations: Strategy, generator: Generator) -> Tensor:
    """Apply to each image one of the operations, chosen with equal probability.

    Args:
        images: (N, C, H, W).
        operations: some of ``crop``, ``scale``, ``rotate``, ``noise``; nothing is drawn when there are none.
        generator: decides on operations and parameters.

    Returns:
        Same shape and dtype, without a gradient to the images.
    """
    if not operations:
        return images
    chosen = torch.randint(len(operations), (len(images),), generator=generator)
    mean = images.mean(dim=(0, 2, 3))
    augmented = images.detach().clone()
    for index, operation in enumerate(operations):
        rows = (chosen == index).nonzero().flatten()
        if len(rows):
            rows_there = rows.to(images.device)
            augmented[rows_there] = _OPERATIONS[operation](augmented[rows_there], mean, generator)
    return augmented


def crop(images: Tensor, mean: Tensor, generator: Generator) -> Tensor:
    """Pad each side by 4 pixels of the batch's mean colour, and cut out the old size from 0 to 7 pixels on."""
    count, channels, height, width = images.shape
    padded = mean.view(1, channels, 1, 1).repeat(count, 1, height + 2 * PAD, width + 2 * PAD)
    padded[:, :, PAD:-PAD, PAD:-PAD] = images
    rows, columns = (
        torch.randint(2 * PAD, (count, 1), generator=generator) + torch.arange(side) for side in (height, width)
    )
    return _picked(padded, rows, columns)


def scale(images: Tensor, mean: Tensor, generator: Generator) -> Tensor:  # noqa: ARG001 - like the others
    """Stretch height and width, each by a factor of its own; the nearest pixel counts, and zero is uncovered."""
    count, _, height, width = images.shape
    factors = 1 - SCALE + 2 * SCALE * torch.rand(2, count, dtype=torch.float64, generator=generator)
    sizes = [(factor * side).long() for factor, side in zip(factors, (height, width), strict=True)]
    canvas = torch.stack([*sizes, torch.full((count,), max(height, width))]).amax(dim=0)
    (rows, row_inside), (columns, column_inside) = (
        _stretched(side, size, canvas) for side, size in zip((height, width), sizes, strict=True)
    )
    inside = (row_inside.unsqueeze(2) & column_inside.unsqueeze(1)).unsqueeze(1)
    return _picked(images, rows, columns) * inside.to(images.device)


def rotate(images: Tensor, mean: Tensor, generator: Generator) -> Tensor:
    """Turn by whole degrees on cubic splines, and cut the middle out; the mean brightness fills what is uncovered."""
    height, width = images.shape[-2:]
    degrees = torch.randint(-DEGREES, DEGREES, (len(images),), generator=generator).tolist()
    turned = []
    for image, angle in zip(images.cpu().numpy(), degrees, strict=True):
        grown = scipy.ndimage.rotate(image, angle, axes=(-2, -1), cval=float(mean.mean()))
        top, left = (grown.shape[-2] - height) // 2, (grown.shape[-1] - width) // 2
        turned.append(torch.from_numpy(grown[:, top : top + height, left : left + width]))
    return torch.stack(turned).to(images)


def noise(images: Tensor, mean: Tensor, generator: Generator) -> Tensor:  # noqa: ARG001 - like the others
    """Add N(0, 0.001²) to every pixel."""
    return images + NOISE * torch.randn(images.shape, generator=generator).to(images)


def _stretched(side: int, size: Tensor, canvas: Tensor) -> tuple[Tensor, Tensor]:
    """Source of every pixel along one side, and whether it has any: both (N, side).

    The stretched image stands in the middle of a canvas, of whose middle the result is cut out.
    """
    offset = (canvas - side) // 2 - (canvas - size) // 2
    place = torch.arange(side) + offset.unsqueeze(1)
    inside = (place >= 0) & (place < size.unsqueeze(1))
    # The framework's nearest pixel: the product with a float32 ratio, rounded down.
    source = (place * (side / size).float().unsqueeze(1)).long()
    return source.clamp(0, side - 1), inside


def _picked(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """y[n, c, i, j] = x[n, c, rows[n, i], columns[n, j]]."""
    each = torch.arange(len(images)).view(-1, 1, 1)
    index = (tensor.to(images.device) for tensor in (each, rows.unsqueeze(2), columns.unsqueeze(1)))
    return images.permute(0, 2, 3, 1)[tuple(index)].permute(0, 3, 1, 2)


_OPERATIONS: Mapping[str, Callable[[Tensor, Tensor, Generator], Tensor]] = {
    "crop": crop,
    "scale": scale,
    "rotate": rotate,
    "noise": noise,
}
