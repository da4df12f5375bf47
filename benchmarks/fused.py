"""Passes of the published ConvNet: after each convolution our kernel, or those of the compiler or of PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from typing_extensions import override

from benchmarks.forward import (
    NETWORK,
    REAL,
    REFERENCE_BATCH,
    SHAPE,
    SYNTHETIC,
    features,
    image_gradient,
    training_slope,
)
from benchmarks.harness import Benchmark, Way, Work, policy
from ddcore.machine.compute import Precision
from ddcore.nets import ConvNet, Functional

Passes = Callable[[Functional], Work]


class Unfused(ConvNet):
    """The same network, layer by layer."""

    @override
    def fuse(self) -> bool:
        return False


def _compiled(passes: Passes, precision: Precision) -> Sequence[Way]:
    compute = policy(precision, compiled=True)
    networks = {"the compiler's kernels": Unfused, "ours": ConvNet}
    return [Way(name, passes(Functional(network(NETWORK, SHAPE, 10), compute))) for name, network in networks.items()]


def _eager(passes: Passes) -> Sequence[Way]:
    plain = policy("fp32", compiled=False)
    kernels = {
        "PyTorch's layers": plain,
        "our kernel": plain.with_own_kernels(),
        "compiled": policy("fp32", compiled=True),
    }
    return [Way(name, passes(Functional(ConvNet(NETWORK, SHAPE, 10), compute))) for name, compute in kernels.items()]


PASSES = (
    ("features", f"features of {REAL} images", features),
    ("training", f"slope in the weights of {REFERENCE_BATCH} images", training_slope),
    ("image-gradient", f"slope of class means in {SYNTHETIC} images", image_gradient),
)
BENCHMARKS = (
    *(
        Benchmark(f"fused-{name}-{precision}", f"{title}, compiled {precision}", partial(_compiled, passes, precision))
        for name, title, passes in PASSES
        for precision in ("bf16", "fp32")
    ),
    *(
        Benchmark(f"fused-{name}-eager", f"{title}, uncompiled fp32", partial(_eager, passes))
        for name, title, passes in PASSES
    ),
)
