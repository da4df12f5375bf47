"""``.npz`` and safetensors files, which hold arrays under names and no code."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ddcore.bundle.foreign.found import Found, Names
from ddcore.bundle.foreign.loading import MOST_BYTES
from ddcore.errors import DataError

_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_NUMBERS = "uifb"


def read_npz(file: Path) -> Found:
    """Arrays of NumPy under usual names, never one of Python objects.

    Raises:
        DataError: the file is damaged or too large, or holds no images under a usual name.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            names = Names.among(file.name, tuple(members))
            images = _array(file, archive, members[names.images])
            labels, soft_labels = (
                None if name is None else _array(file, archive, members[name])
                for name in (names.labels, names.soft_labels)
            )
    except DataError:
        raise
    except Exception as error:  # readers of damaged files raise whatever their parsing runs into
        raise DataError(f"{file} is not a readable .npz file ({error}); write it again with numpy.savez") from error
    return Found("an .npz file", images, labels, soft_labels, None, names.remarks)


def read_safetensors(file: Path) -> Found:
    """Tensors under usual names.

    Raises:
        DataError: the file is damaged or too large, or holds no images under a usual name.
    """
    try:
        _check_size(file.name, file.stat().st_size)
        with safe_open(file, framework="pt") as opened:
            names = Names.among(file.name, tuple(opened.keys()))
            images = opened.get_tensor(names.images)
            labels, soft_labels = (
                None if name is None else opened.get_tensor(name) for name in (names.labels, names.soft_labels)
            )
    except (OSError, SafetensorError) as error:
        raise DataError(f"{file} is not a readable safetensors file ({error}); write or copy it again") from error
    return Found("a safetensors file", images, labels, soft_labels, None, names.remarks)


def _check_size(what: str, size: int) -> None:
    if size > MOST_BYTES:
        raise DataError(f"{what} has {size:,} bytes, more than the {MOST_BYTES:,} allowed; store the images alone")


def _array(file: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Tensor:
    """One array, once its header is known to promise no more than its member holds."""
    what = f"{file.name}: `{info.filename.removesuffix('.npy')}`"
    _check_size(what, info.file_size)
    with archive.open(info) as member:
        shape, _, dtype = _HEADERS.get(npy.read_magic(member), npy.read_array_header_2_0)(member)
    if dtype.kind not in _NUMBERS:
        raise DataError(f"{what} has the type {dtype}; images and labels are whole or floating-point numbers")
    if int(np.prod(shape, dtype=object)) * dtype.itemsize > info.file_size:
        raise DataError(f"{what} says that it is {shape} {dtype}, more than its {info.file_size:,} bytes hold")
    with archive.open(info) as member:
        return _tensor(npy.read_array(member, allow_pickle=False))


def _tensor(array: NDArray[Any]) -> Tensor:
    """An array in the byte order of this machine, in a type that torch calculates with."""
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    if native.dtype.kind == "u" and native.dtype != np.uint8:
        native = native.astype(np.int64)
    if native.dtype.kind == "f" and native.dtype.itemsize > 8:
        native = native.astype(np.float64)
    return torch.from_numpy(np.ascontiguousarray(native).copy())
