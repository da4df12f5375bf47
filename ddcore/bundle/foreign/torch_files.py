"""``.pt`` files as research code saves them, of which nothing is ever executed.

``torch.load(weights_only=True)`` builds tensors, containers, text and numbers, and refuses every other name that a
pickle asks to import. The numbers of NumPy that the files of VICO-UoE/DatasetCondensation hold beside their images are
understood too: making one runs no code of the file.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddcore.bundle.foreign.found import Found, Names
from ddcore.errors import DataError

MOST_BYTES = 8 * 1024**3
"""Largest file that is read: it is in memory as a whole."""

_DEPTH = 4
_IMAGE_DIMENSIONS = 4
_ASKED = re.compile(r"GLOBAL (\S+)")
_LFS = b"version https://git-lfs"
_SCALAR = np.float64(0).__reduce__()[0]
_NUMBERS: tuple[Callable[..., Any] | tuple[Any, str], ...] = (
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(code)) for code in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")),
)
"""What a pickle of a number of NumPy asks for, under the names of its versions 1 and 2."""


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
    beside = labels if labels is not None or found.labels is not None else _beside(file)
    if beside is None:
        return found
    return replace(found, labels=_labels_of(beside), remarks=(*found.remarks, f"labels are those of {beside.name}"))


def load(file: Path) -> Any:
    """What a file holds, built without running anything that it says.

    Raises:
        DataError: see :func:`read`.
    """
    size, head = _facts(file)
    if size > MOST_BYTES:
        raise DataError(f"{file} comes to {size:,} bytes, more than the {MOST_BYTES:,} allowed; store the images alone")
    if head == _LFS:
        raise DataError(f"{file} is a pointer of git-lfs, not the file itself; fetch it with `git lfs pull`")
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([*_NUMBERS]):
            warnings.simplefilter("ignore")  # of what torch thinks of odd files, which a refusal says better
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # readers of damaged files raise whatever their parsing runs into
        raise DataError(_refusal(file, error)) from error


def _facts(file: Path) -> tuple[int, bytes]:
    """Bytes that a file comes to, unpacked where it is a zip, and its first ones."""
    try:
        with file.open("rb") as opened:
            head = opened.read(len(_LFS))
        if not zipfile.is_zipfile(file):
            return file.stat().st_size, head
        with zipfile.ZipFile(file) as archive:
            return sum(info.file_size for info in archive.infolist()), head
    except zipfile.BadZipFile as error:
        raise DataError(f"{file} is not a readable .pt file ({error}); copy or download it again") from error
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}); give a file that can be") from error


def _refusal(file: Path, error: Exception) -> str:
    """Why a file is not read: it needs code, or is damaged."""
    text = str(error).strip()
    if isinstance(error, MemoryError) or "allocate memory" in text:
        return f"{file} says that it holds more than fits into memory; store the images alone"
    if not isinstance(error, pickle.UnpicklingError):
        reason = text.splitlines()[0].split(". ")[0] if text else "it ends early"
        return f"{file} is not a readable .pt file ({type(error).__name__}: {reason}); copy or download it again"
    asked = _ASKED.search(text)
    what = "has instructions that tensors and numbers need not" if asked is None else f"asks for `{asked[1]}`"
    return (
        f"{file} holds more than tensors and numbers (it {what}), and reading it could run code of the file, so "
        "nothing of it was read. Where you trust the file, load it yourself and store plain tensors "
        "(torch.save({'images': images, 'labels': labels}, 'set.pt')) or an .npz"
    )


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


def _beside(file: Path) -> Path | None:
    """The labels that lie beside images under the same name."""
    for images, labels in (("images", "labels"), ("image", "label")):
        other = file.with_name(file.name.replace(images, labels))
        if images in file.name and other.is_file():
            return other
    return None


def _labels_of(file: Path) -> Tensor:
    """The labels in a file of their own; of several the last."""
    content = load(file)
    if isinstance(content, (list, tuple)) and content and all(isinstance(part, Tensor) for part in content):
        content = content[-1]
    if isinstance(content, Tensor):
        return content
    raise DataError(f"{file} holds a {type(content).__name__}, but the labels must be one tensor; store them as that")
