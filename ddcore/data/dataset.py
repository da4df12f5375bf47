"""Labelled images in memory, and the two units their pixels are measured in.

*Pixel units* run from 0 to 1 (uint8 values divided by 255). *Normalised units* are pixel units less
the mean, divided by the standard deviation of their channel, or whitened; networks and methods work in these.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ddcore.spec.datasets import DATASETS, DatasetFacts

if TYPE_CHECKING:
    from ddcore.data.whitening import Whitening


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one split with their labels.

    Attributes:
        images: uint8 of shape (N, C, H, W).
        labels: int64 of shape (N,), each from 0 to ``len(classes) - 1``.
        classes: names of the classes, in the order of the labels.
        remarks: what the user should know of how they were read.

    Raises:
        ValueError: the tensors have another dtype or shape, or a label names no class.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise ValueError(f"images are uint8 (N, C, H, W), got {self.images.dtype} {tuple(self.images.shape)}")
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"labels are int64 ({len(self.images)},), got {self.labels.dtype} {tuple(self.labels.shape)}"
            )
        if len(self) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.classes):
            raise ValueError(
                f"labels run from 0 to {len(self.classes) - 1}, "
                f"got {int(self.labels.min())} to {int(self.labels.max())}"
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of every image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @cached_property
    def class_counts(self) -> tuple[int, ...]:
        """Number of images of each class."""
        return tuple(torch.bincount(self.labels, minlength=len(self.classes)).tolist())


@dataclass(frozen=True, eq=False)
class Dataset:
    """A labelled dataset with its training and test split.

    Attributes:
        name: what the user calls it.
        train: images that may be learned from.
        test: images that only score.
        mean: per channel, in pixel units.
        std: per channel, in pixel units, positive.
        flip: whether a mirrored image keeps its class.
        digest: SHA-256 (hexadecimal) of :func:`digest_of`.
        whitening: what makes the normalised units instead of mean and deviation, where it is asked for.
    """

    name: str
    train: ImageSet
    test: ImageSet
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool
    digest: str
    whitening: Whitening | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of every image."""
        return self.train.shape

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the labels."""
        return self.train.classes

    @property
    def class_counts(self) -> tuple[int, ...]:
        """Number of training images of each class."""
        return self.train.class_counts

    @cached_property
    def class_digests(self) -> tuple[str, ...]:
        """:func:`class_digest` of the training images of each class."""
        labels = self.train.labels.cpu()
        return tuple(class_digest(self.train.images, labels == label) for label in range(len(self.classes)))

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the user should know of how the images were read."""
        return (*self.train.remarks, *self.test.remarks)

    @property
    def facts(self) -> DatasetFacts:
        """What a job may know of it beforehand; it is here, so nothing needs to be downloaded."""
        return DatasetFacts(
            name=self.name,
            title=self.name,
            shape=self.shape,
            classes=self.classes,
            train_size=len(self.train),
            smallest_class=min(self.class_counts),
            mean=self.mean,
            std=self.std,
            flip=self.flip,
            download=False,
            test_size=len(self.test),
        )

    def normalize(self, images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """:func:`normalize` with the statistics of this dataset, or its whitening."""
        if self.whitening is not None:
            return self.whitening.apply(images).to(dtype)
        return normalize(images, self.mean, self.std, dtype)

    def denormalize(self, images: Tensor) -> Tensor:
        """:func:`denormalize` with the statistics of this dataset, or its whitening undone."""
        if self.whitening is not None:
            return self.whitening.invert(images)
        return denormalize(images, self.mean, self.std)


_BLOCK = 16 * 1024 * 1024
"""Bytes of pixels that are counted at once: a set may be larger than memory."""
_DEVIATION = 0.07
"""How far a published deviation may be from that of all pixels: the blue of CIFAR-10, 0.2010, is 0.061 below it."""


def describe(
    name: str, train: ImageSet, test: ImageSet, digest: str | None = None, *, published: bool = False
) -> Dataset:
    """Complete a dataset with its normalisation, digest and what is known about its name.

    Where it is a published set, by size, shape and statistics and under whatever name, its statistics are those of
    :data:`ddcore.spec.DATASETS`, as far as these give them, and mirrored images keep their class where the facts say
    so. Any other set has the statistics of its training images, and mirroring is not presumed to keep the class.

    Args:
        name: what the user calls it.
        train: images to learn from.
        test: images to score on.
        digest: SHA-256 of :func:`digest_of`, where it is known.
        published: whether it is known to be the published set of that name; else its numbers tell.
    """
    facts = DATASETS.get(name) if published else _published_as(train, test)
    if facts is None and name in DATASETS:
        other = (
            f"`{name}` is a set of your own, not the published one of that name: it is normalised by its own "
            "statistics, and mirrored images are not taken for the same class"
        )
        train = replace(train, remarks=(*train.remarks, other))
    if facts is not None and facts.mean is not None and facts.std is not None:
        mean, std = facts.mean, facts.std
    else:
        mean, std = channel_statistics(train.images)
    flip = facts.flip if facts is not None else False
    return Dataset(name, train, test, mean, std, flip, digest or digest_of(train, test))


def _published_as(train: ImageSet, test: ImageSet) -> DatasetFacts | None:
    """The published set that these images are."""
    return next((facts for facts in DATASETS.values() if _is_published(facts, train, test)), None)


def _is_published(facts: DatasetFacts, train: ImageSet, test: ImageSet) -> bool:
    """Whether these are the images of a published set, as far as numbers tell.

    Names of classes are spelled in several ways, so statistics near the published ones have to speak for them.
    """
    found = (train.shape, len(train.classes), len(train), min(train.class_counts), len(test))
    if found != (facts.shape, len(facts.classes), facts.train_size, facts.smallest_class, facts.test_size):
        return False
    if facts.mean is None or facts.std is None:
        return True
    means, deviations = channel_statistics(train.images)
    return _near(means, facts.mean, 0.01) and _near(deviations, facts.std, _DEVIATION)


def _near(measured: Sequence[float], published: Sequence[float], limit: float) -> bool:
    return all(abs(a - b) < limit for a, b in zip(measured, published, strict=True))


def to_uint8(images: Tensor) -> Tensor:
    """Round pixel units to 8 bits, clamping what lies outside 0 to 1.

    Args:
        images: floating point (N, C, H, W) in pixel units.

    Returns:
        uint8 of the same shape, on the CPU.

    >>> to_uint8(torch.tensor([[[[-0.2, 0.5, 1.7]]]])).flatten().tolist()
    [0, 128, 255]
    """
    return (images.detach().cpu().float() * 255).round().clamp(0, 255).to(torch.uint8)


def normalize(
    images: Tensor, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype = torch.float32
) -> Tensor:
    """Turn pixels into normalised units.

    Args:
        images: (N, C, H, W); uint8, or floating point in pixel units.
        mean: per channel, in pixel units.
        std: per channel, in pixel units, positive.
        dtype: floating-point type of the result; the arithmetic is float32 in any case.

    Returns:
        (N, C, H, W) of ``dtype`` on the device of ``images``.

    >>> normalize(torch.full((1, 1, 1, 1), 255, dtype=torch.uint8), [0.5], [0.25]).item()
    2.0
    """
    unit = 255.0 if images.dtype == torch.uint8 else 1.0
    # x / (unit * std) - mean / std, with one buffer: allocation is what costs here.
    scale = _per_channel([1.0 / (unit * s) for s in std], images.device)
    shift = _per_channel([-m / s for m, s in zip(mean, std, strict=True)], images.device)
    return (images * scale).add_(shift).to(dtype)


def denormalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Turn normalised units into pixel units, without clamping.

    Args:
        images: floating point (N, C, H, W) in normalised units.
        mean: per channel, in pixel units.
        std: per channel, in pixel units.

    Returns:
        float32 (N, C, H, W); values outside 0 to 1 are kept.

    >>> denormalize(torch.full((1, 1, 1, 1), 2.0), [0.5], [0.25]).item()
    1.0
    """
    return (images * _per_channel(std, images.device)).add_(_per_channel(mean, images.device))


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and population standard deviation of each channel, in pixel units.

    A channel that never varies gets a deviation of 1, so that it can be divided by.

    Args:
        images: uint8 (N, C, H, W).

    >>> channel_statistics(torch.tensor([[[[0, 255]]]], dtype=torch.uint8))
    ((0.5,), (0.5,))
    """
    return statistics_of(levels_of(images))


def statistics_of(histograms: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """:func:`channel_statistics` of images whose :func:`levels_of` are known."""
    means, deviations = [], []
    levels = torch.arange(256, dtype=torch.float64) / 255
    for histogram in histograms:
        share = histogram / histogram.sum()
        mean = (share * levels).sum()
        deviation = float((share * (levels - mean).square()).sum().sqrt())
        means.append(float(mean))
        deviations.append(deviation if deviation > 0 else 1.0)
    return tuple(means), tuple(deviations)


def constant_channels(histograms: Tensor) -> list[int]:
    """Channels that have one value in all pixels of all images, of which :func:`levels_of` are known.

    >>> constant_channels(levels_of(torch.tensor([[[[0, 255]], [[7, 7]]]], dtype=torch.uint8)))
    [1]
    """
    return [channel for channel, histogram in enumerate(histograms) if int((histogram > 0).sum()) == 1]


def levels_of(images: Tensor) -> Tensor:
    """How many pixels of each channel have each of 256 levels: exact float64 moments without a copy of the images.

    Args:
        images: uint8 (N, C, H, W).

    Returns:
        float64 (C, 256).
    """
    found = torch.zeros(images.shape[1], 256, dtype=torch.float64)
    at_once = max(1, _BLOCK // max(1, images[0].numel())) if len(images) else 1
    for start in range(0, len(images), at_once):
        block = images[start : start + at_once].cpu().numpy()
        for channel in range(images.shape[1]):
            plane = np.ascontiguousarray(block[:, channel]).reshape(-1, images.shape[3])
            # torch.bincount takes its threads along for the checks before it counts: eight times as long under load.
            found[channel] += torch.tensor(Image.fromarray(plane).histogram())
    return found


def digest_of(train: ImageSet, test: ImageSet) -> str:
    """SHA-256 over class names, shapes, pixels and labels of both splits: the identity of a dataset.

    It does not depend on how the images were stored, nor on this machine.
    """
    digest = ContentDigest(train.classes)
    for split in (train, test):
        digest.begin(split.images.shape)
        digest.add(split.images.contiguous().cpu().numpy())
        digest.end(split.labels.contiguous().cpu().numpy())
    return digest.hexdigest()


def class_digest(images: Tensor, chosen: Tensor) -> str:
    """SHA-256 over the SHA-256 of each of some images, sorted: it depends on pixels and shape, not on the order.

    Args:
        images: uint8 (N, C, H, W).
        chosen: bool (N,), on the CPU.

    >>> images = torch.tensor([[[[0]]], [[[9]]], [[[0]]]], dtype=torch.uint8)
    >>> whole = torch.tensor([True, True, False])
    >>> class_digest(images, whole) == class_digest(images.flip(0), whole.flip(0))
    True
    """
    rows = chosen.nonzero().flatten().tolist()
    each = sorted(hashlib.sha256(images[row].contiguous().cpu().numpy().data).digest() for row in rows)
    shape = repr(tuple(images.shape[1:])).encode()
    return hashlib.sha256(b"class 1\n" + shape + b"".join(each)).hexdigest()


def restricted(dataset: Dataset, classes: Sequence[int]) -> Dataset:
    """Some classes of a dataset, numbered anew, with the normalisation of the whole.

    Args:
        dataset: all classes.
        classes: labels, rising.

    Returns:
        Its training and test images of these classes; nothing else is in them. Its digest tells it from the whole.
    """
    name = hashlib.sha256(f"{dataset.digest}/{tuple(classes)}".encode()).hexdigest()
    return replace(
        dataset, train=_of_classes(dataset.train, classes), test=_of_classes(dataset.test, classes), digest=name
    )


def rows_of(split: ImageSet, classes: Sequence[int]) -> Tensor:
    """Rows, rising, of the images of some classes: int64, on the CPU."""
    return torch.isin(split.labels.cpu(), torch.tensor(tuple(classes), dtype=torch.int64)).nonzero().flatten()


def _of_classes(split: ImageSet, classes: Sequence[int]) -> ImageSet:
    rows = rows_of(split, classes)
    number = torch.full((len(split.classes),), -1, dtype=torch.int64)
    number[torch.tensor(tuple(classes), dtype=torch.int64)] = torch.arange(len(classes))
    names = tuple(split.classes[label] for label in classes)
    return ImageSet(split.images[rows], number[split.labels.cpu()[rows]], names)


class ContentDigest:
    """:func:`digest_of` of splits whose pixels come in blocks; first the training images, then the others.

    Args:
        classes: names of the classes.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._sha256 = hashlib.sha256(b"dataset 1\n")
        for name in classes:
            self._sha256.update(name.encode() + b"\0")

    def begin(self, shape: Sequence[int]) -> None:
        """A split of images (N, C, H, W) follows."""
        self._sha256.update(repr(tuple(shape)).encode())

    def add(self, images: NDArray[np.uint8]) -> None:
        """The next images of the split, contiguous."""
        self._sha256.update(images.data)

    def end(self, labels: NDArray[np.int64]) -> None:
        """All images of the split have come; these are their labels (N,)."""
        self._sha256.update(labels.astype("<i8").data)

    def hexdigest(self) -> str:
        """The digest of all that has come."""
        return self._sha256.hexdigest()


def _per_channel(values: Sequence[float], device: torch.device) -> Tensor:
    # Made on the host and copied: made on a GPU, it would wait for everything queued there.
    return torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1).to(device, non_blocking=True)
