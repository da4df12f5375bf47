"""The gradient through a student's training, IPC 10, 10 classes, full batches: unrolled, and by the adjoint."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from benchmarks.forward import NETWORK, SHAPE, SMOOTH, functional
from benchmarks.harness import Benchmark, Way, Work, peak_bytes
from ddcore.autograd.adjoint import InnerSGD
from ddcore.autograd.gradients import Gradients
from ddcore.machine.compute import Precision
from ddcore.nets import Functional, Params, build
from ddcore.spec import ConvNetConfig

STEPS, IMAGES, LR = 20, 100, 0.01


class _Problem:
    """A student that starts from one network and shall arrive at another nearby."""

    def __init__(self, f: Functional, dtype: torch.dtype = torch.float32) -> None:
        generator = torch.Generator().manual_seed(1)
        self.start = {name: value.to(dtype) for name, value in f.new(torch.Generator().manual_seed(0)).items()}
        self.expert = {n: v + 0.02 * torch.randn(v.shape, generator=generator).to(v) for n, v in self.start.items()}
        self.images = torch.randn(IMAGES, *SHAPE, generator=generator).to(f.compute.device, dtype)
        self.labels = (torch.arange(IMAGES) % 10).to(f.compute.device)
        self.far = self._squared_distance(self.start)

    def distance(self, end: Params) -> Tensor:
        """Squared distance to the expert as a share of the start's."""
        return self._squared_distance(end) / self.far

    def _squared_distance(self, end: Params) -> Tensor:
        return torch.stack([(end[name] - self.expert[name]).square().sum() for name in self.expert]).sum()


def _unrolled(steps: int, network: ConvNetConfig = NETWORK) -> Work:
    f = functional("fp32", compiled=False, network=network)
    problem = _Problem(f)
    net = build(network, SHAPE, 10).to(f.compute.device)

    def work() -> Sequence[Tensor]:
        images = problem.images.clone().requires_grad_()
        lr = torch.tensor(LR, device=images.device, requires_grad=True)
        theta = {name: value.clone().requires_grad_() for name, value in problem.start.items()}
        for _ in range(steps):
            loss = F.cross_entropy(functional_call(net, theta, (images,)), problem.labels)
            gradient = torch.autograd.grad(loss, list(theta.values()), create_graph=True)
            theta = {name: theta[name] - lr * g for name, g in zip(theta, gradient, strict=True)}
        slope, lr_slope = torch.autograd.grad(problem.distance(theta), [images, lr])
        return [slope, lr_slope.reshape(1)]

    return work


def _adjoint(f: Functional, steps: int, dtype: torch.dtype = torch.float32) -> Work:
    problem = _Problem(f, dtype)
    sgd = InnerSGD(Gradients(f), lambda _, images, labels: (images, labels), steps, LR)

    def work() -> Sequence[Tensor]:
        path = sgd.forward(problem.start, problem.images, problem.labels)
        end = {name: value.clone().requires_grad_() for name, value in path[-1].items()}
        final = dict(zip(end, torch.autograd.grad(problem.distance(end), list(end.values())), strict=True))
        slope = sgd.backward(path, final, problem.images, problem.labels)
        return [slope.images, slope.lr.reshape(1)]

    return work


def _ways(precision: Precision) -> Sequence[Way]:
    return [
        Way("unrolled, eager fp32", _unrolled(STEPS)),
        Way("adjoint, eager fp32", _adjoint(functional("fp32", compiled=False), STEPS)),
        Way(f"adjoint, compiled {precision}", _adjoint(functional(precision, compiled=True), STEPS)),
    ]


def _agreement() -> Sequence[Way]:
    """Against the adjoint in double precision: what single precision rounds, in one graph of all steps as in ours."""
    f = functional("fp32", compiled=False, network=SMOOTH)
    return [
        Way("adjoint, eager float64", _adjoint(f, STEPS, torch.float64)),
        Way("unrolled, eager fp32", _unrolled(STEPS, SMOOTH)),
        Way("adjoint, eager fp32", _adjoint(f, STEPS)),
        Way("adjoint, compiled fp32", _adjoint(functional("fp32", compiled=True, network=SMOOTH), STEPS)),
    ]


def _memory() -> Sequence[Way]:
    """What each length returns is its peak of tensor memory beyond the stored parameters, in MiB."""

    def way(steps: int) -> Way:
        f = functional("fp32", compiled=False)
        stored = (steps + 1) * sum(value.numel() * value.element_size() for value in _Problem(f).start.values())
        work = _adjoint(f, steps)
        return Way(f"N = {steps}", lambda: [torch.tensor([(peak_bytes(work) - stored) / 2**20])])

    return [way(10), way(50)]


BENCHMARKS = (
    Benchmark("adjoint", "gradient through 20 SGD steps on 100 images, bf16", lambda: _ways("bf16"), target=0.7),
    Benchmark("adjoint-fp32", "gradient through 20 SGD steps on 100 images, fp32", lambda: _ways("fp32"), target=0.7),
    Benchmark("adjoint-agreement", "gradient through 20 SGD steps with Swish for ReLU", _agreement, timed=False),
    Benchmark(
        "adjoint-memory", "peak memory of the adjoint (MiB; the difference must stay below 0.15)", _memory, timed=False
    ),
)
