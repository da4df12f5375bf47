"""One sweep of IDC on CIFAR-10 shapes, IPC 10, factor 2, with the network's training: the published loop, and ours."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import sweeps
from benchmarks.forward import SHAPE
from benchmarks.harness import Benchmark, Work, engine_ways
from benchmarks.sweeps import CLASSES, IPC, network_with, of_class
from ddcore.augment import siamese
from ddcore.augment.cutmix import cutmix
from ddcore.machine.compute import Compute
from ddcore.methods.idc import IDC
from ddcore.methods.shared.feature_matching import MatchingStep
from ddcore.nets import Network
from ddcore.runtime.context import Run
from ddcore.spec import IDCConfig, parse

CONFIG = IDCConfig()
SPEC = parse({"dataset": "cifar10", "ipc": IPC, "method": CONFIG})


def _method(compute: Compute) -> IDC:
    return IDC(CONFIG, sweeps.run_of(SPEC, compute))


def ours(compute: Compute) -> Work:
    return sweeps.ours(_method(compute))


def _published(compute: Compute) -> Work:
    """Class after class: decode, normalise, augment both sides alike, two graphs, one optimiser step; then train."""
    method = _method(compute)
    run = method.run

    def loop(step: MatchingStep, real: Tensor, pixels: Tensor) -> Sequence[Tensor]:
        network = network_with(step.params, run)
        loss = _sweep(step, run, real, pixels, network)
        _train(run, real, network)
        return [loss]

    return sweeps.published(method, loop)


def _sweep(step: MatchingStep, run: Run, real: Tensor, pixels: Tensor, network: Network) -> Tensor:
    optimizer = torch.optim.SGD([pixels], lr=CONFIG.lr_img * IPC / 10, momentum=CONFIG.momentum)
    weights = [weight for weight in network.parameters() if weight.ndim == 4]
    total = torch.zeros((), device=pixels.device)
    for label, (rows, drawn) in enumerate(zip(step.rows, step.draws, strict=True)):
        both = siamese.apply(drawn, torch.cat([real[rows], of_class(run, pixels, label)]))
        labels = torch.full((len(both),), label, device=pixels.device)
        on_real = F.cross_entropy(network(both[: len(rows)]), labels[: len(rows)])
        on_own = F.cross_entropy(network(both[len(rows) :]), labels[len(rows) :])
        target = [g.detach() for g in torch.autograd.grad(on_real, weights, retain_graph=True)]
        gradient = torch.autograd.grad(on_own, weights, create_graph=True)
        loss = torch.stack([(g - r).square().sum() for g, r in zip(gradient, target, strict=True)]).sum()
        optimizer.zero_grad(set_to_none=False)
        loss.backward()
        optimizer.step()
        total += loss.detach()
    return total


def _train(run: Run, real: Tensor, network: Network) -> None:
    generator, labels = run.random.host_stream("method/train"), run.dataset.train.labels
    optimizer = torch.optim.SGD(
        network.parameters(), lr=CONFIG.lr_net, momentum=CONFIG.momentum_net, weight_decay=CONFIG.weight_decay
    )
    strategy = tuple(operation for operation in run.strategy if operation != "cutout")
    count = -(-CONFIG.train_images // CONFIG.batch_train) * CONFIG.batch_train
    for rows in run.sampler.draw_mixed(count, generator).split(CONFIG.batch_train):
        drawn = siamese.draw_stacked(strategy, len(rows), SHAPE, generator)
        expected = labels[rows].to(real.device)
        images, mixed = cutmix(siamese.apply(drawn, real[rows]), expected, CLASSES, generator)
        optimizer.zero_grad()
        F.cross_entropy(network(images), mixed).backward()
        optimizer.step()


BENCHMARKS = (
    Benchmark(
        "idc",
        "IDC sweep and the network's training after it, IPC 10, factor 2",
        lambda: engine_ways("published loop", _published, ours, "bf16"),
        target=3.0,
    ),
)
