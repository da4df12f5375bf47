"""Tensors that hold plain numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from ddcore.errors import DataError

_TYPES = frozenset(
    (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
     torch.float16, torch.bfloat16, torch.float32, torch.float64)
)  # fmt: skip


def plain(tensor: Tensor, what: str) -> Tensor:
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
