"""One iteration of IDM on CIFAR-10 shapes, IPC 10 as mosaics, 256 real images a class: the released loop, and ours.

Gradients of single pixels differ by up to 3 percent of the largest, since rounding turns them at the kinks of ReLU;
with ``activation="swish"`` the uncompiled ways agree to 3e-6.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.forward import SHAPE
from benchmarks.harness import Benchmark, Way, Work, engine_ways
from benchmarks.random_run import random_run
from ddcore.augment import siamese
from ddcore.machine.compute import Compute, Precision
from ddcore.methods.idm import IDM
from ddcore.nets import Network, Params, build
from ddcore.spec import IDMConfig, JobSpec, parse

IPC = 10
METER = (102, 256)
"""Images right and seen of the network that is matched: 40 percent, at which the cross-entropy weighs 20."""


def _spec() -> JobSpec:
    return parse({"dataset": "cifar10", "ipc": IPC, "method": "idm"})


def _method(compute: Compute, classes: int) -> IDM:
    spec = _spec()
    assert isinstance(spec.method, IDMConfig)
    return IDM(spec.method, random_run(spec, compute, classes))


def _ours(compute: Compute, classes: int) -> Work:
    method = _method(compute, classes)

    def work() -> Sequence[Tensor]:
        method.run.random.load_state({})
        synthetic = method.start()
        start = synthetic.stored.detach().clone()
        synthetic.begin_step()
        step = method.draw(0, synthetic)
        method._matched.meter.copy_(torch.tensor(METER))
        method.backward(step)
        gradient = synthetic.gradient.clone()
        synthetic.step()
        method.advance(step)
        return [gradient, synthetic.stored.detach() - start]

    return work


def _decoded(images: Tensor) -> Tensor:
    """The four quarters of each image, enlarged."""
    half = images.shape[-1] // 2
    quarters = [images[:, :, i : i + half, j : j + half] for j in (0, half) for i in (0, half)]
    return F.interpolate(torch.cat(quarters), scale_factor=2, mode="bilinear", align_corners=False)


def _module(method: IDM, params: Params, device: torch.device) -> tuple[Network, torch.optim.SGD]:
    config, run = method.config, method.run
    network = build(run.spec.network, SHAPE, len(run.dataset.classes)).to(device)
    network.load_state_dict(params)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=config.lr_net, momentum=config.momentum_net, weight_decay=config.weight_decay
    )
    return network, optimizer


def _published(compute: Compute, classes: int) -> Work:
    """Class after class: features of both sides with a graph, logits in a pass of their own, a step of all images."""
    method, device = _method(compute, classes), compute.device
    run, config = method.run, method.config
    labels = run.dataset.train.labels
    pixels = run.dataset.normalize(run.dataset.train.images).to(device)
    of_class = [(labels == c).nonzero().flatten() for c in range(classes)]

    def train(network: Network, optimizer: torch.optim.SGD) -> None:
        generator = run.random.host_stream("method/train")
        for _ in range(config.network_steps):
            rows = torch.randperm(len(pixels), generator=generator)[: config.batch_train]
            optimizer.zero_grad()
            F.cross_entropy(network(pixels[rows]), labels[rows].to(device)).backward()
            optimizer.step()

    def work() -> Sequence[Tensor]:
        run.random.load_state({})
        step = method.draw(0, synthetic := method.start())
        start = synthetic.stored.detach()
        images = start.clone().requires_grad_()
        gradient = torch.zeros_like(start)
        optimizer = torch.optim.SGD([images], lr=config.lr_img, momentum=config.momentum)
        network, _ = _module(method, step.params, device)
        for c in range(classes):
            torch.randperm(len(of_class[c]))[: config.batch_real]  # the draw that the loop pays for
            label, own = torch.full((4 * IPC,), c, device=device), slice(c * IPC, (c + 1) * IPC)
            real = network.features(siamese.apply(step.draws[c], pixels[step.rows[c]])).mean(0).detach()
            decoded = siamese.apply(step.draws[c], _decoded(images[own]))
            loss = (real - network.features(decoded).mean(0)).square().sum()
            weight = config.ce_weight * 100 * METER[0] / METER[1]
            loss = loss + weight * F.cross_entropy(network(decoded), label)
            optimizer.zero_grad()
            loss.backward()
            if images.grad is not None:
                gradient[own] = images.grad[own]
            optimizer.step()
        trained = torch.randperm(len(method._queue), generator=run.random.host_stream("method/train"))
        for number in trained[: config.networks_trained].tolist():
            train(*_module(method, method._queue._networks[number].params, device))
        return [gradient, images.detach() - start]

    return work


def _ways(precision: Precision, classes: int) -> Sequence[Way]:
    published, ours = partial(_published, classes=classes), partial(_ours, classes=classes)
    return engine_ways("released loop", published, ours, precision)


TITLE = "IDM iteration with network training, IPC 10 as mosaics, {} classes, 256 real a class, {}"

BENCHMARKS = (
    Benchmark("idm", TITLE.format(10, "bf16"), partial(_ways, "bf16", 10), target=4.0),
    Benchmark("idm-fp32", TITLE.format(10, "fp32"), partial(_ways, "fp32", 10)),
    Benchmark("idm-100", TITLE.format(100, "bf16"), partial(_ways, "bf16", 100), target=4.0),
)
