"""What the labels of a file mean: classes of a dataset, probabilities or logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import softmax

from ddcore.bundle.foreign.found import Found
from ddcore.bundle.foreign.likeness import Likeness
from ddcore.bundle.foreign.pictures import matched
from ddcore.bundle.foreign.plain import plain
from ddcore.errors import DataError

_SUM = 1e-3
"""How far probabilities of an image may be from 1 in all: those in half precision are rounded."""
_SHOWN = 6


def labels_of(found: Found, count: int, dataset: Likeness) -> tuple[Tensor, Tensor | None, tuple[str, ...]]:
    """The labels of a file.

    Args:
        found: what it holds.
        count: of its images.
        dataset: whose classes they are.

    Returns:
        Classes, int64 (N,); probabilities, float32 (N, classes), where there are any; and how both were understood.

    Raises:
        DataError: they have another shape, hold NaN, or name no class of the dataset.
    """
    classes = len(dataset.classes)
    given, soft = found.labels, found.soft_labels
    if given is not None and given.ndim == 2 and given.shape[1] != 1:
        given, soft = None, given
    if soft is None:
        hard = _in_order(count, dataset) if given is None else _whole(given, count)
        remarks = () if given is not None else (_order(count, classes),)
        return _of_classes(hard, found.names, dataset), None, remarks
    soft = _checked_soft(soft, count, dataset)
    if found.names is not None:
        soft = _by_class(soft, found.names, dataset)
    if given is None and _is_one_hot(soft):
        return soft.argmax(dim=1), None, ("labels are one-hot, so they are taken for classes",)
    soft, remark = _weights(soft)
    if given is not None:
        return _of_classes(_whole(given, count), found.names, dataset), soft, (remark,)
    likeliest = soft.argmax(dim=1)
    if len(set(likeliest.bincount(minlength=classes).tolist())) == 1:
        return likeliest, soft, (remark, "the class of an image is that of its largest label")
    return _in_order(count, dataset), soft, (remark, _order(count, classes))


def _order(count: int, classes: int) -> str:
    return f"images are taken in the order of the classes, {count // classes} of each"


def _in_order(count: int, dataset: Likeness) -> Tensor:
    classes = len(dataset.classes)
    if count % classes:
        raise DataError(
            f"there are {count} images without a class each, which is no multiple of the {classes} classes of "
            f"{dataset.name}; give their labels, in the file or with --labels"
        )
    return torch.arange(classes).repeat_interleave(count // classes)


def _whole(labels: Tensor, count: int) -> Tensor:
    """Labels as int64 (N,)."""
    labels = plain(labels, "labels")
    if labels.ndim == 2:
        labels = labels[:, 0]
    if labels.ndim != 1 or len(labels) != count:
        raise DataError(f"the labels have the shape {tuple(labels.shape)}, but there are {count} images; give one each")
    if labels.is_floating_point():
        odd = ((labels != labels.round()) | ~labels.isfinite()).nonzero().flatten()
        if len(odd):
            raise DataError(f"label {int(odd[0])} is {labels[odd[0]].item():g}; labels are whole numbers of classes")
    return labels.to(torch.int64)


def _of_classes(labels: Tensor, names: Sequence[str] | None, dataset: Likeness) -> Tensor:
    """Labels as places among the classes of the dataset."""
    classes = len(dataset.classes)
    low, high = int(labels.min()), int(labels.max())
    if not 0 <= low <= high < (classes if names is None else len(names)):
        raise DataError(f"the labels run from {low} to {high}, but those of {dataset.name} from 0 to {classes - 1}")
    if names is None:
        return labels
    return torch.tensor(_places(names, dataset))[labels]


def _places(names: Sequence[str], dataset: Likeness) -> list[int]:
    """Which class each name stands for."""
    places = matched(names, dataset.classes)
    if places is None:
        raise DataError(
            f"the classes are called {_shown(names)}, which are not those of {dataset.name} "
            f"({_shown(dataset.classes)}); call them so, or by their numbers from 0 to {len(dataset.classes) - 1}"
        )
    return places


def _by_class(labels: Tensor, names: Sequence[str], dataset: Likeness) -> Tensor:
    """Labels for each class, in the order of the classes of the dataset.

    Raises:
        DataError: there are not as many names as classes.
    """
    if len(names) != len(dataset.classes):
        raise DataError(
            f"the file names {len(names)} classes, but has labels for each of {len(dataset.classes)}, so that nobody "
            "can tell whose they are; name all of them"
        )
    return labels[:, torch.tensor(_places(names, dataset)).argsort()]


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")


def _checked_soft(labels: Tensor, count: int, dataset: Likeness) -> Tensor:
    labels = plain(labels, "labels")
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


def _weights(labels: Tensor) -> tuple[Tensor, str]:
    """Weights of the classes as they are, or the softmax of logits; and which it was.

    Learned labels, such as those of RaT-BPTT, are weights that are never negative and need not sum to 1.
    """
    soft = labels.float()
    if bool((soft < 0).any()):
        return softmax(soft, dim=1), "labels are partly negative, so they are taken for logits"
    if bool(((soft.sum(dim=1) - 1).abs() <= _SUM).all()):
        return soft, "labels are probabilities"
    return soft, "labels are not negative and do not sum to 1, so they are taken for learned weights of the classes"
