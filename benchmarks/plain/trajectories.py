"""DATM and PAD, after distill/DATM.py of github.com/NUS-HPC-AI-Lab/DATM and distill/PAD_depth.py of .../PAD.

Guo et al., ICLR 2024 (arXiv 2310.05773); Li et al., 2024 (arXiv 2408.03360). One graph of all steps of a student.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from benchmarks.plain.experts import Snapshot, experts
from benchmarks.plain.given import Given, Made
from ddcore.augment.siamese import apply, draw
from ddcore.nets import Network
from ddcore.spec import DATMConfig, PADConfig


def datm(given: Given) -> Made:
    """Students are to arrive where experts did, in all parameters."""
    config = given.spec.method
    assert isinstance(config, DATMConfig)
    return _matched(given, config, experts(given, config.experts, _epochs(config)), 0.0)


def pad(given: Given) -> Made:
    """The same along experts that saw easy images first, without the first share of the parameters."""
    config = given.spec.method
    assert isinstance(config, PADConfig)
    followed = experts(given, config.experts, _epochs(config), config.curriculum)
    return _matched(given, config, followed, config.depth_ratio)


def _epochs(config: DATMConfig) -> int:
    """As far as a window can reach."""
    return config.max_start - 1 + config.expert_epochs


def _matched(given: Given, config: DATMConfig, followed: list[list[Snapshot]], shallow: float) -> Made:
    network = given.network()
    images, logits = _start(given, network, [snapshots[-1] for snapshots in followed])
    images.requires_grad_()
    logits.requires_grad_()
    rate = torch.tensor(config.lr_init, requires_grad=True)
    optimizers = [
        torch.optim.SGD([images], config.lr_img, momentum=config.momentum),
        torch.optim.SGD([logits], config.lr_labels, momentum=config.momentum_labels),
        torch.optim.SGD([rate], config.lr_lr, momentum=config.momentum_lr),
    ]
    order: list[int] = []
    skipped = 0
    for step in range(config.iterations):
        order = order or torch.randperm(len(followed), generator=given.generator).tolist()
        snapshots = followed[order.pop()]
        first = int(torch.randint(config.min_start, _end(config, step), (), generator=given.generator))
        start, target = snapshots[first], snapshots[first + config.expert_epochs]
        student = {name: weight.clone().requires_grad_() for name, weight in start.items()}
        for _ in range(config.student_steps):
            drawn = draw(given.strategy, len(images), given.dataset.shape, given.generator)
            said = functional_call(network, student, (apply(drawn, images),))
            loss = F.cross_entropy(said, logits.softmax(dim=1))
            slopes = torch.autograd.grad(loss, [*student.values()], create_graph=True)
            moved = [weight - rate * slope for weight, slope in zip(student.values(), slopes, strict=True)]
            student = dict(zip(student, moved, strict=True))
        arrived, begun, expected = (_deep(each, shallow) for each in (student, start, target))
        distance = (arrived - expected).square().sum() / (begun - expected).square().sum()
        if distance.item() > config.threshold:
            skipped += 1
            continue
        for optimizer in optimizers:
            optimizer.zero_grad()
        distance.backward()
        for optimizer in optimizers:
            optimizer.step()
    soft_labels = logits.detach().softmax(dim=1)
    readings = {"skipped": float(skipped), "last_loss": distance.item()}
    return Made(images.detach(), soft_labels=soft_labels, learning_rate=rate.item(), readings=readings)


def _end(config: DATMConfig, step: int) -> int:
    """Snapshots that a student may start before; they become more."""
    early = config.max_start if config.early_start is None else config.early_start
    return min(early + (config.max_start - early) * step // config.expansion, config.max_start)


def _deep(weights: Snapshot, shallow: float) -> Tensor:
    """All parameters in a row, without the first share."""
    row = torch.cat([weight.flatten() for weight in weights.values()])
    return row[int(shallow * len(row)) :]


@torch.no_grad()
def _start(given: Given, network: Network, ends: list[Snapshot]) -> tuple[Tensor, Tensor]:
    """Real images that an expert classifies right, and the mean logits of those experts that do."""
    images, logits = [], []
    for label in range(given.classes):
        candidates = given.of_class(label)
        said = torch.stack([functional_call(network, end, (candidates,)) for end in ends])
        right = said.argmax(dim=2) == label
        # The first expert chooses; the images that others classify right come next, and then all others.
        rank = torch.where(right[0], 0, torch.where(right.any(dim=0), 1, 2))
        chosen = rank.argsort(stable=True)[: given.spec.ipc]
        trusted = right[:, chosen].float().unsqueeze(2)
        trusted[:, trusted.sum(dim=0).squeeze(1) == 0] = 1.0
        images.append(candidates[chosen])
        logits.append((said[:, chosen] * trusted).sum(dim=0) / trusted.sum(dim=0))
    return torch.cat(images), torch.cat(logits)
