"""Passes through ConvNet-3 of width 128 on 3 x 32 x 32 images: the module as it is, and ours.

An image gradient in float32 may differ by a percent in one or two images of a hundred, in the reference
as in ours: rounding decides on which side of zero one of 13 million activations lies, and its ReLU cuts
or keeps a path. Whether two ways compute the same is therefore seen with :data:`SMOOTH` in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from benchmarks.harness import Benchmark, Way, Work, policy, vector
from ddcore.machine.compute import Precision
from ddcore.nets import Functional, build
from ddcore.nets.network import Shape
from ddcore.spec import ConvNetConfig

SHAPE = (3, 32, 32)
REAL, SYNTHETIC, REFERENCE_BATCH = 2560, 100, 256

NETWORK = ConvNetConfig()
SMOOTH = ConvNetConfig(activation="swish")
"""The same network without kinks, where rounding stays rounding."""


def functional(precision: Precision, *, compiled: bool, network: ConvNetConfig = NETWORK) -> Functional:
    """A network on this machine's best device."""
    return Functional(build(network, SHAPE, 10), policy(precision, compiled=compiled))


def random_images(count: int, device: torch.device, shape: Shape = SHAPE) -> Tensor:
    """Noise, of the shape of CIFAR-10 by default, the same at each call."""
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(1)).to(device)


def features(f: Functional) -> Work:
    """Features of real images, without autograd."""
    params = f.new(torch.Generator().manual_seed(0))
    images = random_images(REAL, f.compute.device, f.shape)
    return lambda: [f.features_no_grad(params, images)]


def plain_features() -> Callable[[], Sequence[Tensor]]:
    """The module itself, in eager fp32."""
    f = functional("fp32", compiled=False)
    net = build(ConvNetConfig(), SHAPE, 10).to(f.compute.device)
    net.load_state_dict(f.new(torch.Generator().manual_seed(0)))
    images = random_images(REAL, f.compute.device)

    def work() -> Sequence[Tensor]:
        with torch.no_grad():
            return [torch.cat([net.features(batch) for batch in torch.split(images, REFERENCE_BATCH)])]

    return work


def training_slope(f: Functional) -> Work:
    """Slope of the squared logits in the weights."""
    params = f.new(torch.Generator().manual_seed(0))
    images = random_images(REFERENCE_BATCH, f.compute.device, f.shape)
    leaves = [params[name].requires_grad_() for name in f.names]
    return lambda: [vector(torch.autograd.grad(f.logits(params, images).square().sum(), leaves))]


def image_gradient(f: Functional) -> Work:
    """Slope of class means of features in the images."""
    params = f.new(torch.Generator().manual_seed(0))
    images = random_images(SYNTHETIC, f.compute.device, f.shape).requires_grad_()

    def work() -> Sequence[Tensor]:
        of_class = f.features(params, images).unflatten(0, (10, -1))
        return torch.autograd.grad(of_class.mean(dim=1).square().sum(), [images])

    return work


def _plain_image_gradient() -> Callable[[], Sequence[Tensor]]:
    f = functional("fp32", compiled=False)
    net = build(ConvNetConfig(), SHAPE, 10).to(f.compute.device)
    net.load_state_dict(f.new(torch.Generator().manual_seed(0)))
    images = random_images(SYNTHETIC, f.compute.device).requires_grad_()

    def work() -> Sequence[Tensor]:
        losses = [net.features(part).mean(dim=0).square().sum() for part in torch.chunk(images, 10)]
        return torch.autograd.grad(torch.stack(losses).sum(), [images])

    return work


def plain_training_slope() -> Callable[[], Sequence[Tensor]]:
    """Slope of the module's squared logits in its weights, in eager fp32."""
    f = functional("fp32", compiled=False)
    net = build(ConvNetConfig(), SHAPE, 10).to(f.compute.device)
    net.load_state_dict(f.new(torch.Generator().manual_seed(0)))
    images = random_images(REFERENCE_BATCH, f.compute.device)
    return lambda: [vector(torch.autograd.grad(net(images).square().sum(), list(net.parameters())))]


BENCHMARKS = (
    Benchmark(
        "forward",
        f"features of {REAL} images without autograd",
        lambda: [
            Way("module, eager fp32", plain_features()),
            Way("functional, eager fp32", features(functional("fp32", compiled=False))),
            Way("functional, compiled fp32", features(functional("fp32", compiled=True))),
            Way("functional, compiled bf16", features(functional("bf16", compiled=True))),
        ],
    ),
    Benchmark(
        "image_gradient",
        f"gradient of class-mean features to {SYNTHETIC} images (the reference goes class by class)",
        lambda: [
            Way("module, eager fp32", _plain_image_gradient()),
            Way("functional, compiled fp32", image_gradient(functional("fp32", compiled=True))),
            Way("functional, compiled bf16", image_gradient(functional("bf16", compiled=True))),
        ],
    ),
    Benchmark(
        "allocator",
        f"parameter gradient of {REFERENCE_BATCH} images, freed memory returned to the system or held",
        lambda: [Way("returned", plain_training_slope()), Way("held", plain_training_slope())],
    ),
)
