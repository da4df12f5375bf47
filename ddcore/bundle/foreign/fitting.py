"""Images and labels of a file, held against the dataset that they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softmax

from ddcore.bundle.foreign.found import Found
from ddcore.bundle.foreign.pictures import matched
from ddcore.data.dataset import Dataset
from ddcore.errors import DataError

MOST_PER_CLASS = 10_000
"""As of a job (`ipc`)."""
MOST_BYTES = 8 * 1024**3
"""Of all images as float32."""
_SUM = 1e-3
"""How far probabilities of an image may be from 1 in all: those in half precision are rounded."""
_SHOWN = 6
_TYPES = frozenset(
    (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
     torch.float16, torch.bfloat16, torch.float32, torch.float64)
)  # fmt: skip


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


def fitted(found: Found, dataset: Dataset) -> Fitted:
    """Find the axes of images and the classes of labels.

    Raises:
        DataError: the shape, the number of images, a label or the number of classes is not that of the dataset, or
            classes have different numbers of images.
    """
    images, axes = _images(found.images, dataset)
    count = len(images)
    labels, soft_labels, remarks = _labels(found, count, dataset)
    ipc = _each(labels, dataset)
    return Fitted(images, labels, soft_labels, ipc, (*found.remarks, *axes, *remarks))


def _images(images: Tensor, dataset: Dataset) -> tuple[Tensor, tuple[str, ...]]:
    """Images as (N, C, H, W), without a copy."""
    images = _plain(images, "images")
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


def _plain(tensor: Tensor, what: str) -> Tensor:
    """The numbers of a tensor alone.

    Raises:
        DataError: it has none in memory, or of a type that is not calculated with.
    """
    if tensor.layout is not torch.strided or tensor.is_meta or tensor.dtype not in _TYPES:
        raise DataError(
            f"the {what} are a tensor of {tensor.dtype} ({tensor.layout}, {tensor.device}); store a dense one of whole "
            "or floating-point numbers, such as uint8, int64 or float32"
        )
    return tensor.detach()


def _labels(found: Found, count: int, dataset: Dataset) -> tuple[Tensor, Tensor | None, tuple[str, ...]]:
    """Classes, and probabilities where there are any."""
    classes = len(dataset.classes)
    given, soft = found.labels, found.soft_labels
    if given is not None and given.ndim == 2 and given.shape[1] != 1:
        given, soft = None, given
    if soft is None:
        hard = _in_order(count, dataset) if given is None else _whole(given, count)
        remarks = () if given is not None else (_order(count, classes),)
        return _of_classes(hard, found.names, dataset), None, remarks
    soft = _checked_soft(soft, count, dataset)
    if given is None and _is_one_hot(soft):
        return soft.argmax(dim=1), None, ("labels are one-hot, so they are taken for classes",)
    soft, remark = _probabilities(soft)
    if given is not None:
        return _of_classes(_whole(given, count), found.names, dataset), soft, (remark,)
    likeliest = soft.argmax(dim=1)
    if len(set(likeliest.bincount(minlength=classes).tolist())) == 1:
        return likeliest, soft, (remark, "the class of an image is that of its largest label")
    return _in_order(count, dataset), soft, (remark, _order(count, classes))


def _order(count: int, classes: int) -> str:
    return f"images are taken in the order of the classes, {count // classes} of each"


def _in_order(count: int, dataset: Dataset) -> Tensor:
    classes = len(dataset.classes)
    if count % classes:
        raise DataError(
            f"there are {count} images without a class each, which is no multiple of the {classes} classes of "
            f"{dataset.name}; give their labels, in the file or with --labels"
        )
    return torch.arange(classes).repeat_interleave(count // classes)


def _whole(labels: Tensor, count: int) -> Tensor:
    """Labels as int64 (N,)."""
    labels = _plain(labels, "labels")
    if labels.ndim == 2:
        labels = labels[:, 0]
    if labels.ndim != 1 or len(labels) != count:
        raise DataError(f"the labels have the shape {tuple(labels.shape)}, but there are {count} images; give one each")
    if labels.is_floating_point():
        odd = ((labels != labels.round()) | ~labels.isfinite()).nonzero().flatten()
        if len(odd):
            raise DataError(f"label {int(odd[0])} is {labels[odd[0]].item():g}; labels are whole numbers of classes")
    return labels.to(torch.int64)


def _of_classes(labels: Tensor, names: Sequence[str] | None, dataset: Dataset) -> Tensor:
    """Labels as places among the classes of the dataset."""
    classes = len(dataset.classes)
    low, high = int(labels.min()), int(labels.max())
    if not 0 <= low <= high < (classes if names is None else len(names)):
        raise DataError(f"the labels run from {low} to {high}, but those of {dataset.name} from 0 to {classes - 1}")
    if names is None:
        return labels
    places = matched(names, dataset.classes)
    if places is None:
        raise DataError(
            f"the classes are called {_shown(names)}, which are not those of {dataset.name} "
            f"({_shown(dataset.classes)}); call them so, or by their numbers from 0 to {classes - 1}"
        )
    return torch.tensor(places)[labels]


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")


def _checked_soft(labels: Tensor, count: int, dataset: Dataset) -> Tensor:
    labels = _plain(labels, "labels")
    expected = (count, len(dataset.classes))
    if tuple(labels.shape) != expected:
        raise DataError(
            f"the labels have the shape {tuple(labels.shape)}, but {count} images of the {expected[1]} classes of "
            f"{dataset.name} have {expected}, or ({count},); store them so, or name another dataset"
        )
    odd = (~labels.isfinite()).any(dim=1).nonzero().flatten()
    if len(odd):
        raise DataError(f"the labels of image {int(odd[0])} hold NaN or infinite values; they are finite numbers")
    return labels


def _is_one_hot(labels: Tensor) -> bool:
    return bool(((labels == 0) | (labels == 1)).all() and (labels.sum(dim=1) == 1).all())


def _probabilities(labels: Tensor) -> tuple[Tensor, str]:
    """Probabilities as they are, or the softmax of logits; and which it was."""
    soft = labels.float()
    if bool((soft >= 0).all()) and bool(((soft.sum(dim=1) - 1).abs() <= _SUM).all()):
        return soft, "labels are probabilities"
    return softmax(soft, dim=1), "labels are no probabilities, so they are taken for logits"


def _each(labels: Tensor, dataset: Dataset) -> int:
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
