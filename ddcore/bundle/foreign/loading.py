"""Opens ``.pt`` files of strangers, of which nothing is ever executed.

``torch.load(weights_only=True)`` builds tensors, containers, text and numbers, and refuses every other name that a
pickle asks to import. The numbers of NumPy that the files of VICO-UoE/DatasetCondensation hold beside their images are
understood too: making one runs no code of the file.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ddcore.errors import DataError

MOST_BYTES = 8 * 1024**3
"""Largest file that is read: it is in memory as a whole."""

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
