"""One image step of MTT (30 student steps, 100 images), of BPTT (50 training steps, 10 images) and of RaT-BPTT.

All have the shapes of CIFAR-10. The step of RaT-BPTT is a window of 20 in 40 training steps on 10 images.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from benchmarks.forward import SHAPE
from benchmarks.harness import Benchmark, Way, Work, engine_ways, peak_bytes, policy
from benchmarks.random_run import random_run
from ddcore.machine.compute import Compute, Precision
from ddcore.methods.bptt import BPTT
from ddcore.methods.mtt import MTT
from ddcore.methods.rat_bptt import RatBPTT
from ddcore.nets import build
from ddcore.runtime.context import Run
from ddcore.spec import BPTTConfig, MTTConfig, RatBPTTConfig, parse

CLASSES, IMAGES_PER_CLASS = 10, 64
EXPERTS = {"count": 1, "batch_size": 64}
STEPS, TRAINING = 30, 50
BEFORE, WINDOW = 20, 20
LENGTHS = (10, 20, 40, 80)


def _run(compute: Compute, **fields: Any) -> Run:
    """As few images as there may be: one expert takes ten steps."""
    spec = parse({"dataset": "cifar10", **fields})
    return random_run(spec, compute, CLASSES, max(IMAGES_PER_CLASS, spec.ipc))


def _mtt_step(compute: Compute, gradient: str, steps: int, **job: Any) -> tuple[MTT, Run]:
    fields = {"gradient": gradient, "student_steps": steps, "max_start": 1, "expert_epochs": 1, "experts": EXPERTS}
    run = _run(compute, method={"name": "mtt", **fields}, **job)
    method = MTT(cast(MTTConfig, run.spec.method), run)
    method.prepare()
    return method, run


def _mtt(compute: Compute, gradient: str, steps: int = STEPS) -> Work:
    method, run = _mtt_step(compute, gradient, steps, ipc=10)

    def work() -> Sequence[Tensor]:
        run.random.load_state({})
        synthetic = method.start()
        loss = method.backward(method.draw(0, synthetic))["loss/base"]
        return [synthetic.gradient, synthetic.learned["lr"].gradient.reshape(1), loss.reshape(1)]

    return work


def _bptt(compute: Compute) -> tuple[BPTT, Run]:
    run = _run(compute, ipc=1, method={"name": "bptt", "student_steps": TRAINING})
    return BPTT(cast(BPTTConfig, run.spec.method), run), run


def _engine(method: BPTT | RatBPTT) -> Work:
    """The slope and the loss of a step."""

    def work() -> Sequence[Tensor]:
        method.run.random.load_state({})
        synthetic = method.start()
        loss = method.backward(method.draw(0, synthetic))["loss/base"]
        return [synthetic.gradient, loss.reshape(1)]

    return work


def _ours(compute: Compute) -> Work:
    return _engine(_bptt(compute)[0])


def _published(compute: Compute) -> Work:
    """A copy of the whole network in host memory for every step; then one step's graph after another, backwards."""
    (method, run), device = _bptt(compute), compute.device
    lr, momentum = method.config.inner_lr, method.config.inner_momentum
    network = build(run.spec.network, SHAPE, CLASSES).to(device)

    def work() -> Sequence[Tensor]:
        run.random.load_state({})
        step = method.draw(0, method.start())
        images = step.images.clone().requires_grad_()
        theta = {name: value.clone().requires_grad_() for name, value in step.start.items()}
        velocity = [torch.zeros_like(value) for value in theta.values()]
        kept = []
        for index in range(TRAINING):
            kept.append(copy.deepcopy({name: value.detach().cpu() for name, value in theta.items()}))
            x, y = step.training.batch(index, images, step.labels)
            slopes = torch.autograd.grad(F.cross_entropy(functional_call(network, theta, (x,)), y), [*theta.values()])
            velocity = [momentum * v + g for v, g in zip(velocity, slopes, strict=True)]
            moved = [(w - lr * v).detach() for w, v in zip(theta.values(), velocity, strict=True)]
            theta = {name: value.requires_grad_() for name, value in zip(theta, moved, strict=True)}
        loss = F.cross_entropy(functional_call(network, theta, (step.real,)), step.real_labels)
        q = torch.autograd.grad(loss, [*theta.values()])
        r, total = [torch.zeros_like(value) for value in q], torch.zeros_like(images)
        for index in reversed(range(TRAINING)):
            r = [a - lr * b for a, b in zip(r, q, strict=True)]
            theta = {name: value.to(device).requires_grad_() for name, value in kept[index].items()}
            x, y = step.training.batch(index, images, step.labels)
            own = F.cross_entropy(functional_call(network, theta, (x,)), y)
            slopes = torch.autograd.grad(own, [*theta.values()], create_graph=True)
            inner = torch.stack([(a * b).sum() for a, b in zip(slopes, r, strict=True)]).sum()
            of_images, *of_weights = torch.autograd.grad(inner, [images, *theta.values()])
            total += of_images
            q = tuple(a + b for a, b in zip(q, of_weights, strict=True))
            r = [momentum * a for a in r]
        return [total, loss.detach().reshape(1)]

    return work


def _rat_bptt(compute: Compute) -> tuple[RatBPTT, Run]:
    """Its window stands always at the same place, so that each round does the same work."""
    fields = {"student_steps": BEFORE + WINDOW, "window": WINDOW, "min_start": BEFORE, "batch_real": IMAGES_PER_CLASS}
    run = _run(compute, ipc=1, augmentation="none", method={"name": "rat_bptt", **fields})
    return RatBPTT(cast(RatBPTTConfig, run.spec.method), run), run


def _windowed(compute: Compute) -> Work:
    return _engine(_rat_bptt(compute)[0])


def _one_graph(compute: Compute) -> Work:
    """Adam as a loop of plain tensors: detached before the window, and one graph through it."""
    method, run = _rat_bptt(compute)
    network = build(run.spec.network, SHAPE, CLASSES).to(compute.device)

    def work() -> Sequence[Tensor]:
        run.random.load_state({})
        step = method.draw(0, method.start())
        images = step.images.clone().requires_grad_()
        theta = {name: value.clone().requires_grad_() for name, value in step.start.items()}
        means, squares = ([torch.zeros_like(value) for value in theta.values()] for _ in range(2))
        for index in range(BEFORE + WINDOW):
            inside = index >= BEFORE
            x, y = step.training.batch(index, images, step.labels)
            loss = F.cross_entropy(functional_call(network, theta, (x if inside else x.detach(),)), y)
            slopes = torch.autograd.grad(loss, [*theta.values()], create_graph=inside)
            means = [0.9 * m + 0.1 * g for m, g in zip(means, slopes, strict=True)]
            squares = [0.999 * v + 0.001 * g * g for v, g in zip(squares, slopes, strict=True)]
            first, second = 1 - 0.9 ** (index + 1), 1 - 0.999 ** (index + 1)
            # The least number in place of zero: an entry without a gradient has no slope there.
            roots = [(v / second).clamp(min=1e-38).sqrt() for v in squares]
            lr = method.config.inner_lr
            moved = [
                w - lr * (m / first) / (root + 1e-8) for w, m, root in zip(theta.values(), means, roots, strict=True)
            ]
            theta = dict(zip(theta, moved if inside else [w.detach().requires_grad_() for w in moved], strict=True))
        loss = F.cross_entropy(functional_call(network, theta, (step.real,)), step.real_labels)
        return [*torch.autograd.grad(loss, [images]), loss.detach().reshape(1)]

    return work


def _mtt_ways(precision: Precision) -> Sequence[Way]:
    unrolled, exact = partial(_mtt, gradient="unrolled"), partial(_mtt, gradient="exact")
    return engine_ways("one graph of all steps", unrolled, exact, precision)


def _bptt_ways(precision: Precision) -> Sequence[Way]:
    return engine_ways("published loop", _published, _ours, precision)


def _rat_bptt_ways(precision: Precision) -> Sequence[Way]:
    return engine_ways("one graph of the window", _one_graph, _windowed, precision)


def _memory(images: int, width: int, *curves: tuple[str, Sequence[int]]) -> Sequence[Way]:
    """What each length returns is its peak of tensor memory beyond the stored parameters, in MiB."""
    compute = policy("fp32", compiled=False)
    network = {"name": "convnet", "width": width}

    def way(gradient: str, steps: int) -> Way:
        method, run = _mtt_step(compute, gradient, steps, ipc=images // CLASSES, network=network)
        synthetic = method.start()
        step = method.draw(0, synthetic)
        stored = (steps + 1) * sum(
            value.numel() * value.element_size() for value in run.functional.new(torch.Generator()).values()
        )
        work = partial(method.backward, step)
        return Way(f"{gradient}, N = {steps}", lambda: [torch.tensor([(peak_bytes(work) - stored) / 2**20])])

    return [way(gradient, steps) for gradient, lengths in curves for steps in lengths]


def _curves() -> Sequence[Way]:
    return _memory(10, 32, ("exact", LENGTHS), ("unrolled", LENGTHS))


def _large_batch() -> Sequence[Way]:
    return _memory(1000, 32, ("exact", (LENGTHS[0], LENGTHS[-1])))


BENCHMARKS = (
    Benchmark("mtt", "MTT step, 30 student steps on 100 images, bf16", lambda: _mtt_ways("bf16"), target=0.7),
    Benchmark(
        "mtt-memory", "peak memory (MiB) of an MTT step on 10 images, width 32, by student steps", _curves, timed=False
    ),
    Benchmark(
        "mtt-memory-1000", "the same on 1000 images; the difference must stay below 0.3", _large_batch, timed=False
    ),
    Benchmark("bptt", "BPTT step, 50 training steps on 10 images, bf16", lambda: _bptt_ways("bf16"), target=2.0),
    Benchmark(
        "rat-bptt",
        "RaT-BPTT step, a window of 20 in 40 training steps, bf16",
        lambda: _rat_bptt_ways("bf16"),
        target=2.0,
    ),
)
