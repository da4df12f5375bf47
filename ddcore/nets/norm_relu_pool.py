"""What follows a convolution of the published ConvNet, as one kernel: instance normalisation, ReLU, means of 2 x 2.

``torch.compile`` makes several loops of it, and each goes over the maps of all images, which are larger than the cache.
The kernel goes through all of it with one image after the other (``python -m benchmarks fused-training-bf16``). It
is in ``norm_relu_pool.cpp``, for CPUs, and can be differentiated once.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddcore.machine.native import native_library

LANES = 32
"""What the channels are a multiple of."""

_SOURCE = Path(__file__).with_suffix(".cpp")


def can_fuse() -> bool:
    """Whether this machine could compile the kernels."""
    return native_library(_SOURCE) is not None


@torch.library.custom_op("ddcore::norm_relu_pool", mutates_args=(), device_types="cpu")
def norm_relu_pool(maps: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise each channel of each image, cut off what is negative, and average places by 2 x 2.

    Args:
        maps: (N, C, H, W), float32 or bfloat16. An odd last row or column counts for the statistics only.
        weight: (C,) float32, scale of the normalised channels.
        bias: (C,) float32, their shift.
        epsilon: added to variances.

    Returns:
        (N, C, H // 2, W // 2) like the maps, channels last; and for the way back the mean of each channel and one over
        its deviation, each (N, C) float32.
    """
    maps, (images, channels, height, width) = _channels_last(maps), maps.shape
    pooled = _pooled(maps)
    mean, inverse = (torch.empty((images, channels)) for _ in range(2))
    _call(
        "forward", maps.dtype, maps, weight.contiguous(), bias.contiguous(), ctypes.c_float(epsilon),
        *_sizes(images, height, width, channels), pooled, mean, inverse,
    )  # fmt: skip
    return pooled, mean, inverse


@torch.library.custom_op("ddcore::norm_relu_pool_backward", mutates_args=(), device_types="cpu")
def _backward(
    slope: Tensor, maps: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, inverse: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Slopes in the maps, and image by image (N, C) in weight and bias, from that in the pooled maps."""
    maps, (images, channels, height, width) = _channels_last(maps), maps.shape
    in_maps = torch.empty_like(maps, memory_format=torch.channels_last)
    in_weight, in_bias = torch.empty_like(mean), torch.empty_like(mean)
    _call(
        "backward", maps.dtype, _channels_last(slope), maps, weight.contiguous(), bias.contiguous(), mean, inverse,
        *_sizes(images, height, width, channels), in_maps, in_weight, in_bias,
    )  # fmt: skip
    return in_maps, in_weight, in_bias


@norm_relu_pool.register_fake
def _like(maps: Tensor, *_: object) -> tuple[Tensor, Tensor, Tensor]:
    mean = maps.new_empty(maps.shape[:2], dtype=torch.float32)
    return _pooled(maps), mean, torch.empty_like(mean)


@_backward.register_fake
def _like_backward(_: Tensor, maps: Tensor, *others: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    mean = others[2]
    return torch.empty_like(maps, memory_format=torch.channels_last), torch.empty_like(mean), torch.empty_like(mean)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    maps, weight, bias, _ = inputs
    ctx.save_for_backward(maps, weight, bias, *output[1:])


def _slopes(ctx: Any, slope: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
    in_maps, in_weight, in_bias = _backward(slope, *ctx.saved_tensors)
    return in_maps, in_weight.sum(0), in_bias.sum(0), None


norm_relu_pool.register_autograd(_slopes, setup_context=_keep)


def _channels_last(maps: Tensor) -> Tensor:
    return maps.contiguous(memory_format=torch.channels_last)


def _pooled(maps: Tensor) -> Tensor:
    images, channels, height, width = maps.shape
    return torch.empty(
        (images, channels, height // 2, width // 2), dtype=maps.dtype, device=maps.device,
        memory_format=torch.channels_last,
    )  # fmt: skip


def _sizes(images: int, height: int, width: int, channels: int) -> tuple[Any, ...]:
    return (*map(ctypes.c_int64, (images, height, width, channels)), ctypes.c_int(torch.get_num_threads()))


def _call(way: str, dtype: torch.dtype, *arguments: Any) -> None:
    function = _functions()[way, dtype]
    function(*(ctypes.c_void_p(one.data_ptr()) if isinstance(one, Tensor) else one for one in arguments))


@cache
def _functions() -> dict[tuple[str, torch.dtype], Any]:
    library = native_library(_SOURCE)
    if library is None:
        raise RuntimeError("the kernels were not compiled")
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    found = {
        (way, dtype): library[f"{way}_{name}"] for way in ("forward", "backward") for name, dtype in dtypes.items()
    }
    for function in found.values():
        function.restype = None
    return found
