"""Passes of greyscale images: as PyTorch takes them, and with the layout that its convolutions are quick in."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.forward import NETWORK
from benchmarks.fused import PASSES, Passes
from benchmarks.harness import Benchmark, Way, Work, policy
from ddcore.machine.compute import Compute
from ddcore.nets import ConvNet, Functional

SHAPE = (1, 28, 28)


def as_they_come(images: Tensor, layout: torch.memory_format) -> Tensor:
    """Images as they are to lie, where PyTorch says whether they do."""
    return images.contiguous(memory_format=layout)


def _work(passes: Passes, compute: Compute) -> Work:
    return passes(Functional(ConvNet(NETWORK, SHAPE, 10), compute))


def _before(passes: Passes, compute: Compute) -> Work:
    work = _work(passes, compute)

    def before() -> Sequence[Tensor]:
        with patch("ddcore.nets.functional.laid_out", as_they_come):
            return work()

    return before


def _ways(passes: Passes, compute: Compute) -> Sequence[Way]:
    return [Way("as they come", _before(passes, compute)), Way("channels last", _work(passes, compute))]


def _compiled(passes: Passes) -> Sequence[Way]:
    return _ways(passes, policy("bf16", compiled=True))


def _eager(passes: Passes) -> Sequence[Way]:
    return _ways(passes, policy("fp32", compiled=False).with_own_kernels())


BENCHMARKS = tuple(
    Benchmark(f"greyscale-{name}-{kind}", f"{title}, 28 x 28, {how}", partial(ways, passes))
    for name, title, passes in PASSES
    for kind, how, ways in (
        ("bf16", "compiled bf16", _compiled),
        ("eager", "our kernel, uncompiled fp32", _eager),
    )
)
