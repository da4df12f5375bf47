"""One sweep of IDC on CIFAR-10 shapes, IPC 10, factor 2, with the network's training: the published loop, and ours."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.forward import SHAPE
from benchmarks.harness import Benchmark, Work, engine_ways
from benchmarks.random_run import random_run
from ddcore.augment import siamese
from ddcore.augment.cutmix import cutmix
from ddcore.machine.compute import Compute
from ddcore.methods.idc import IDC
from ddcore.methods.shared.feature_matching import MatchingStep
from ddcore.nets import Network, build
from ddcore.runtime.context import Run
from ddcore.spec import IDCConfig, parse

CLASSES, IPC, SIDE = 10, 10, SHAPE[1]
CONFIG = IDCConfig()
SPEC = parse({"dataset": "cifar10", "ipc": IPC, "method": CONFIG})


def _method(compute: Compute) -> IDC:
    run = random_run(SPEC, compute)
    run.strategy = siamese.strategy_for(SPEC.augmentation, run.dataset.flip)
    return IDC(CONFIG, run)


def _ours(compute: Compute) -> Work:
    method = _method(compute)

    def work() -> Sequence[Tensor]:
        method.run.random.load_state({})
        synthetic = method.start()
        start = synthetic.stored.detach().clone()
        synthetic.begin_step()
        step = method.draw(0, synthetic)
        loss = method.backward(step)["loss/base"]
        synthetic.step()
        method.advance(step)
        pixel = torch.tensor(method.run.dataset.std, device=start.device).view(1, -1, 1, 1)
        return [loss.reshape(1), (synthetic.stored.detach() - start) * pixel]

    return work


def _published(compute: Compute) -> Work:
    """Class after class: decode, normalise, augment both sides alike, two graphs, one optimiser step; then train."""
    method, device = _method(compute), compute.device
    run = method.run
    real = run.dataset.normalize(run.dataset.train.images).to(device)

    def work() -> Sequence[Tensor]:
        run.random.load_state({})
        synthetic = method.start()
        step = method.draw(0, synthetic)
        start = run.dataset.denormalize(synthetic.stored.detach())
        pixels = start.clone().requires_grad_()
        network = build(SPEC.network, SHAPE, CLASSES).to(device)
        network.load_state_dict(step.params)
        loss = _sweep(step, run, real, pixels, network)
        _train(run, real, network)
        return [loss.reshape(1), pixels.detach() - start]

    return work


def _sweep(step: MatchingStep, run: Run, real: Tensor, pixels: Tensor, network: Network) -> Tensor:
    optimizer = torch.optim.SGD([pixels], lr=CONFIG.lr_img * IPC / 10, momentum=CONFIG.momentum)
    weights = [weight for weight in network.parameters() if weight.ndim == 4]
    total = torch.zeros((), device=pixels.device)
    for label, (rows, drawn) in enumerate(zip(step.rows, step.draws, strict=True)):
        own = run.dataset.normalize(decoded(pixels[label * IPC : (label + 1) * IPC]))
        both = siamese.apply(drawn, torch.cat([real[rows], own]))
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


def decoded(pixels: Tensor) -> Tensor:
    """Four images (4 * N, C, H, W) of each mosaic, pixels from 0 to 1."""
    half = SIDE // 2
    tiles = [pixels[:, :, i : i + half, j : j + half] for i in (0, half) for j in (0, half)]
    return F.interpolate(torch.cat(tiles), size=(SIDE, SIDE), mode="bilinear", align_corners=False)


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
        lambda: engine_ways("published loop", _published, _ours, "bf16"),
        target=3.0,
    ),
)
