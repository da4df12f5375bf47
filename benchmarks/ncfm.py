"""One step of NCFM on CIFAR-10 shapes, IPC 10, factor 2, both sweeps: the published loop, and ours."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from benchmarks import sweeps
from benchmarks.forward import SHAPE
from benchmarks.harness import Benchmark, Work, engine_ways
from benchmarks.sweeps import CLASSES, IPC, network_with, of_class
from ddcore.augment import siamese
from ddcore.machine.compute import Compute
from ddcore.methods.ncfm import NCFM
from ddcore.methods.shared.feature_matching import MatchingStep
from ddcore.nets import Network
from ddcore.pretrained.pairs import Pair, pairs
from ddcore.runtime.context import Run
from ddcore.spec import NCFMConfig, parse

CONFIG = NCFMConfig.model_validate({"batch_real": 256, "pairs": {"count": 1}})
SPEC = parse({"dataset": "cifar10", "ipc": IPC, "method": CONFIG})


def _method(compute: Compute) -> NCFM:
    """With a pair of random networks: what they have learned changes no time."""
    run = sweeps.run_of(SPEC, compute)
    initial, final = (run.functional.new(Generator(compute.device).manual_seed(seed)) for seed in (1, 2))
    pairs(CONFIG.pairs, run).adopt(0, Pair(initial, final))
    return NCFM(CONFIG, run)


def _ours(compute: Compute) -> Work:
    return sweeps.ours(_method(compute))


def _published(compute: Compute) -> Work:
    """Class after class: decode, normalise, augment both sides, one loss and one optimiser step; then calibrate so."""
    method = _method(compute)
    run = method.run
    trained = pairs(CONFIG.pairs, run)[0].final

    def loop(step: MatchingStep, real: Tensor, pixels: Tensor) -> Sequence[Tensor]:
        optimizer = torch.optim.AdamW([pixels], lr=CONFIG.lr_img, weight_decay=CONFIG.weight_decay)
        loss = _match(step, run, real, pixels, network_with(step.params, run), optimizer)
        misfit = _calibrate(run, pixels, network_with(trained, run), optimizer)
        with torch.no_grad():
            pixels.clamp_(0, 1)
        return [loss, misfit]

    return sweeps.published(method, loop)


def _match(
    step: MatchingStep, run: Run, real: Tensor, pixels: Tensor, network: Network, optimizer: torch.optim.Optimizer
) -> Tensor:
    noise, total = run.random.stream("method/frequencies"), torch.zeros((), device=pixels.device)
    for label, (rows, drawn) in enumerate(zip(step.rows, step.draws, strict=True)):
        both = siamese.apply(drawn, torch.cat([real[rows], of_class(run, pixels, label)]))
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
        logits = network(siamese.apply(drawn, of_class(run, pixels, label)))
        loss = F.cross_entropy(logits, torch.full((len(logits),), label, device=pixels.device))
        _descend(loss, optimizer)
        total += loss.detach()
    return total


def _descend(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


BENCHMARKS = (
    Benchmark(
        "ncfm",
        "NCFM step, both sweeps, IPC 10, factor 2, 256 real images a class",
        lambda: engine_ways("published loop", _published, _ours, "bf16"),
        target=4.0,
    ),
)
