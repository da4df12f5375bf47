"""Where and how the network passes of a run are computed: device, precision, compilation, piece size.

One frozen :class:`Compute` is chosen per run and used by everything in it. Precision concerns the
inside of a network pass only: losses, class means, optimiser state, statistics and images are
float32 whatever is chosen here.

Determinism. On a CPU the same seed gives the same bytes in every mode, also in a run that was
resumed in a fresh process, because nothing here depends on a timing: the choice of :meth:`Compute.choose`
is a function of the request, the machine and the expected work; piece sizes are a function of the
image and the batch; compilation autotunes nothing. A different machine, number of threads, version
of the framework, or mode may round differently.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ddcore.errors import ConfigurationError
from ddcore.machine.compiler import keep_compiled_code, missing_compiler
from ddcore.machine.native import keep_native_libraries
from ddcore.spec.speed import eager_seconds, earns_compilation, earns_own_kernels

Precision = Literal["fp32", "bf16"]
Log = Callable[[Literal["info", "warning"], str], None]

CONVNET3_MACS = 50_700_000
"""Multiply-accumulates of ConvNet-3 of width 128 on one 3 x 32 x 32 image."""

_REFERENCE_PIXELS = 32 * 32
_SMALLEST_PIECE = 8


@dataclass(frozen=True)
class Compute:
    """Device, precision and compilation of a run's network passes.

    Attributes:
        device: where tensors live.
        precision: arithmetic inside a network pass; what leaves it is float32.
        compiled: whether passes go through ``torch.compile``.
        piece: images (of 32 x 32) a pass takes at a time without autograd.
        training_piece: the same with autograd.
        graph: images (of 32 x 32) whose graphs may be in memory at once; more of them go group by group.
        fused: whether uncompiled passes too go through kernels of our own, see :attr:`own_kernels`.
    """

    device: torch.device
    precision: Precision = "fp32"
    compiled: bool = False
    piece: int = 32
    training_piece: int = 32
    graph: int = 512
    fused: bool = False

    @staticmethod
    def choose(
        device: str = "auto",
        precision: Literal["auto", "fp32", "bf16"] = "auto",
        compile: Literal["auto", "on", "off"] = "auto",
        *,
        expected_images_forwarded: float,
        macs_per_image: float = CONVNET3_MACS,
        cache: Path | None = None,
        log: Log | None = None,
    ) -> Compute:
        """Turn what was asked for into what this machine can do.

        The process as a whole is set up too: TF32 on CUDA, :func:`hold_freed_memory` on a CPU.

        Args:
            device: ``auto`` (CUDA where present), ``cpu``, ``cuda`` or ``cuda:N``.
            precision: ``auto`` is bf16 where the hardware computes in it and, on a CPU, the passes
                are compiled (eager bf16 gains nothing there).
            compile: ``auto`` compiles where a compiler exists and the job is long enough to earn the warm-up, and takes
                our own kernels where it is long enough for these; ``off`` leaves all to the operations of PyTorch.
            expected_images_forwarded: images through networks in the whole run, resumed parts
                included, so that a resumed run chooses alike; a pass with autograd counts three times.
            macs_per_image: cost of one image, see :func:`ddcore.nets.macs`.
            cache: folder in which compiled code is kept between processes.
            log: receives one message where less is done than was asked for; the default is a logger.

        Raises:
            ConfigurationError: the device does not exist.
        """
        tell = _to_logger if log is None else log
        where = _device(device)
        macs = expected_images_forwarded * macs_per_image
        compiled = _compiled(where, compile, macs, tell)
        if cache is not None:
            keep_native_libraries(cache / "native")
        if compiled and cache is not None:
            keep_compiled_code(cache / "inductor")
        if where.type == "cuda":
            torch.set_float32_matmul_precision("high")
            torch.backends.cudnn.allow_tf32 = True
        else:
            hold_freed_memory()
        bf16 = precision == "bf16"
        if precision == "auto":
            bf16 = computes_bf16(where) and (compiled or where.type == "cuda")
        elif bf16 and not computes_bf16(where):
            tell("warning", f"bf16 was asked for, but {where} does not compute in it: expect it to be slow")
        piece, training_piece = _pieces(where, bf16, compiled)
        chosen = Compute(where, "bf16" if bf16 else "fp32", compiled, piece, training_piece, max(512, training_piece))
        worth_it = compile == "auto" and not compiled and earns_own_kernels(macs, where.type)
        return chosen.with_own_kernels() if worth_it else chosen

    def exact(self, macs: float) -> Compute:
        """The same device in float32 and uncompiled, for what must not depend on the job that it is done for.

        Args:
            macs: multiply-accumulates that are to be done so; many are worth our own kernels.
        """
        piece, training_piece = _pieces(self.device, bf16=False, compiled=False)
        plain = Compute(self.device, "fp32", False, piece, training_piece, max(512, training_piece))
        return plain.with_own_kernels() if earns_own_kernels(macs, self.device.type) else plain

    def with_own_kernels(self) -> Compute:
        """The same with kernels of our own in uncompiled passes too, where they can be compiled."""
        return replace(self, fused=missing_compiler(self.device) is None)

    def describe(self) -> dict[str, Any]:
        """What the bytes of a result may depend on besides the specification, for the manifest."""
        cuda = self.device.type == "cuda"
        return {
            "device": torch.cuda.get_device_name(self.device) if cuda else "cpu",
            "precision": self.precision,
            "compiled": self.compiled,
            "own_kernels": self.own_kernels,
            "threads": torch.get_num_threads(),
        }

    @property
    def own_kernels(self) -> bool:
        """Whether passes go through kernels of our own, where a network has some."""
        return self.device.type == "cpu" and (self.compiled or self.fused)

    @property
    def layout(self) -> torch.memory_format:
        """Order in which a pass keeps the numbers of its maps, unless it goes through kernels of our own.

        Channels last, except in uncompiled float32 passes on a CPU. There PyTorch's normalisations take the variance
        of maps that lie channels last as E[x^2] - E[x]^2, in one float32 sum over the pixels: at a mean of 5
        deviations the result is off by 2e-5, where maps that lie image by image are off by 3e-7, and a ReLU makes
        another slope of the difference. Passes are no slower for it (``python -m benchmarks dm-fp32 matching-fp32``).
        """
        exact = self.device.type == "cpu" and self.precision == "fp32" and not self.compiled
        return torch.contiguous_format if exact else torch.channels_last

    def autocast(self) -> AbstractContextManager[object]:
        """Context in which network passes run in the chosen precision."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def piece_for(self, pixels: int, *, training: bool) -> int:
        """Images a pass takes at a time, for images of ``pixels`` = height x width.

        A piece of the reference size, scaled so that its feature maps take the same memory, as a
        power of two of at least 8.
        """
        return _for_pixels(self.training_piece if training else self.piece, pixels)

    def graph_for(self, pixels: int) -> int:
        """Images whose graphs may be in memory at once, for images of ``pixels`` = height x width."""
        return _for_pixels(self.graph, pixels)


def laid_out(images: Tensor, layout: torch.memory_format) -> Tensor:
    """Images (N, C, H, W) as they are to lie in memory when they pass through a network.

    Of images with one channel PyTorch says that they lie in either layout, but its convolutions go by the strides.
    Where these are not those of channels last, the first convolution takes 10 to 13 times as long, and what follows it
    has to turn its maps round (``python -m benchmarks greyscale-features-bf16``).
    """
    images = images.contiguous(memory_format=layout)
    if layout is not torch.channels_last or images.shape[1] != 1:
        return images
    return images.squeeze(1).unsqueeze(-1).permute(0, 3, 1, 2)


def hold_freed_memory(most: int = 2**30) -> bool:
    """Have the C library reuse freed blocks of up to ``most`` bytes instead of returning them to the system.

    By default it returns every block above 32 MiB, and a feature map of 64 images is one: the system then
    clears its pages anew for every layer. Holding them makes eager training steps 1.2 to 1.7 times faster
    (``python -m benchmarks allocator``; the more, the busier the machine is), for at most twice ``most``
    bytes of idle memory.

    Returns:
        Whether the C library has the setting (glibc does).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    trim_threshold, mmap_threshold = -1, -3
    return bool(mallopt(mmap_threshold, most) and mallopt(trim_threshold, min(2 * most, 2**31 - 1)))


def computes_bf16(device: torch.device) -> bool:
    """Whether the hardware has bfloat16 arithmetic (AVX512-BF16 or AMX; CUDA capability 8)."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _device(request: str) -> torch.device:
    if request == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(request)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise ConfigurationError(
                f"`device` is '{request}', but this machine has {count} usable CUDA devices; use 'cpu' or 'auto'"
            )
    return device


def _compiled(device: torch.device, request: Literal["auto", "on", "off"], macs: float, tell: Log) -> bool:
    if request == "off":
        return False
    if request == "auto" and not earns_compilation(macs, device.type):
        eager_s = eager_seconds(macs, device.type)
        tell("info", f"network passes run eagerly: about {eager_s:.0f} s of work is too little to earn compilation")
        return False
    obstacle = missing_compiler(device)
    if obstacle is not None:
        tell("warning", f"network passes run eagerly and slower, because {obstacle}")
    return obstacle is None


def _pieces(device: torch.device, bf16: bool, compiled: bool) -> tuple[int, int]:
    """Images a piece, without and with autograd: cache-sized on a CPU, memory-sized on a GPU.

    Measured by ``python -m benchmarks pieces-bf16 pieces-training-bf16`` and their likes in fp32; on CUDA, guessed.
    """
    if device.type == "cuda":
        return 4096, 2048
    if compiled and bf16:
        return 32, 64
    return (16, 32) if compiled else (32, 32)


def _for_pixels(images: int, pixels: int) -> int:
    scaled = images * _REFERENCE_PIXELS // pixels
    return max(_SMALLEST_PIECE, 1 << max(scaled, 1).bit_length() - 1)


def _to_logger(level: Literal["info", "warning"], message: str) -> None:
    logging.getLogger(__name__).log(logging.getLevelNamesMapping()[level.upper()], message)
