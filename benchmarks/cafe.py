"""One image step of CAFE on CIFAR-10 shapes, with the training and the queries that follow it: released, and ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.forward import SHAPE
from benchmarks.harness import Benchmark, Way, Work, engine_ways, vector
from benchmarks.random_run import random_run
from ddcore.data.sampling import batches
from ddcore.machine.compute import Compute, Precision
from ddcore.methods.cafe import CAFE
from ddcore.nets import build
from ddcore.spec import CAFEConfig, JobSpec, parse

IPC, EPOCHS = 10, 10
LEVEL_WEIGHTS = (0.1, 0.1, 1.0, 1.0, 1.0)


def _spec(batch_real: int) -> JobSpec:
    """As released; training stops after its first window of ten epochs in any case, so that all ways do the same."""
    method = {"name": "cafe", "batch_real": batch_real, "max_network_epochs": EPOCHS}
    return parse({"dataset": "cifar10", "ipc": IPC, "method": method})


def _cafe(classes: int, batch_real: int, compute: Compute) -> CAFE:
    spec = _spec(batch_real)
    return CAFE(cast(CAFEConfig, spec.method), random_run(spec, compute, classes))


def _ours(cafe: CAFE, *, training: bool) -> Work:
    cafe.start()
    untouched = {name: tensor.clone() for name, tensor in cafe.state().items()}

    def work() -> Sequence[Tensor]:
        cafe.run.random.load_state({})
        synthetic = cafe.start()
        cafe.load_state(untouched)
        step = cafe.draw(0, synthetic)
        start = [step.params[name].clone() for name in cafe.run.functional.names]
        cafe.backward(step)
        gradient = synthetic.gradient.clone()
        synthetic.step()
        if training:
            cafe.advance(step)
        end = [step.params[name] for name in cafe.run.functional.names]
        return [gradient, _descent(start, end, cafe.config.lr_net)]

    return work


def _released(cafe: CAFE, *, training: bool) -> Work:
    """One graph for all images, real ones too; queries class by class, with graphs; a useless pass after each epoch."""
    run, config, classes = cafe.run, cafe.config, len(cafe.run.dataset.classes)
    device = run.compute.device

    def class_means(level: Tensor) -> Tensor:
        means: Tensor = level.unflatten(0, (classes, -1)).mean(dim=1)
        return means

    def work() -> Sequence[Tensor]:
        run.random.load_state({})
        step = cafe.draw(0, cafe.start())
        images = step.synthetic.images.detach().clone().requires_grad_()
        image_optimizer = torch.optim.SGD([images], lr=config.lr_img, momentum=config.momentum)
        network = build(run.spec.network, SHAPE, classes).to(device)
        network.load_state_dict(step.params)
        optimizer = torch.optim.SGD(network.parameters(), lr=config.lr_net)
        start = [weight.detach().clone() for weight in network.parameters()]

        real = run.real_images(torch.cat(step.rows))
        labels = torch.arange(classes, device=device).repeat_interleave(config.batch_real)
        of_real, of_own = network.levels(real), network.levels(images)
        loss = F.cross_entropy(network.classifier(of_real[-1]), labels)
        for weight, r, s in zip(LEVEL_WEIGHTS, of_real, of_own, strict=True):
            loss = loss + weight * F.mse_loss(class_means(r), class_means(s), reduction="sum")
        logits = of_real[-1] @ class_means(of_own[-1]).T
        loss = loss + config.weight_discrimination * F.cross_entropy(logits, labels, reduction="sum")
        loss.backward()
        gradient = torch.zeros_like(images) if images.grad is None else images.grad.clone()
        image_optimizer.step()
        if not training:
            return [gradient, _descent(start, start, config.lr_net)]

        def query() -> float:
            rows = run.sampler.draw_each(config.query_images, run.random.host_stream("method/query"))
            right = [(network(run.real_images(r)).argmax(1) == c).float().mean() for c, r in enumerate(rows)]
            return torch.stack(right).mean().item()

        query()
        own, own_labels = images.detach().clone(), step.synthetic.labels
        for _ in range(EPOCHS):
            for rows in batches(len(own), config.batch_train, run.random.host_stream("method/train")):
                optimizer.zero_grad()
                F.cross_entropy(network(own[rows]), own_labels[rows]).backward()
                optimizer.step()
            query()
            F.cross_entropy(network(own), own_labels)
        return [gradient, _descent(start, list(network.parameters()), config.lr_net)]

    return work


def _descent(start: Sequence[Tensor], end: Sequence[Tensor], lr: float) -> Tensor:
    """Sum of the gradients that plain SGD followed."""
    return vector((before - after) / lr for before, after in zip(start, end, strict=True))


def _ways(precision: Precision, *, classes: int = 10, batch_real: int = 256, training: bool = True) -> Sequence[Way]:
    def cafe(compute: Compute) -> CAFE:
        return _cafe(classes, batch_real, compute)

    return engine_ways(
        "released loop",
        lambda compute: _released(cafe(compute), training=training),
        lambda compute: _ours(cafe(compute), training=training),
        precision,
    )


BENCHMARKS = (
    Benchmark("cafe", "CAFE image step and training, IPC 10, 10 classes, bf16", lambda: _ways("bf16"), target=4.0),
    Benchmark("cafe-fp32", "CAFE image step and training, IPC 10, 10 classes, fp32", lambda: _ways("fp32")),
    Benchmark(
        "cafe-10-classes",
        "CAFE image step alone, IPC 10, 10 classes, 26 real a class",
        lambda: _ways("bf16", batch_real=26, training=False),
    ),
    Benchmark(
        "cafe-100-classes",
        "CAFE image step alone, IPC 10, 100 classes, 26 real a class",
        lambda: _ways("bf16", classes=100, batch_real=26, training=False),
    ),
)
