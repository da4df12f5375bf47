"""Compiled passes of the published ConvNet, with the compiler's kernels after each convolution and with ours."""

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


def _ways(passes: Passes, precision: Precision) -> Sequence[Way]:
    compute = policy(precision, compiled=True)
    networks = {"the compiler's kernels": Unfused, "ours": ConvNet}
    return [Way(name, passes(Functional(network(NETWORK, SHAPE, 10), compute))) for name, network in networks.items()]


BENCHMARKS = tuple(
    Benchmark(f"fused-{name}-{precision}", f"{title}, compiled {precision}", partial(_ways, passes, precision))
    for name, title, passes in (
        ("features", f"features of {REAL} images", features),
        ("training", f"slope in the weights of {REFERENCE_BATCH} images", training_slope),
        ("image-gradient", f"slope of class means in {SYNTHETIC} images", image_gradient),
    )
    for precision in ("bf16", "fp32")
)
