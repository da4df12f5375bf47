"""RaT-BPTT, after framework/base.py of github.com/fengyzpku/Simple_Dataset_Distillation.

Feng, Vedantam & Kempe, ICLR 2024 (arXiv 2311.07025), with one graph of the whole window.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from benchmarks.plain.given import Given, Made
from ddcore.augment.siamese import apply, draw
from ddcore.nets import Network
from ddcore.spec import RatBPTTConfig

TINY = 1e-38
"""In place of zero under the root of a second moment, whose slope there would be infinite."""


def rat_bptt(given: Given) -> Made:
    """Lower the loss on real images of a network that was trained by Adam, through a random window of its training."""
    config = given.spec.method
    assert isinstance(config, RatBPTTConfig)
    assert config.window_rule == "uniform"
    assert config.labels == "hard"
    labels = torch.arange(given.classes).repeat_interleave(given.spec.ipc)
    noise = torch.randn(len(labels), *given.dataset.shape, generator=given.generator)
    images = (noise / noise.flatten(1).norm(dim=1).view(-1, 1, 1, 1)).requires_grad_()
    optimizer = torch.optim.Adam([images], config.lr_img)
    mean_norm = None
    for _ in range(config.iterations):
        latest = config.student_steps - config.window
        before = int(torch.randint(config.min_start, latest + 1, (), generator=given.generator))
        network = given.network()
        theta = _trained(given, config, network, images, labels, before)
        real = [given.of_class(label, config.batch_real) for label in range(given.classes)]
        real_labels = torch.cat([torch.full((len(part),), label) for label, part in enumerate(real)])
        loss = F.cross_entropy(functional_call(network, theta, (_augmented(given, torch.cat(real)),)), real_labels)
        (slope,) = torch.autograd.grad(loss, images)
        norm = slope.norm()
        mean_norm = norm if mean_norm is None else config.clip_decay * mean_norm + (1 - config.clip_decay) * norm
        images.grad = slope * (config.clip_factor * mean_norm / norm).clamp(max=1)
        optimizer.step()
    return Made(images.detach())


def _trained(
    given: Given, config: RatBPTTConfig, network: Network, images: Tensor, labels: Tensor, before: int
) -> dict[str, Tensor]:
    """Weights after steps of Adam: constants for the first of them, then a graph to the images."""
    theta = {name: weight.detach().requires_grad_() for name, weight in network.named_parameters()}
    means = {name: torch.zeros_like(weight) for name, weight in theta.items()}
    squares = {name: torch.zeros_like(weight) for name, weight in theta.items()}
    for step in range(1, before + config.window + 1):
        inside = step > before
        rows = _batch(given, config)
        seen = _augmented(given, images[rows] if inside else images[rows].detach())
        loss = F.cross_entropy(functional_call(network, theta, (seen,)), labels[rows])
        slopes = dict(zip(theta, torch.autograd.grad(loss, [*theta.values()], create_graph=inside), strict=True))
        for name, slope in slopes.items():
            means[name] = 0.9 * means[name] + 0.1 * slope
            squares[name] = 0.999 * squares[name] + 0.001 * slope**2
            mean, square = means[name] / (1 - 0.9**step), squares[name] / (1 - 0.999**step)
            moved = theta[name] - config.inner_lr * mean / (square.clamp(min=TINY).sqrt() + 1e-8)
            theta[name] = moved if inside else moved.detach().requires_grad_()
    return theta


def _batch(given: Given, config: RatBPTTConfig) -> Tensor:
    """Rows of a few synthetic images of each class."""
    ipc = given.spec.ipc
    drawn = [torch.randperm(ipc, generator=given.generator)[: config.batch_syn] for _ in range(given.classes)]
    return torch.cat([label * ipc + rows for label, rows in enumerate(drawn)])


def _augmented(given: Given, images: Tensor) -> Tensor:
    """One operation for the batch, with parameters for every image."""
    return apply(draw(given.strategy, len(images), given.dataset.shape, given.generator), images)
