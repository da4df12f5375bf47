"""Which units the pixels of a file are in: decided by their range where only one is possible, asked for otherwise."""

from __future__ import annotations

from torch import Tensor

from ddcore.data.dataset import Dataset
from ddcore.errors import DataError
from ddcore.spec.scoring import Values

BYTE = 255


def values_of(images: Tensor, asked: Values | None) -> Values:
    """The units of images.

    Whole numbers from 0 to 255 are bytes, unless all are 0 and 1. Other numbers are units where all lie from 0 to 1:
    normalised ones have both signs. Anything else may be either, since learned pixels leave the range of real ones.

    Args:
        images: any numbers.
        asked: what the user says.

    Raises:
        DataError: a value is NaN, infinite or impossible in these units, or the units cannot be told.

    >>> values_of(Tensor([[0.0, 0.5]]), None), values_of(Tensor([[0, 255]]), None)
    ('unit', 'byte')
    """
    _check_finite(images)
    low, high = images.min().item(), images.max().item()
    seen = f"values from {low:g} to {high:g} ({str(images.dtype).removeprefix('torch.')})"
    whole = not images.is_floating_point()
    if whole and not 0 <= low <= high <= BYTE:
        raise DataError(f"the images have {seen}; whole numbers run from 0 to {BYTE}, so store floating-point values")
    only = _by_range(images, low, high)
    if only is not None and asked not in (None, only):
        raise DataError(f"the images have {seen}, which cannot be '{asked}' (--values); use --values {only}")
    if only is not None or asked is not None:
        return only or asked or "unit"
    raise DataError(
        f"the images have {seen}, which does not tell the units of their pixels; say them: --values unit (0 to 1 "
        f"nominally), --values byte (0 to {BYTE}) or --values normalised (as networks are trained on them)"
    )


def _by_range(images: Tensor, low: float, high: float) -> Values | None:
    """The only units that values can be in, if there is one."""
    numbers = not images.is_floating_point()
    if high > 1 and (numbers or (low >= 0 and high <= BYTE and bool((images == images.round()).all()))):
        return "byte"
    return "unit" if not numbers and low >= 0 and high <= 1 else None


def to_pixels(images: Tensor, values: Values, dataset: Dataset) -> Tensor:
    """Images in pixel units, float32 and never clamped.

    Args:
        images: (N, C, H, W) in units of ``values``.
        values: these units.
        dataset: by whose statistics, or whitening, normalised ones are undone.
    """
    if values == "normalised":
        return dataset.denormalize(images.float())
    return images.float() / BYTE if values == "byte" else images.float()


def _check_finite(images: Tensor) -> None:
    odd = (~images.flatten(1).isfinite()).any(dim=1).nonzero().flatten()
    if len(odd):
        raise DataError(
            f"image {int(odd[0])} holds NaN or infinite values ({len(odd)} of {len(images)} images do); pixels are "
            "finite numbers, so replace them"
        )
