"""Differentiable Siamese augmentation (Zhao & Bilen, ICML 2021, arXiv 2102.08259).

Operations and their ranges are those of ``DiffAugment`` and ``ParamDiffAug`` in utils.py of
github.com/VICO-UoE/DatasetCondensation.

A transformation is drawn first and applied afterwards, so that the very same one can be applied to
several batches of different sizes: to real and synthetic images alike. One operation is chosen for a
whole batch, or several are stacked as IDC has it; parameters are either shared by the batch (*Siamese*, for
matching) or drawn for every image (for training networks). Gradients flow through every operation to the pixels.

Images are (N, C, H, W) in normalised units, float32 or bfloat16, on any device. Zero, the mean of the
dataset in these units, fills what an operation uncovers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ddcore.spec.augmentation import AUGMENTATIONS

Strategy = tuple[str, ...]
"""Operations that a draw chooses from, with equal probability; empty for no augmentation."""

CROP_RATIO = 0.125
"""Largest shift of ``crop``, as a share of the side."""
CUTOUT_RATIO = 0.5
"""Side of the square that ``cutout`` erases, as a share of the side."""
SCALE_RATIO = 1.2
"""``scale`` zooms by factors from 1 / 1.2 to 1.2."""
ROTATE_DEGREES = 15.0
"""``rotate`` turns by up to so many degrees either way."""

_SMALL_GROUP = 32
"""Below so many images a class, :func:`apply_by_class` joins the classes that drew the same operations."""

_STACKED_FIRST, _STACKED_LAST = ("flip", "color"), ("cutout",)
"""What :func:`draw_stacked` always applies, before and after the one that it chooses."""


@dataclass(frozen=True, eq=False)
class Draw:
    """One drawn transformation.

    Attributes:
        operation: a name of :data:`ddcore.spec.AUGMENTATIONS`, or ``None`` to leave the images alone.
        parameters: of the operation, each of shape (1,) where the batch shares it or (N,) with one
            value an image; uniform numbers in [0, 1), but whole pixels for ``crop`` and ``cutout``.
        then: what is applied to the result, drawn for as many images; ``None`` for nothing.
    """

    operation: str | None
    parameters: tuple[Tensor, ...] = ()
    then: Draw | None = None

    @property
    def operations(self) -> tuple[str | None, ...]:
        """Names of all operations in the order in which they are applied."""
        return (self.operation, *(self.then.operations if self.then else ()))


def strategy_for(name: str, flip: bool) -> Strategy:
    """The operations that a specification asks for.

    Args:
        name: ``auto`` (all operations), ``none``, or names joined by ``_``.
        flip: whether a mirrored image keeps its class; ``auto`` leaves ``flip`` out where it does not.

    >>> strategy_for("auto", flip=False)
    ('color', 'crop', 'cutout', 'scale', 'rotate')
    >>> strategy_for("crop_flip", flip=False), strategy_for("none", flip=True)
    (('crop', 'flip'), ())
    """
    if name == "none":
        return ()
    if name == "auto":
        return tuple(op for op in AUGMENTATIONS if flip or op != "flip")
    strategy = tuple(name.split("_"))
    for operation in strategy:
        if operation not in _OPERATIONS:
            raise ValueError(f"unknown augmentation '{operation}'; known: {', '.join(_OPERATIONS)}")
    return strategy


def draw(strategy: Strategy, n: int | None, shape: Sequence[int], generator: Generator) -> Draw:
    """Choose one operation and its parameters.

    Args:
        strategy: operations to choose from; nothing is drawn from the generator when it is empty.
        n: number of images that get a parameter each, or ``None`` for one parameter shared by all.
        shape: (..., H, W) of the images; it bounds the shifts of ``crop`` and the place of ``cutout``.
        generator: CPU generator; the operation is chosen on the host, so that nothing waits for a device.

    Returns:
        Parameters on the CPU; :func:`apply` moves them to the images.
    """
    if not strategy:
        return Draw(None)
    operation = strategy[int(torch.randint(len(strategy), (), generator=generator))]
    return Draw(operation, _OPERATIONS[operation].draw(1 if n is None else n, shape[-2:], generator))


def draw_stacked(strategy: Strategy, n: int | None, shape: Sequence[int], generator: Generator) -> Draw:
    """Stack operations as IDC does (Kim et al., ICML 2022, arXiv 2205.14959; ``DiffAug`` in its released code).

    Of the operations listed, ``flip`` and then ``color`` are always applied, then one chosen from those that are
    neither first nor last, and then always ``cutout``; their order in the strategy does not matter.

    Args:
        strategy: operations to apply or to choose from; nothing is drawn from the generator when it is empty.
        n: as in :func:`draw`, like all that follow.
        shape: (..., H, W) of the images.
        generator: CPU generator.

    >>> draw_stacked(("cutout", "crop", "color", "flip"), None, (3, 8, 8), Generator()).operations
    ('flip', 'color', 'crop', 'cutout')
    """
    between = tuple(op for op in strategy if op not in (*_STACKED_FIRST, *_STACKED_LAST))
    parts = [draw((op,), n, shape, generator) for op in _STACKED_FIRST if op in strategy]
    parts += [draw(between, n, shape, generator)] if between else []
    parts += [draw((op,), n, shape, generator) for op in _STACKED_LAST if op in strategy]
    stack = None
    for part in reversed(parts):
        stack = replace(part, then=stack)
    return stack or Draw(None)


def apply(drawn: Draw, x: Tensor) -> Tensor:
    """Apply a drawn transformation to a batch.

    Args:
        drawn: from :func:`draw` or :func:`draw_stacked`, for as many images as ``x`` has or shared.
        x: floating-point (N, C, H, W) in normalised units.

    Returns:
        Same shape and dtype, differentiable in ``x``.
    """
    if drawn.operation is None:
        return x
    parameters = (p.to(x.device, non_blocking=True) for p in drawn.parameters)
    transformed = _OPERATIONS[drawn.operation].apply(x, *parameters)
    return transformed if drawn.then is None else apply(drawn.then, transformed)


def apply_by_class(draws: Sequence[Draw], x: Tensor, counts: Sequence[int]) -> Tensor:
    """Apply one shared draw to each class of a class-major batch.

    Args:
        draws: one shared draw a class; classes may have drawn different operations.
        x: floating-point (sum of counts, C, H, W), class after class.
        counts: number of images of each class.

    Returns:
        What concatenating ``apply(draws[c], x_c)`` over the classes would give. Where classes are
        small, those that drew the same operations are transformed together.
    """
    if len(draws) != len(counts) or sum(counts) != len(x):
        raise ValueError(f"{len(draws)} draws and {len(counts)} counts of {sum(counts)} images for {len(x)} images")
    slices = torch.split(x, list(counts))
    if len(x) >= _SMALL_GROUP * len(counts):
        return torch.cat([apply(drawn, part) for drawn, part in zip(draws, slices, strict=True)])
    pieces: list[Tensor] = list(slices)
    for operations in dict.fromkeys(drawn.operations for drawn in draws):
        members = [c for c, drawn in enumerate(draws) if drawn.operations == operations]
        sizes = [counts[c] for c in members]
        together = _join([draws[c] for c in members], sizes)
        transformed = apply(together, torch.cat([slices[c] for c in members]))
        for c, piece in zip(members, torch.split(transformed, sizes), strict=True):
            pieces[c] = piece
    return torch.cat(pieces)


def _join(draws: Sequence[Draw], counts: Sequence[int]) -> Draw:
    """Several shared draws of the same operations as one draw with parameters for every image."""
    repeats = torch.tensor(counts)
    parameters = zip(*(drawn.parameters for drawn in draws), strict=True)
    rest = [drawn.then for drawn in draws if drawn.then]
    return Draw(
        draws[0].operation,
        tuple(torch.cat(p).repeat_interleave(repeats) for p in parameters),
        _join(rest, counts) if rest else None,
    )


def brightness(x: Tensor, u: Tensor) -> Tensor:
    """Add u - 0.5 normalised units; ``u`` is (1,) or (N,) in [0, 1)."""
    return x + _per_image(u - 0.5, x)


def saturation(x: Tensor, u: Tensor) -> Tensor:
    """Stretch x to m + (x - m) 2u about the mean m over the channels of each pixel, by 0 to 2."""
    grey = x.mean(dim=1, keepdim=True)
    return grey + (x - grey) * _per_image(2 * u, x)


def contrast(x: Tensor, u: Tensor) -> Tensor:
    """Stretch x to m + (x - m) (u + 0.5) about the mean m of each image, by 0.5 to 1.5."""
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (x - mean) * _per_image(u + 0.5, x)


def color(x: Tensor, u_brightness: Tensor, u_saturation: Tensor, u_contrast: Tensor) -> Tensor:
    """:func:`brightness`, then :func:`saturation`, then :func:`contrast`.

    The three are affine and none but the first moves the mean of the image, so their composition is
    x s k + m s' k + (M + b) (1 - k) + b k, with the pixel mean m, the image mean M, the factors s, k,
    s' = 1 - s and the shift b: one pass over the pixels instead of five.
    """
    grey = x.mean(dim=1, keepdim=True)
    mean = grey.mean(dim=(2, 3), keepdim=True)
    shift, factor, gain = u_brightness - 0.5, 2 * u_saturation, u_contrast + 0.5
    flat = grey * _per_image((1 - factor) * gain, x) + (mean * _per_image(1 - gain, x) + _per_image(shift, x))
    return torch.addcmul(flat, x, _per_image(factor * gain, x))


def crop(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """y[i, j] = x[i + rows, j + columns], zero outside: a shift by whole pixels.

    Args:
        x: (N, C, H, W).
        rows: int64 (1,) or (N,), upwards.
        columns: int64 (1,) or (N,), to the left.
    """
    height, width = x.shape[-2:]
    row, row_inside = _shifted(height, rows)
    column, column_inside = _shifted(width, columns)
    source = (row.unsqueeze(2) * width + column.unsqueeze(1)).view(-1, 1, height * width)
    moved = x.flatten(2).gather(2, source.expand(len(x), x.shape[1], -1)).view(x.shape)
    return moved * (row_inside.unsqueeze(2) & column_inside.unsqueeze(1)).unsqueeze(1)


def cutout(x: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Erase a square of half the side around a centre, clipped at the border.

    Args:
        x: (N, C, H, W).
        row: int64 (1,) or (N,), the centre's row: 0 to H for an even side of the square, to H - 1 for an odd one.
        column: likewise, for the width.
    """
    height, width = x.shape[-2:]
    erased = _covered(height, row).unsqueeze(2) & _covered(width, column).unsqueeze(1)
    return x.masked_fill(erased.unsqueeze(1), 0)


def flip(x: Tensor, u: Tensor) -> Tensor:
    """Mirror horizontally where u < 0.5."""
    return torch.where(_per_image(u, x, torch.float32) < 0.5, x.flip(3), x)


def scale(x: Tensor, u_horizontal: Tensor, u_vertical: Tensor) -> Tensor:
    """Resample on a grid stretched by u (1.2 - 1/1.2) + 1/1.2 in each direction; above 1 the content shrinks."""
    low = 1 / SCALE_RATIO
    horizontal, vertical = (u * (SCALE_RATIO - low) + low for u in (u_horizontal, u_vertical))
    zero = torch.zeros_like(horizontal)
    return _affine(x, (horizontal, zero, zero, vertical))


def rotate(x: Tensor, u: Tensor) -> Tensor:
    """Resample on a grid turned by (2u - 1) 15 degrees."""
    angle = (2 * u - 1) * math.radians(ROTATE_DEGREES)
    cos, sin = torch.cos(angle), torch.sin(angle)
    return _affine(x, (cos, -sin, sin, cos))


def _per_image(values: Tensor, x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """(1,) or (N,) values shaped to multiply images, in the dtype of the images unless said."""
    return values.to(dtype or x.dtype).view(-1, 1, 1, 1)


def _shifted(side: int, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Source index of every pixel along one side, clamped, and whether it lay inside: both (1 or N, side)."""
    source = torch.arange(side, device=offsets.device) + offsets.unsqueeze(1)
    return source.clamp(0, side - 1), (source >= 0) & (source < side)


def _covered(side: int, centre: Tensor) -> Tensor:
    """Whether each pixel along one side lies under the cutout square: (1 or N, side)."""
    size = _cutout_size(side)
    first = (centre - size // 2).unsqueeze(1)
    pixel = torch.arange(side, device=centre.device)
    return (pixel >= first) & (pixel < first + size)


def _affine(x: Tensor, matrix: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
    """Bilinear resampling on the grid of a 2x2 matrix (row-major, entries (1,) or (N,)), zero outside."""
    a, b, c, d = matrix
    zero = torch.zeros_like(a)
    theta = torch.stack([a, b, zero, c, d, zero], dim=1).view(-1, 2, 3)
    height, width = x.shape[-2:]
    grid = F.affine_grid(theta, [len(theta), 1, height, width], align_corners=False).expand(len(x), -1, -1, -1)
    # Coordinates need float32, and the kernel is an order of magnitude slower on channels-last images.
    images = x.to(torch.float32).contiguous()
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False).to(x.dtype)


def _cutout_size(side: int) -> int:
    return int(CUTOUT_RATIO * side + 0.5)


def _shifts(side: int) -> range:
    reach = int(CROP_RATIO * side + 0.5)
    return range(-reach, reach + 1)


def _centres(side: int) -> range:
    return range(side + 1 - _cutout_size(side) % 2)


@dataclass(frozen=True)
class _Operation:
    """A function of images and parameters, and how the parameters are drawn.

    Attributes:
        apply: the function.
        uniform: how many parameters are uniform in [0, 1).
        pixels: given a side, the whole numbers that the parameter of that side is drawn from; an
            operation has such a parameter for the height and one for the width, or none.
    """

    apply: Callable[..., Tensor]
    uniform: int = 0
    pixels: Callable[[int], range] | None = None

    def draw(self, n: int, sides: Sequence[int], generator: Generator) -> tuple[Tensor, ...]:
        device = generator.device
        if self.pixels is None:
            return tuple(torch.rand(n, generator=generator, device=device) for _ in range(self.uniform))
        ranges = [self.pixels(side) for side in sides]
        return tuple(torch.randint(r.start, r.stop, (n,), generator=generator, device=device) for r in ranges)


_OPERATIONS: Mapping[str, _Operation] = {
    "color": _Operation(color, uniform=3),
    "crop": _Operation(crop, pixels=_shifts),
    "cutout": _Operation(cutout, pixels=_centres),
    "flip": _Operation(flip, uniform=1),
    "scale": _Operation(scale, uniform=2),
    "rotate": _Operation(rotate, uniform=1),
}
