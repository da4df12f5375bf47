"""Networks trained on the real images: SGD with momentum on cross-entropy, at a constant rate."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from benchmarks.plain.given import Given
from ddcore.nets import Network
from ddcore.spec import TeacherConfig


def teacher_of(given: Given, config: TeacherConfig) -> Network:
    """The network that a method looks through: one that was given, or else one that is trained."""
    return trained(given, config) if given.teacher is None else given.teacher


def trained(given: Given, config: TeacherConfig) -> Network:
    """One network by the recipe of a job, in evaluation mode and with constant weights."""
    network = given.network(config.network)
    optimizer = torch.optim.SGD(
        network.parameters(), config.lr, momentum=config.momentum, weight_decay=config.weight_decay
    )
    for _ in range(config.epochs):
        for rows in torch.randperm(len(given.images), generator=given.generator).split(config.batch_size):
            loss = F.cross_entropy(network(given.images[rows]), given.labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.eval().requires_grad_(False)
