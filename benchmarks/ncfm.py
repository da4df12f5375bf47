"""One step of NCFM on CIFAR-10 shapes, IPC 10, factor 2, both sweeps: the published loop, and ours."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from benchmarks.forward import SHAPE
from benchmarks.harness import Benchmark, Work, engine_ways
from benchmarks.idc import CLASSES, IPC, decoded
from benchmarks.random_run import random_run
from ddcore.augment import siamese
from ddcore.machine.compute import Compute
from ddcore.methods.ncfm import NCFM
from ddcore.methods.shared.feature_matching import MatchingStep
from ddcore.nets import Network, build
from ddcore.pretrained.pairs import Pair
from ddcore.runtime.context import Run
from ddcore.spec import NCFMConfig, parse

CONFIG = NCFMConfig.model_validate({"batch_real": 256, "pairs": {"count": 1}})
SPEC = parse({"dataset": "cifar10", "ipc": IPC, "method": CONFIG})


def _method(compute: Compute) -> NCFM:
    """With a pair of random networks: what they have learned changes no time."""
    run = random_run(SPEC, compute)
    run.strategy = siamese.strategy_for(SPEC.augmentation, run.dataset.flip)
    method = NCFM(CONFIG, run)
    initial, final = (run.functional.new(Generator(compute.device).manual_seed(seed)) for seed in (1, 2))
    method._pairs._held[0] = Pair(initial, final)
    return method


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
        misfit = method.advance(step)["loss/cross_entropy"]
        pixel = torch.tensor(method.run.dataset.std, device=start.device).view(1, -1, 1, 1)
        return [torch.stack([loss, misfit]), (synthetic.stored.detach() - start) * pixel]

    return work


def _published(compute: Compute) -> Work:
    """Class after class: decode, normalise, augment both sides, one loss and one optimiser step; then calibrate so."""
    method, device = _method(compute), compute.device
    run = method.run
    real = run.dataset.normalize(run.dataset.train.images).to(device)

    def work() -> Sequence[Tensor]:
        run.random.load_state({})
        synthetic = method.start()
        step = method.draw(0, synthetic)
        start = run.dataset.denormalize(synthetic.stored.detach())
        pixels = start.clone().requires_grad_()
        networks = [build(SPEC.network, SHAPE, CLASSES).to(device) for _ in range(2)]
        for network, params in zip(networks, (step.params, method._trained), strict=True):
            network.load_state_dict(params)
        optimizer = torch.optim.AdamW([pixels], lr=CONFIG.lr_img, weight_decay=CONFIG.weight_decay)
        loss = _match(step, run, real, pixels, networks[0], optimizer)
        misfit = _calibrate(run, pixels, networks[1], optimizer)
        return [torch.stack([loss, misfit]), pixels.detach().clamp(0, 1) - start]

    return work


def _match(
    step: MatchingStep, run: Run, real: Tensor, pixels: Tensor, network: Network, optimizer: torch.optim.Optimizer
) -> Tensor:
    noise, total = run.random.stream("method/frequencies"), torch.zeros((), device=pixels.device)
    for label, (rows, drawn) in enumerate(zip(step.rows, step.draws, strict=True)):
        both = siamese.apply(drawn, torch.cat([real[rows], _decoded(run, pixels, label)]))
        with torch.no_grad():
            target = F.normalize(network.features(both[: len(rows)]))
        own = F.normalize(network.features(both[len(rows) :]))
        shape = (CONFIG.frequencies, own.shape[1])
        frequencies = torch.randn(shape, generator=noise, device=noise.device)
        cos_r, cos_s = ((frequencies @ features.T).cos().mean(1) for features in (target, own))
        sin_r, sin_s = ((frequencies @ features.T).sin().mean(1) for features in (target, own))
        length_r, length_s = (cos_r**2 + sin_r**2).sqrt(), (cos_s**2 + sin_s**2).sqrt()
        phases = 2 * (length_r * length_s - cos_r * cos_s - sin_r * sin_s)
        loss = 300 * (((length_r - length_s) ** 2 + phases.clamp(min=1e-12)) / 2).sqrt().mean()
        _descend(loss, optimizer)
        total += loss.detach()
    return total


def _calibrate(run: Run, pixels: Tensor, network: Network, optimizer: torch.optim.Optimizer) -> Tensor:
    generator, total = run.random.host_stream("method/calibration"), torch.zeros((), device=pixels.device)
    for label in range(CLASSES):
        drawn = siamese.draw_stacked(run.strategy, None, SHAPE, generator)
        logits = network(siamese.apply(drawn, _decoded(run, pixels, label)))
        loss = F.cross_entropy(logits, torch.full((len(logits),), label, device=pixels.device))
        _descend(loss, optimizer)
        total += loss.detach()
    return total


def _descend(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _decoded(run: Run, pixels: Tensor, label: int) -> Tensor:
    """Normalised images of a class."""
    return run.dataset.normalize(decoded(pixels[label * IPC : (label + 1) * IPC]))


BENCHMARKS = (
    Benchmark(
        "ncfm",
        "NCFM step, both sweeps, IPC 10, factor 2, 256 real images a class",
        lambda: engine_ways("published loop", _published, _ours, "bf16"),
    ),
)
