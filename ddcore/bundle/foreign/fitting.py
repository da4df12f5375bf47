"""Images and labels of a file, held against the dataset that they stand for."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ddcore.bundle.foreign.found import Found
from ddcore.bundle.foreign.labels import labels_of
from ddcore.bundle.foreign.likeness import Likeness
from ddcore.bundle.foreign.plain import plain
from ddcore.errors import DataError

MOST_PER_CLASS = 10_000
"""As of a job (`ipc`)."""
MOST_BYTES = 8 * 1024**3
"""Of all images as float32."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """Images and labels that fit a dataset.

    Attributes:
        images: (N, C, H, W) as they are stored.
        labels: int64 (N,).
        soft_labels: float32 (N, classes) probabilities, where there are any.
        ipc: images of each class.
        remarks: how labels and axes were understood.
    """

    images: Tensor
    labels: Tensor
    soft_labels: Tensor | None
    ipc: int
    remarks: tuple[str, ...]


def fitted(found: Found, dataset: Likeness) -> Fitted:
    """Find the axes of images and the classes of labels.

    Raises:
        DataError: the shape, the number of images, a label or the number of classes is not that of the dataset, or
            classes have different numbers of images.
    """
    images, axes = _images(found.images, dataset)
    count = len(images)
    labels, soft_labels, remarks = labels_of(found, count, dataset)
    ipc = _each(labels, dataset)
    return Fitted(images, labels, soft_labels, ipc, (*found.remarks, *axes, *remarks))


def _images(images: Tensor, dataset: Likeness) -> tuple[Tensor, tuple[str, ...]]:
    """Images as (N, C, H, W), without a copy."""
    images = plain(images, "images")
    channels, height, width = dataset.shape
    shape = tuple(images.shape)
    remarks: tuple[str, ...] = ()
    if channels == 1 and shape[1:] == (height, width):
        images = images[:, None]
    elif shape[1:] == (height, width, channels) != dataset.shape:
        images, remarks = images.permute(0, 3, 1, 2), ("the channels are the last axis",)
    elif shape[1:] != dataset.shape:
        raise DataError(
            f"the images have the shape {shape}, but those of {dataset.name} are (N, {channels}, {height}, {width}), "
            f"or with the channels last (N, {height}, {width}, {channels}); store them so, or name another dataset"
        )
    most = min(MOST_PER_CLASS * len(dataset.classes), MOST_BYTES // (4 * channels * height * width))
    if not 1 <= len(images) <= most:
        raise DataError(f"there are {len(images):,} images; 1 to {most:,} can be scored on {dataset.name}")
    return images, remarks


def _each(labels: Tensor, dataset: Likeness) -> int:
    """Images of each class.

    Raises:
        DataError: classes have different numbers of them, or more than there are real ones.
    """
    counts: list[int] = labels.bincount(minlength=len(dataset.classes)).tolist()
    fewest, most = min(counts), max(counts)
    if fewest != most:
        less, more = (f"'{dataset.classes[counts.index(number)]}' has {number}" for number in (fewest, most))
        raise DataError(
            f"classes have different numbers of images ({less}, {more}); the real images that the set is compared with "
            "are as many of each class, so keep the same number of each"
        )
    smallest = min(dataset.class_counts)
    if most > smallest:
        raise DataError(
            f"there are {most} images of each class, but the smallest class of {dataset.name} has {smallest} training "
            f"images to compare them with; keep 1 to {smallest}"
        )
    return most
