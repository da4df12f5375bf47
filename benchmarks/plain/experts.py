"""Experts of DATM and PAD: SGD to flat minima on the real images, with a snapshot after every epoch.

Du et al., FTD, CVPR 2023 (arXiv 2211.11004), with GSAM of Zhuang et al., ICLR 2022 (arXiv 2203.08065), as buffer/ of
github.com/NUS-HPC-AI-Lab/DATM; the images of each epoch as buffer/buffer_CL.py of github.com/NUS-HPC-AI-Lab/PAD.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.plain.given import Given
from benchmarks.plain.teachers import trained
from ddcore.augment.siamese import apply, draw
from ddcore.nets import Network
from ddcore.spec import CurriculumConfig
from ddcore.spec.methods.trajectory import ExpertsConfig

Snapshot = dict[str, Tensor]
"""Parameters of a network by name."""


def experts(
    given: Given, config: ExpertsConfig, epochs: int, curriculum: CurriculumConfig | None = None
) -> list[list[Snapshot]]:
    """Snapshots of each expert: as it was drawn, and after each epoch."""
    ranked = None if curriculum is None else _by_difficulty(given, curriculum)
    found = []
    for _ in range(config.count):
        network = given.network()
        snapshots = [_snapshot(network)]
        for epoch in range(epochs):
            rows = torch.arange(len(given.images))
            if curriculum is not None and ranked is not None:
                rows = torch.cat([_part(curriculum, of_class, epoch) for of_class in ranked])
            _epoch(given, config, network, rows)
            snapshots.append(_snapshot(network))
        found.append(snapshots)
    return found


def _snapshot(network: Network) -> Snapshot:
    return {name: weight.detach().clone() for name, weight in network.named_parameters()}


def _epoch(given: Given, config: ExpertsConfig, network: Network, rows: Tensor) -> None:
    """One pass over some of the images, in a random order."""
    weights = list(network.parameters())
    for part in rows[torch.randperm(len(rows), generator=given.generator)].split(config.batch_size):
        images = apply(draw(given.strategy, len(part), given.dataset.shape, given.generator), given.images[part])
        slopes = _flat_slopes(network, weights, images, given.labels[part], config)
        with torch.no_grad():
            for weight, slope in zip(weights, slopes, strict=True):
                weight.sub_(config.lr * slope)


def _flat_slopes(
    network: Network, weights: list[torch.nn.Parameter], images: Tensor, labels: Tensor, config: ExpertsConfig
) -> list[Tensor]:
    """The slope p at w + e, e = rho w^2 g / |w g|, less alpha times what of the slope g at w is orthogonal to p."""

    def slopes() -> list[Tensor]:
        return list(torch.autograd.grad(F.cross_entropy(network(images), labels), weights))

    g = slopes()
    if not config.rho:
        return g
    with torch.no_grad():
        length = _norm([weight * slope for weight, slope in zip(weights, g, strict=True)])
        offsets = [config.rho * weight**2 * slope / length for weight, slope in zip(weights, g, strict=True)]
        for weight, offset in zip(weights, offsets, strict=True):
            weight.add_(offset)
    p = slopes()
    with torch.no_grad():
        for weight, offset in zip(weights, offsets, strict=True):
            weight.sub_(offset)
    along = sum((one * other).sum() for one, other in zip(g, p, strict=True)) / _norm(p) ** 2
    return [q - config.alpha * (slope - along * q) for slope, q in zip(g, p, strict=True)]


def _norm(parts: list[Tensor]) -> Tensor:
    norm: Tensor = torch.cat([part.flatten() for part in parts]).norm()
    return norm


@torch.no_grad()
def _by_difficulty(given: Given, curriculum: CurriculumConfig) -> list[Tensor]:
    """Rows of each class from easy to hard: by the mean length of the error of some young networks (EL2N)."""
    difficulty = torch.zeros(len(given.images))
    for _ in range(curriculum.scorers.pool):
        with torch.enable_grad():
            network = trained(given, curriculum.scorers)
        error = network(given.images).softmax(dim=1) - F.one_hot(given.labels, given.classes)
        difficulty += error.norm(dim=1) / curriculum.scorers.pool
    of_class = [(given.labels == label).nonzero().flatten() for label in range(given.classes)]
    return [rows[difficulty[rows].argsort()] for rows in of_class]


def _part(curriculum: CurriculumConfig, rows: Tensor, epoch: int) -> Tensor:
    """Of a class's rows, from easy to hard, those of an epoch: more and more, then all, then without the easiest."""
    if epoch <= curriculum.added_by:
        share = curriculum.initial + (1 - curriculum.initial) * epoch / curriculum.added_by
        return rows[: int(share * len(rows))]
    if epoch <= curriculum.first_removal:
        return rows
    left_out = curriculum.first_share if epoch <= curriculum.second_removal else curriculum.second_share
    return rows[int(left_out * len(rows)) :]
