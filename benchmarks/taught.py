"""Steps of methods that look through a network trained on the real images: the released loops, and ours.

The networks are random, since what they have learned changes no time. What is compared is the slope of the images and
the loss: where a slope is near zero, Adam makes a whole step of its sign, which rounding turns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from benchmarks.forward import SHAPE
from benchmarks.harness import Benchmark, Way, Work, engine_ways, policy
from benchmarks.random_run import random_run
from ddcore.augment import siamese
from ddcore.machine.compute import Compute
from ddcore.methods import build_method
from ddcore.methods.cim import CIM
from ddcore.methods.sre2l import FADRM, SRe2L
from ddcore.nets import Network, build
from ddcore.spec import parse
from ddcore.synthetic.set import SyntheticSet

CLASSES, IPC = 10, 10

Taught = SRe2L | FADRM | CIM


def _method(job: dict[str, Any], compute: Compute) -> Taught:
    spec = parse(job)
    run = random_run(spec, compute)
    run.strategy = siamese.strategy_for(spec.augmentation, run.dataset.flip)
    method = build_method(spec.method, run)
    assert isinstance(method, Taught)
    for teacher in method._teachers:
        teacher.adopt(teacher.functional.new(Generator().manual_seed(0)))
    return method


def _network(method: Taught) -> Network:
    """The first teacher as a plain module."""
    network = build(method.config.teacher.network, SHAPE, CLASSES).to(method.run.compute.device).eval()
    network.load_state_dict(method._teacher._params)
    return network.requires_grad_(False)


def _begun(compute: Compute, job: dict[str, Any]) -> tuple[Taught, SyntheticSet]:
    """A method and its images, which are chosen in eager fp32 however steps are computed."""
    plain, method = _method(job, policy("fp32", compiled=False)), _method(job, compute)
    chosen, synthetic = plain.start(), method.start()
    method.load_state(plain.state())
    synthetic.load_state(chosen.state())
    method.run.random.load_state({})
    return method, synthetic


def _ours(compute: Compute, job: dict[str, Any]) -> Work:
    """A step of all images."""
    method, synthetic = _begun(compute, job)
    step: Any = method.draw(0, synthetic)
    start = {name: tensor.clone() for name, tensor in synthetic.state().items()}

    def work() -> Sequence[Tensor]:
        synthetic.load_state(start)
        synthetic.begin_step()
        loss = method.backward(step)["loss/base"]
        synthetic.step()
        return [loss.reshape(1), synthetic.gradient.clone()]

    return work


def _recovered(compute: Compute, job: dict[str, Any]) -> Work:
    """Batch after batch, one image of each class: hooks on every normalisation, and an Adam of its own."""
    method, synthetic = _begun(compute, job)
    assert not isinstance(method, CIM)
    step, network, stored = method.draw(0, synthetic), _network(method), synthetic.stored.detach()
    run, weight = method.run, method.config.statistics_weight
    mean, std = (
        torch.tensor(each, device=compute.device).view(1, -1, 1, 1) for each in (run.dataset.mean, run.dataset.std)
    )
    labels = torch.arange(CLASSES, device=compute.device)

    def work() -> Sequence[Tensor]:
        total, slopes = torch.zeros(1, device=compute.device), torch.zeros_like(stored)
        for number, view in enumerate(step.views):
            rows = slice(number, None, IPC)
            images = stored[rows].clone().requires_grad_()
            optimizer = torch.optim.Adam([images], method.config.lr_img, betas=(0.5, 0.9), eps=1e-8)
            distances: list[Tensor] = []
            hooks = [layer.register_forward_hook(partial(_distance, distances)) for layer in _normalisations(network)]
            loss = F.cross_entropy(network(view(images)), labels)
            for hook in hooks:
                hook.remove()
            loss = loss + weight * sum(10 * d if index == 0 else d for index, d in enumerate(distances))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                images.copy_(torch.minimum(torch.maximum(images, -mean / std), (1 - mean) / std))
            assert images.grad is not None
            slopes[rows] = images.grad
            total += loss.detach()
        return [total, slopes]

    return work


def _normalisations(network: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def _distance(found: list[Tensor], layer: nn.BatchNorm2d, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
    (maps,) = inputs
    assert layer.running_mean is not None
    assert layer.running_var is not None
    variance = maps.permute(1, 0, 2, 3).contiguous().view(maps.shape[1], -1).var(1, unbiased=False)
    found.append((layer.running_var - variance).norm() + (layer.running_mean - maps.mean([0, 2, 3])).norm())


def _refined(compute: Compute, job: dict[str, Any]) -> Work:
    """Class after class: tiles enlarged, images and tiles in one pass with a graph, and an AdamW of its own."""
    method, synthetic = _begun(compute, job)
    assert isinstance(method, CIM)
    run = method.run
    step, network = method.draw(0, synthetic), _network(method)
    pixels = run.dataset.denormalize(synthetic.stored.detach())
    anchors = [run.pixels(rows).to(compute.device) for rows in method._anchors]
    half, unit = SHAPE[1] // 2, torch.tensor(run.dataset.std, device=compute.device).view(1, -1, 1, 1)

    def work() -> Sequence[Tensor]:
        total, slopes = torch.zeros(1, device=compute.device), torch.zeros_like(pixels)
        for label, (real, drawn) in enumerate(zip(anchors, step.draws, strict=True)):
            own = slice(label * IPC, (label + 1) * IPC)
            added = torch.zeros_like(pixels[own], requires_grad=True)
            optimizer = torch.optim.AdamW([added], method.config.lr_img, weight_decay=method.config.weight_decay)
            mosaics = pixels[own] + added
            tiles = [mosaics[:, :, i : i + half, j : j + half] for i in (0, half) for j in (0, half)]
            enlarged = F.interpolate(torch.cat(tiles), size=SHAPE[1:], mode="bilinear", align_corners=False)
            both = siamese.apply(drawn, run.dataset.normalize(torch.cat([real, enlarged])))
            features = network.features(both)
            loss = (features[: len(real)] - features[len(real) :]).abs().mean(dim=1).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            assert added.grad is not None
            slopes[own] = added.grad * unit
            total += loss.detach()
        return [total, slopes]

    return work


def _ways(released: Callable[[Compute, dict[str, Any]], Work], method: str, **fields: Any) -> Sequence[Way]:
    job = {"dataset": "cifar10", "ipc": IPC, "method": method, **fields}
    return engine_ways("released loop", lambda c: released(c, job), lambda c: _ours(c, job), "bf16")


BENCHMARKS = (
    Benchmark("sre2l", "SRe2L step through a ResNet-18, IPC 10", lambda: _ways(_recovered, "sre2l"), target=3.0),
    Benchmark("fadrm", "FADRM step through a ResNet-18, IPC 10", lambda: _ways(_recovered, "fadrm"), target=3.0),
    Benchmark(
        "cim",
        "CIM step through a ConvNet-3, IPC 10",
        lambda: _ways(_refined, "cim", augmentation="crop_cutout_flip"),
        target=3.0,
    ),
)
