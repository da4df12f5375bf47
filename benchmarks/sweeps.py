"""What benchmarks share whose published loop goes class after class through mosaics of CIFAR-10's shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.forward import SHAPE
from benchmarks.harness import Work
from benchmarks.random_run import random_run
from ddcore.augment import siamese
from ddcore.machine.compute import Compute
from ddcore.methods.shared.feature_matching import MatchingStep
from ddcore.nets import Network, Params, build
from ddcore.runtime.context import Run
from ddcore.runtime.objective import Method
from ddcore.spec import JobSpec

CLASSES, IPC, SIDE = 10, 10, SHAPE[1]

Sweeping = Method[Any, MatchingStep]
Loop = Callable[[MatchingStep, Tensor, Tensor], Sequence[Tensor]]
"""Moves the pixels (the last) in place as published, with the step and all real images normalised; its losses."""


def run_of(spec: JobSpec, compute: Compute) -> Run:
    """A run on random pixels, augmented as its job says."""
    run = random_run(spec, compute)
    run.strategy = siamese.strategy_for(spec.augmentation, run.dataset.flip)
    return run


def ours(method: Sweeping) -> Work:
    """A step of the engine: its losses, and how far it moves the pixels."""

    def work() -> Sequence[Tensor]:
        method.run.random.load_state({})
        synthetic = method.start()
        start = synthetic.stored.detach().clone()
        synthetic.begin_step()
        step = method.draw(0, synthetic)
        loss = method.backward(step)["loss/base"]
        synthetic.step()
        later = method.advance(step) or {}
        pixel = torch.tensor(method.run.dataset.std, device=start.device).view(1, -1, 1, 1)
        return [torch.stack([loss, *later.values()]), (synthetic.stored.detach() - start) * pixel]

    return work


def published(method: Sweeping, loop: Loop) -> Work:
    """The same of the published loop, from the same pixels and with the same draws."""
    run = method.run
    real = run.dataset.normalize(run.dataset.train.images).to(run.compute.device)

    def work() -> Sequence[Tensor]:
        run.random.load_state({})
        synthetic = method.start()
        step = method.draw(0, synthetic)
        start = run.dataset.denormalize(synthetic.stored.detach())
        pixels = start.clone().requires_grad_()
        losses = loop(step, real, pixels)
        return [torch.stack(list(losses)), pixels.detach() - start]

    return work


def network_with(params: Params, run: Run) -> Network:
    """The network of a job as a plain module."""
    network = build(run.spec.network, SHAPE, CLASSES).to(run.compute.device)
    network.load_state_dict(params)
    return network


def of_class(run: Run, pixels: Tensor, label: int) -> Tensor:
    """Normalised images of a class: four (4 * IPC, C, H, W) of each of its mosaics, pixels from 0 to 1."""
    half, mosaics = SIDE // 2, pixels[label * IPC : (label + 1) * IPC]
    tiles = [mosaics[:, :, i : i + half, j : j + half] for i in (0, half) for j in (0, half)]
    enlarged = F.interpolate(torch.cat(tiles), size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    return run.dataset.normalize(enlarged)
