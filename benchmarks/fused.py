"""Compiled passes of the published ConvNet, with the compiler's kernels after each convolution and with ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from typing_extensions import override

from benchmarks.forward import NETWORK, REAL, REFERENCE_BATCH, SHAPE, SYNTHETIC, random_images
from benchmarks.harness import Benchmark, Way, Work, policy, vector
from ddcore.machine.compute import Precision
from ddcore.nets import ConvNet, Functional

Passes = Callable[[Functional], Work]


class Unfused(ConvNet):
    """The same network, layer by layer."""

    @override
    def fuse(self) -> bool:
        return False


def _features(f: Functional) -> Work:
    params, images = f.new(torch.Generator().manual_seed(0)), random_images(REAL, f.compute.device)
    return lambda: [f.features_no_grad(params, images)]


def _training(f: Functional) -> Work:
    params, images = f.new(torch.Generator().manual_seed(0)), random_images(REFERENCE_BATCH, f.compute.device)
    leaves = [params[name].requires_grad_() for name in f.names]
    return lambda: [vector(torch.autograd.grad(f.logits(params, images).square().sum(), leaves))]


def _image_gradient(f: Functional) -> Work:
    params = f.new(torch.Generator().manual_seed(0))
    images = random_images(SYNTHETIC, f.compute.device).requires_grad_()

    def work() -> Sequence[Tensor]:
        return torch.autograd.grad(f.features(params, images).unflatten(0, (10, -1)).mean(1).square().sum(), [images])

    return work


def _ways(passes: Passes, precision: Precision) -> Sequence[Way]:
    compute = policy(precision, compiled=True)
    networks = {"the compiler's kernels": Unfused, "ours": ConvNet}
    return [Way(name, passes(Functional(network(NETWORK, SHAPE, 10), compute))) for name, network in networks.items()]


BENCHMARKS = tuple(
    Benchmark(f"fused-{name}-{precision}", f"{title}, compiled {precision}", partial(_ways, passes, precision))
    for name, title, passes in (
        ("features", f"features of {REAL} images", _features),
        ("training", f"slope in the weights of {REFERENCE_BATCH} images", _training),
        ("image-gradient", f"slope of class means in {SYNTHETIC} images", _image_gradient),
    )
    for precision in ("bf16", "fp32")
)
