"""Gradient matching on CIFAR-10 shapes, IPC 10, 10 classes, 256 real images a class: the published loop, and ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.forward import NETWORK, SHAPE, SMOOTH, functional
from benchmarks.harness import Benchmark, Way, vector
from ddcore.augment import siamese
from ddcore.autograd.gradients import Gradients
from ddcore.autograd.second_order import WeightedBatch, double_backward, nested_transforms
from ddcore.formulas.gradient_distances import row_cosine
from ddcore.machine.compute import Precision
from ddcore.nets import Functional, Params, build
from ddcore.spec import ConvNetConfig

CLASSES, IMAGES_PER_CLASS, IPC, BATCH_REAL = 10, 1000, 10, 256
LR_IMG, MOMENTUM = 0.1, 0.5


@dataclass(frozen=True)
class _Problem:
    """One image step of DSA: a network, synthetic images, real rows and an augmentation of each class."""

    pixels: Tensor
    synthetic: Tensor
    rows: tuple[Tensor, ...]
    draws: tuple[siamese.Draw, ...]
    params: Params

    @classmethod
    def on(cls, f: Functional) -> _Problem:
        generator = torch.Generator().manual_seed(1)
        strategy = siamese.strategy_for("auto", flip=True)
        first = torch.arange(CLASSES) * IMAGES_PER_CLASS
        return cls(
            pixels=torch.randn(CLASSES * IMAGES_PER_CLASS, *SHAPE, generator=generator).to(f.compute.device),
            synthetic=torch.randn(CLASSES * IPC, *SHAPE, generator=generator).to(f.compute.device),
            rows=tuple(c + torch.randperm(IMAGES_PER_CLASS, generator=generator)[:BATCH_REAL] for c in first),
            draws=tuple(siamese.draw(strategy, None, SHAPE, generator) for _ in range(CLASSES)),
            params=f.new(torch.Generator().manual_seed(0)),
        )


def _labels(c: int, count: int, device: torch.device) -> Tensor:
    return torch.full((count,), c, device=device)


def _published(network: ConvNetConfig = NETWORK) -> Callable[[], Sequence[Tensor]]:
    """Class after class, one graph of second derivatives for all of them, and one backward."""
    f = functional("fp32", compiled=False, network=network)
    problem, device = _Problem.on(f), f.compute.device
    net = build(network, SHAPE, CLASSES).to(device)
    net.load_state_dict(problem.params)

    def work() -> Sequence[Tensor]:
        images = problem.synthetic.clone().requires_grad_()
        optimizer = torch.optim.SGD([images], lr=LR_IMG, momentum=MOMENTUM)
        loss = torch.zeros((), device=device)
        for c in range(CLASSES):
            real = siamese.apply(problem.draws[c], problem.pixels[problem.rows[c]])
            real_loss = F.cross_entropy(net(real), _labels(c, BATCH_REAL, device))
            target = torch.autograd.grad(real_loss, list(net.parameters()))
            synthetic = siamese.apply(problem.draws[c], images[c * IPC : (c + 1) * IPC])
            own_loss = F.cross_entropy(net(synthetic), _labels(c, IPC, device))
            own = torch.autograd.grad(own_loss, list(net.parameters()), create_graph=True)
            for g, r in zip(own, target, strict=True):
                if g.ndim > 1:
                    g, r = g.flatten(1), r.flatten(1)
                    loss = loss + (1 - (g * r).sum(1) / (g.norm(dim=1) * r.norm(dim=1) + 1e-6)).sum()
        optimizer.zero_grad()
        loss.backward()
        gradient = torch.zeros_like(images) if images.grad is None else images.grad.clone()
        optimizer.step()
        return [loss.detach().reshape(1), gradient]

    return work


def ours(f: Functional) -> Callable[[], Sequence[Tensor]]:
    problem, device, gradients = _Problem.on(f), f.compute.device, Gradients(f)
    labels = torch.arange(CLASSES, device=device)
    sizes = [BATCH_REAL] * CLASSES

    def work() -> Sequence[Tensor]:
        images = problem.synthetic.clone().requires_grad_()
        optimizer = torch.optim.SGD([images], lr=LR_IMG, momentum=MOMENTUM)
        real = siamese.apply_by_class(problem.draws, problem.pixels[torch.cat(problem.rows)], sizes)
        targets = gradients.class_gradients(problem.params, real, labels.repeat_interleave(BATCH_REAL), sizes)
        synthetic = siamese.apply_by_class(problem.draws, images, [IPC] * CLASSES)
        values, slopes = [], []
        for c, own in enumerate(synthetic.split(IPC)):
            target = {name: value[c] for name, value in targets.items()}
            value, slope = gradients.distance_gradient(problem.params, own, _labels(c, IPC, device), target, row_cosine)
            values.append(value)
            slopes.append(slope)
        optimizer.zero_grad()
        synthetic.backward(torch.cat(slopes))
        gradient = torch.zeros_like(images) if images.grad is None else images.grad.clone()
        optimizer.step()
        return [torch.stack(values).sum().reshape(1), gradient]

    return work


def _matching(precision: Precision, network: ConvNetConfig = NETWORK) -> Sequence[Way]:
    return [
        Way("published loop, eager fp32", _published(network)),
        Way("engine, eager fp32", ours(functional("fp32", compiled=False, network=network))),
        Way(f"engine, compiled {precision}", ours(functional(precision, compiled=True, network=network))),
    ]


def _class_gradients() -> Sequence[Way]:
    def way(vectorized: bool) -> Callable[[], Sequence[Tensor]]:
        f = functional("fp32", compiled=False)
        problem, gradients = _Problem.on(f), Gradients(f, vectorized=vectorized)
        images = problem.pixels[torch.cat(problem.rows)]
        labels = torch.arange(CLASSES, device=images.device).repeat_interleave(BATCH_REAL)
        sizes = [BATCH_REAL] * CLASSES
        return lambda: [vector(gradients.class_gradients(problem.params, images, labels, sizes).values())]

    return [Way("class by class, eager fp32", way(False)), Way("vmap over classes, eager fp32", way(True))]


def _second_order() -> Sequence[Way]:
    """Slope of a distance in the 10 images of one class, in both ways, uncompiled."""
    f = functional("fp32", compiled=False)
    problem = _Problem.on(f)
    target = f.new(torch.Generator().manual_seed(2))
    images, labels = problem.synthetic[:IPC], _labels(0, IPC, f.compute.device)
    batch = WeightedBatch(images, labels, images.new_full((IPC,), 1 / IPC))

    def loss(trained: Params, _: Params, batch: WeightedBatch) -> Tensor:
        losses = F.cross_entropy(f.plain("logits", trained, batch.images)[0], batch.labels, reduction="none")
        return (batch.weights * losses).sum()

    walked = double_backward(loss, row_cosine, labels=False, params=False)
    nested = nested_transforms(loss, row_cosine, labels=False, params=False)
    return [
        Way("double backward, eager fp32", lambda: [walked(problem.params, {}, batch, target)[2].images]),
        Way("nested transforms, eager fp32", lambda: [nested(problem.params, {}, batch, target)[2].images]),
    ]


BENCHMARKS = (
    Benchmark("matching", "DSA image step, IPC 10, 10 classes, 256 real, bf16", lambda: _matching("bf16"), target=3.0),
    Benchmark("matching-fp32", "DSA image step, IPC 10, 10 classes, 256 real, fp32", lambda: _matching("fp32")),
    Benchmark(
        "matching-agreement",
        "loss and slope of DSA with Swish for ReLU",
        lambda: _matching("fp32", SMOOTH),
        timed=False,
    ),
    Benchmark("class-gradients", "gradients of 10 classes of 256 images", _class_gradients),
    Benchmark("second-order", "slope of the row-wise cosine in 10 images", _second_order),
)
