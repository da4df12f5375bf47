"""One iteration of DM on CIFAR-10 shapes, IPC 10, 256 real images a class: the published loop, and ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from benchmarks.forward import SHAPE
from benchmarks.harness import Benchmark, Way
from ddcore.compute import Compute
from ddcore.data import augment
from ddcore.data.images import Dataset, ImageSet, describe
from ddcore.data.sampling import ClassSampler
from ddcore.hooks import Callback
from ddcore.methods.dm import DM
from ddcore.nets import Functional, build
from ddcore.randomness import Randomness
from ddcore.run import Run
from ddcore.spec import DMConfig, JobSpec, parse

CLASSES, IMAGES_PER_CLASS, IPC, BATCH_REAL = 10, 1000, 10, 256
SPEC = parse({"dataset": "cifar10", "ipc": IPC, "method": {"name": "dm", "batch_real": BATCH_REAL}})


def _dataset(classes: int) -> Dataset:
    """Random pixels: the work does not depend on them."""

    def split(per_class: int) -> ImageSet:
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (classes * per_class, *SHAPE), dtype=torch.uint8, generator=generator)
        return ImageSet(images, torch.arange(classes).repeat(per_class), tuple(map(str, range(classes))))

    return describe("cifar10", split(IMAGES_PER_CLASS), split(1))


def random_run(spec: JobSpec, compute: Compute, classes: int = CLASSES) -> Run:
    """The context of a run on random pixels of CIFAR-10's shape."""
    dataset = _dataset(classes)
    return Run(
        spec=spec,
        dataset=dataset,
        compute=compute,
        functional=Functional(build(spec.network, dataset.shape, classes), compute),
        strategy=augment.strategy_for(spec.augmentation, dataset.flip),
        random=Randomness(0, compute.device),
        sampler=ClassSampler(dataset.train.labels, classes),
        cache=None,
        callback=Callback(),
        check_stop=lambda: None,
    )


def _ours(compute: Compute) -> Callable[[], Sequence[Tensor]]:
    run = random_run(SPEC, compute)
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


def _published(device: torch.device) -> Callable[[], Sequence[Tensor]]:
    """Class after class: permute the indices, fetch, augment both sides alike, forward; one backward for all."""
    run = random_run(SPEC, Compute(device))
    method = DM(DMConfig(batch_real=BATCH_REAL), run)
    pixels = run.dataset.normalize(run.dataset.train.images).to(device)
    of_class = [(run.dataset.train.labels == c).nonzero().flatten() for c in range(CLASSES)]

    def work() -> Sequence[Tensor]:
        run.random.load_state({})
        step = method.draw(0, method.start())
        images = step.synthetic.images.detach().clone().requires_grad_()
        optimizer = torch.optim.SGD([images], lr=1.0, momentum=0.5)
        network = build(SPEC.network, SHAPE, CLASSES).to(device)
        network.load_state_dict(step.params)
        network.requires_grad_(False)
        loss = torch.zeros((), device=device)
        for c in range(CLASSES):
            torch.randperm(len(of_class[c]))[:BATCH_REAL]  # the draw that the loop pays for; equality needs ours
            real = augment.apply(step.draws[c], pixels[step.rows[c]])
            synthetic = augment.apply(step.draws[c], images[c * IPC : (c + 1) * IPC])
            difference = network.features(real).mean(0) - network.features(synthetic).mean(0)
            loss = loss + difference.square().sum()
        optimizer.zero_grad()
        loss.backward()
        gradient = images.grad.clone() if images.grad is not None else torch.zeros_like(images)
        optimizer.step()
        return [loss.detach().reshape(1), gradient]

    return work


def _ways(precision: str) -> Sequence[Way]:
    def compute(precision: str, compiled: str) -> Compute:
        return Compute.choose("auto", precision, compiled, expected_images_forwarded=1e9)  # type: ignore[arg-type]

    device = compute("fp32", "off").device
    return [
        Way("published loop, eager fp32", _published(device)),
        Way("engine, eager fp32", _ours(compute("fp32", "off"))),
        Way(f"engine, compiled {precision}", _ours(compute(precision, "on"))),
    ]


BENCHMARKS = (
    Benchmark("dm", "DM iteration, IPC 10, 10 classes, 256 real a class, bf16", lambda: _ways("bf16"), target=6.0),
    Benchmark("dm-fp32", "DM iteration, IPC 10, 10 classes, 256 real a class, fp32", lambda: _ways("fp32"), target=2.5),
)
