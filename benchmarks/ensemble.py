"""Whether several networks train faster stacked under ``torch.func.vmap`` than one after another.

The parameter gradients of a few networks, each on a batch of its own; the trainer's choice rests on this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.harness import Benchmark, Way, vector
from ddcore.machine.compute import Compute, Precision
from ddcore.nets import Functional, Params, Shape, build
from ddcore.spec import ConvNetConfig

NETWORKS = 3


def _functional(width: int, shape: Shape, precision: Precision, *, compiled: bool) -> Functional:
    compute = Compute.choose(
        precision=precision, compile="on" if compiled else "off", expected_images_forwarded=float("inf")
    )
    return Functional(build(ConvNetConfig(width=width), shape, 10), compute)


def _problem(f: Functional, images: int) -> tuple[list[Params], Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    networks = [f.new(generator) for _ in range(NETWORKS)]
    x = torch.randn(NETWORKS, images, *f.shape, generator=generator).to(f.compute.device)
    return networks, x, (torch.arange(NETWORKS * images) % 10).view(NETWORKS, images).to(f.compute.device)


def _in_turn(f: Functional, images: int) -> Callable[[], Sequence[Tensor]]:
    networks, x, labels = _problem(f, images)
    leaves = [[p[name].requires_grad_() for name in f.names] for p in networks]

    def work() -> Sequence[Tensor]:
        gradients = [
            torch.autograd.grad(F.cross_entropy(f.logits(params, x[i]), labels[i]), leaves[i])
            for i, params in enumerate(networks)
        ]
        return [vector(torch.stack(parts) for parts in zip(*gradients, strict=True))]

    return work


def _stacked(f: Functional, images: int) -> Callable[[], Sequence[Tensor]]:
    networks, x, labels = _problem(f, images)
    stack = {name: torch.stack([p[name] for p in networks]).requires_grad_() for name in f.names}
    forward = torch.func.vmap(lambda params, x: f.plain("logits", params, x)[0])
    if f.compute.compiled:
        forward = torch.compile(forward, dynamic=False)

    def work() -> Sequence[Tensor]:
        loss = F.cross_entropy(forward(stack, x).flatten(0, 1), labels.flatten()) * NETWORKS
        return [vector(torch.autograd.grad(loss, list(stack.values())))]

    return work


def _ways(width: int, shape: Shape, images: int, precision: Precision, compiled: bool) -> Sequence[Way]:
    f = _functional(width, shape, precision, compiled=compiled)
    return [Way("in turn", _in_turn(f, images)), Way("stacked", _stacked(f, images))]


BENCHMARKS = (
    Benchmark(
        "ensemble_small",
        f"{NETWORKS} ConvNets of width 64, 20 images of 8 x 8, eager fp32",
        lambda: _ways(64, (1, 8, 8), 20, "fp32", False),
    ),
    Benchmark(
        "ensemble_eager",
        f"{NETWORKS} ConvNets of width 128, 100 images of 32 x 32, eager fp32",
        lambda: _ways(128, (3, 32, 32), 100, "fp32", False),
    ),
    Benchmark(
        "ensemble_compiled",
        f"{NETWORKS} ConvNets of width 128, 100 images of 32 x 32, compiled bf16",
        lambda: _ways(128, (3, 32, 32), 100, "bf16", True),
    ),
)
