"""One iteration of DM on CIFAR-10 shapes, IPC 10, 256 real images a class: the published loop, and ours."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from benchmarks.forward import SHAPE, SMOOTH
from benchmarks.harness import Benchmark, Way, Work, engine_ways
from benchmarks.random_run import random_run
from ddcore.augment import siamese
from ddcore.machine.compute import Compute, Precision
from ddcore.methods.dm import DM
from ddcore.nets import build
from ddcore.spec import DMConfig, JobSpec, parse

CLASSES, IPC, BATCH_REAL = 10, 10, 256
SPEC = parse({"dataset": "cifar10", "ipc": IPC, "method": {"name": "dm", "batch_real": BATCH_REAL}})


def ours(compute: Compute, spec: JobSpec = SPEC) -> Work:
    run = random_run(spec, compute)
    method = DM(DMConfig(batch_real=BATCH_REAL), run)

    def work() -> Sequence[Tensor]:
        run.random.load_state({})
        synthetic = method.start()
        step = method.draw(0, synthetic)
        loss = method.backward(step)["loss/base"]
        gradient = synthetic.gradient.clone()
        synthetic.step()
        return [loss.reshape(1), gradient]

    return work


def _published(compute: Compute, spec: JobSpec = SPEC) -> Work:
    """Class after class: permute the indices, fetch, augment both sides alike, forward; one backward for all."""
    run, device = random_run(spec, compute), compute.device
    method = DM(DMConfig(batch_real=BATCH_REAL), run)
    pixels = run.dataset.normalize(run.dataset.train.images).to(device)
    of_class = [(run.dataset.train.labels == c).nonzero().flatten() for c in range(CLASSES)]

    def work() -> Sequence[Tensor]:
        run.random.load_state({})
        step = method.draw(0, method.start())
        images = step.synthetic.images.detach().clone().requires_grad_()
        optimizer = torch.optim.SGD([images], lr=1.0, momentum=0.5)
        network = build(spec.network, SHAPE, CLASSES).to(device)
        network.load_state_dict(step.params)
        network.requires_grad_(False)
        loss = torch.zeros((), device=device)
        for c in range(CLASSES):
            torch.randperm(len(of_class[c]))[:BATCH_REAL]  # the draw that the loop pays for; equality needs ours
            real = siamese.apply(step.draws[c], pixels[step.rows[c]])
            synthetic = siamese.apply(step.draws[c], images[c * IPC : (c + 1) * IPC])
            difference = network.features(real).mean(0) - network.features(synthetic).mean(0)
            loss = loss + difference.square().sum()
        optimizer.zero_grad()
        loss.backward()
        gradient = images.grad.clone() if images.grad is not None else torch.zeros_like(images)
        optimizer.step()
        return [loss.detach().reshape(1), gradient]

    return work


def _ways(precision: Precision) -> Sequence[Way]:
    return engine_ways("published loop", _published, ours, precision)


def _agreement() -> Sequence[Way]:
    spec = SPEC.model_copy(update={"network": SMOOTH})
    return engine_ways("published loop", partial(_published, spec=spec), partial(ours, spec=spec), "fp32")


BENCHMARKS = (
    Benchmark("dm", "DM iteration, IPC 10, 10 classes, 256 real a class, bf16", lambda: _ways("bf16"), target=6.0),
    Benchmark("dm-fp32", "DM iteration, IPC 10, 10 classes, 256 real a class, fp32", lambda: _ways("fp32"), target=2.5),
    Benchmark("dm-agreement", "loss and slope of DM with Swish for ReLU", _agreement, timed=False),
)
