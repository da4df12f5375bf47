"""``.pt`` files as research code saves them: where in them the images are, and where their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ddcore.bundle.foreign.found import Found, Names
from ddcore.bundle.foreign.loading import load
from ddcore.errors import DataError
from ddcore.spec.scoring import labels_beside

_DEPTH = 4
_IMAGE_DIMENSIONS = 4


def read(file: Path, labels: Path | None = None) -> Found:
    """Images and labels of a ``.pt`` file: a tensor, a pair, a dict, or a list of such of which the last is taken.

    Args:
        file: a tensor of images in the order of the classes; a pair of images and labels; a dict of both; or a list of
            such, or a dict with one as ``data``, of which the last is taken.
        labels: file of the labels. Default: the one beside the images that is called alike, ``labels_best.pt`` beside
            ``images_best.pt``, where they have none themselves.

    Raises:
        DataError: it is damaged, too large, asks for anything but tensors and numbers, or holds something else.
    """
    found = _understood(file.name, load(file))
    other = labels if labels is not None or found.labels is not None else labels_beside(file)
    if other is None:
        return found
    return replace(found, labels=_labels_of(other), remarks=(*found.remarks, f"labels are those of {other.name}"))


def _understood(name: str, content: Any, depth: int = 0) -> Found:
    """Images and labels in what was loaded."""
    if isinstance(content, Tensor):
        return Found("a tensor", content)
    if depth < _DEPTH and isinstance(content, Mapping):
        return _of_dict(name, content, depth)
    if depth < _DEPTH and isinstance(content, (list, tuple)):
        return _of_sequence(name, content, depth)
    raise DataError(
        f"{name} holds a {type(content).__name__}{' within others' if depth else ''} where images should be; store a "
        "tensor of images, a pair of images and labels, or a dict of both"
    )


def _of_dict(name: str, content: Mapping[Any, Any], depth: int) -> Found:
    of_text = {key: value for key, value in content.items() if isinstance(key, str)}
    data = of_text.get("data")
    if isinstance(data, (list, tuple)):
        found = _understood(name, data, depth + 1)
        return replace(found, remarks=("`data` is taken", *found.remarks))
    tensors = {key: value for key, value in of_text.items() if isinstance(value, Tensor)}
    names = Names.among(name, tuple(tensors))
    labels, soft_labels = (None if key is None else tensors[key] for key in (names.labels, names.soft_labels))
    return Found("a dict", tensors[names.images], labels, soft_labels, None, names.remarks)


def _of_sequence(name: str, content: Sequence[Any], depth: int) -> Found:
    """A pair, or several sets of which the last is the finished one."""
    if _is_pair(content):
        return Found("a pair of images and labels", content[0], content[1])
    if not content:
        raise DataError(f"{name} holds an empty list; it must hold images")
    found = _understood(name, content[-1], depth + 1)
    if len(content) == 1:
        return found
    remark = f"the last of {len(content)} sets is taken"
    return replace(found, remarks=(remark, *found.remarks))


def _is_pair(content: Sequence[Any]) -> bool:
    """Whether these are images and their labels, not two sets of images."""
    if len(content) != 2 or not all(isinstance(part, Tensor) for part in content):
        return False
    images, labels = content
    return bool(images.ndim >= _IMAGE_DIMENSIONS - 1 > labels.ndim)


def _labels_of(file: Path) -> Tensor:
    """The labels in a file of their own; of several the last."""
    content = load(file)
    if isinstance(content, (list, tuple)) and content and all(isinstance(part, Tensor) for part in content):
        content = content[-1]
    if isinstance(content, Tensor):
        return content
    raise DataError(f"{file} holds a {type(content).__name__}, but the labels must be one tensor; store them as that")
