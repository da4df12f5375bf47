"""Architectures: published sizes, published numbers, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ddcore.errors import ConfigurationError
from ddcore.machine.compute import Compute
from ddcore.nets import ConvNet, Functional, Network, build, macs
from ddcore.nets.norm_relu_pool import can_fuse
from ddcore.registry import implements
from ddcore.spec import (
    AlexNetConfig,
    ConvNetConfig,
    LeNetConfig,
    MLPConfig,
    NetworkConfig,
    ResNet18Config,
    VGG11Config,
)

Fill = Callable[..., Tensor]


@pytest.mark.parametrize(
    ("config", "shape", "classes", "parameters"),
    [
        (ConvNetConfig(), (1, 28, 28), 10, 317_706),
        (ConvNetConfig(), (3, 32, 32), 10, 320_010),
        (ConvNetConfig(), (3, 32, 32), 100, 504_420),
        (ConvNetConfig(depth=3), (3, 64, 64), 200, 1_938_120),
        (ConvNetConfig(depth=4), (3, 64, 64), 200, 857_160),
        (ResNet18Config(), (3, 32, 32), 10, 11_173_962),
        (ResNet18Config(norm="batch"), (3, 32, 32), 10, 11_173_962),
        (ResNet18Config(downsampling="pooling"), (3, 32, 32), 10, 11_250_762),
        (ResNet18Config(downsampling="pooling", norm="batch"), (3, 32, 32), 10, 11_250_762),
        (ResNet18Config(downsampling="pooling"), (1, 28, 28), 10, 11_213_770),
        (MLPConfig(), (1, 28, 28), 10, 118_282),
        (MLPConfig(), (3, 32, 32), 10, 411_146),
        (LeNetConfig(), (1, 28, 28), 10, 61_706),
        (LeNetConfig(), (3, 32, 32), 10, 62_006),
        (AlexNetConfig(), (3, 32, 32), 10, 1_872_202),
        (AlexNetConfig(norm="batch"), (3, 32, 32), 10, 1_874_122),
        (VGG11Config(), (3, 32, 32), 10, 9_231_114),
        (VGG11Config(norm="batch"), (3, 32, 32), 10, 9_231_114),
    ],
)
def test_parameter_counts_are_the_published_ones(
    config: NetworkConfig, shape: tuple[int, int, int], classes: int, parameters: int
) -> None:
    assert sum(p.numel() for p in build(config, shape, classes).parameters()) == parameters


@pytest.mark.parametrize(
    ("config", "millions"), [(ConvNetConfig(), 50.7), (ResNet18Config(), 556.0)], ids=["convnet", "resnet18"]
)
def test_multiply_accumulates_are_the_published_ones(config: NetworkConfig, millions: float) -> None:
    assert macs(build(config, (3, 32, 32), 10)) / 1e6 == pytest.approx(millions, rel=2e-3)


@pytest.mark.parametrize(
    ("config", "shape", "blocks"),
    [
        (ConvNetConfig(width=4), (1, 28, 28), [(4, 16, 16), (4, 8, 8), (4, 4, 4)]),
        (ConvNetConfig(width=4), (1, 8, 8), [(4, 4, 4), (4, 2, 2)]),
        (ConvNetConfig(width=4, depth=2, pooling="none"), (3, 5, 6), [(4, 5, 6), (4, 5, 6)]),
        (ConvNetConfig(width=4, depth=2), (3, 12, 8), [(4, 6, 4), (4, 3, 2)]),
        (ResNet18Config(), (3, 16, 16), [(64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 2, 2)]),
        (ResNet18Config(), (3, 9, 9), [(64, 9, 9), (128, 5, 5), (256, 3, 3), (512, 2, 2)]),
        (
            ResNet18Config(downsampling="pooling"),
            (1, 28, 28),
            [(64, 28, 28), (128, 14, 14), (256, 7, 7), (512, 3, 3)],
        ),
        (MLPConfig(width=6), (3, 5, 4), [(6, 1, 1), (6, 1, 1)]),
        (LeNetConfig(), (1, 28, 28), [(6, 14, 14), (16, 5, 5)]),
        (LeNetConfig(), (3, 16, 20), [(6, 6, 8), (16, 1, 2)]),
        (AlexNetConfig(), (1, 28, 28), [(128, 16, 16), (192, 8, 8), (256, 8, 8), (192, 8, 8), (192, 4, 4)]),
        (AlexNetConfig(norm="batch"), (3, 8, 8), [(128, 4, 4), (192, 2, 2), (256, 2, 2), (192, 2, 2), (192, 1, 1)]),
        (VGG11Config(), (1, 28, 28), [(64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 2, 2), (512, 1, 1)]),
        (VGG11Config(norm="batch"), (3, 40, 64), [(64, 20, 32), (128, 10, 16), (256, 5, 8), (512, 2, 4), (512, 1, 2)]),
    ],
)
def test_taps_show_every_block_and_agree_with_each_other(
    config: NetworkConfig, shape: tuple[int, int, int], blocks: list[tuple[int, ...]], fill: Fill
) -> None:
    net = build(config, shape, 5).eval()
    x = fill(2, *shape)
    taps = net.taps(x)
    assert [tuple(b.shape[1:]) for b in taps.blocks] == blocks
    assert taps.logits.shape == (2, 5)
    torch.testing.assert_close(net.features(x), taps.features)
    torch.testing.assert_close(net(x), taps.logits)
    torch.testing.assert_close(net.classifier(taps.features), taps.logits)


@pytest.mark.parametrize(
    ("config", "shape", "levels"),
    [
        (ConvNetConfig(width=4), (1, 28, 28), [(4, 32, 32), (4, 16, 16), (4, 8, 8), (4, 4, 4), (64,)]),
        (ConvNetConfig(width=4, depth=1, pooling="max"), (3, 6, 7), [(4, 6, 7), (4, 3, 3), (36,)]),
        (ConvNetConfig(width=4, depth=2, pooling="none"), (3, 5, 6), [(4, 5, 6), (4, 5, 6), (4, 5, 6), (120,)]),
        (MLPConfig(width=6), (3, 5, 4), [(6, 1, 1), (6, 1, 1), (6, 1, 1), (6,)]),
        (LeNetConfig(), (1, 28, 28), [(6, 28, 28), (16, 10, 10), (16, 5, 5), (84,)]),
        (
            AlexNetConfig(),
            (3, 8, 8),
            [(128, 8, 8), (192, 4, 4), (256, 2, 2), (192, 2, 2), (192, 2, 2), (192, 1, 1), (192,)],
        ),
        (
            VGG11Config(),
            (3, 32, 32),
            [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 2, 2), (512, 1, 1), (512,)],
        ),
        (ResNet18Config(), (3, 16, 16), [(64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 2, 2), (512, 1, 1), (512,)]),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_levels_are_the_maps_before_each_pooling_then_the_last_one_pooled_and_the_features(
    config: NetworkConfig, shape: tuple[int, int, int], levels: list[tuple[int, ...]], fill: Fill
) -> None:
    net = build(config, shape, 5).eval()
    x = fill(2, *shape)
    found, taps = net(x, tap="levels"), net.taps(x)
    assert [tuple(level.shape[1:]) for level in found] == levels
    torch.testing.assert_close(found[-1], taps.features)
    for level, block in zip(found, taps.blocks, strict=False):
        if level.shape != block.shape:
            pool = F.avg_pool2d if isinstance(config, ConvNetConfig) and config.pooling == "avg" else F.max_pool2d
            level = pool(level, 2)
        torch.testing.assert_close(level, block)
    if not isinstance(config, ResNet18Config):
        torch.testing.assert_close(found[-2], taps.blocks[-1])


def test_resnet_averages_windows_of_four_and_keeps_two_by_two_of_64_pixels() -> None:
    assert build(ResNet18Config(), (3, 32, 32), 10).classifier.in_features == 512
    assert build(ResNet18Config(), (3, 64, 64), 10).classifier.in_features == 2048


def test_pooling_resnet_pools_between_the_convolutions_of_a_block_and_before_the_norm_of_its_shortcut(
    fill: Fill,
) -> None:
    net = build(ResNet18Config(downsampling="pooling"), (3, 16, 16), 3)
    x = fill(2, 64, 16, 16)
    block = net.get_submodule("stages.1.0")
    state = block.state_dict()
    inner = F.relu(F.group_norm(F.conv2d(x, state["conv1.weight"], padding=1), 128))
    inner = F.group_norm(F.conv2d(F.avg_pool2d(inner, 2), state["conv2.weight"], padding=1), 128)
    beside = F.group_norm(F.avg_pool2d(F.conv2d(x, state["shortcut.0.weight"]), 2), 128)
    torch.testing.assert_close(block(x), F.relu(inner + beside))
    assert net.classifier.in_features == 512 * 2 * 2


@pytest.mark.parametrize(
    ("config", "size"),
    [
        (MLPConfig(width=8), 8),
        (LeNetConfig(), 16),
        (AlexNetConfig(), 8),
        (AlexNetConfig(norm="batch"), 8),
        (VGG11Config(), 32),
        (ResNet18Config(downsampling="pooling"), 16),
    ],
)
def test_every_network_is_a_function_of_its_parameters(config: NetworkConfig, size: int, fill: Fill) -> None:
    template = build(config, (3, size, size), 5)
    functional = Functional(template, Compute(torch.device("cpu")))
    params = functional.new(torch.Generator().manual_seed(0))
    assert {name: p.shape for name, p in params.items()} == {n: p.shape for n, p in template.state_dict().items()}
    template.load_state_dict(params)
    x = fill(2, 3, size, size, a=0.37)
    torch.testing.assert_close(functional.logits(params, x), template.train()(x), rtol=1e-4, atol=1e-5)
    taps = functional.taps(params, x, training=False)
    assert all(block.ndim == 4 for block in taps.blocks)
    torch.testing.assert_close(functional.features(params, x, training=False), taps.features)


@torch.no_grad()
@pytest.mark.parametrize("norm", ["instance", "batch", "layer", "group", "none"])
def test_normalisations_centre_what_their_name_says(
    norm: Literal["instance", "batch", "layer", "group", "none"], fill: Fill
) -> None:
    config = ConvNetConfig(width=8, depth=1, norm=norm)
    block = build(config, (3, 8, 8), 2).get_submodule("blocks.0")
    out = block.get_submodule("1")(block.get_submodule("0")(fill(4, 3, 8, 8, a=0.37)))
    axes = {"instance": (2, 3), "batch": (0, 2, 3), "layer": (1, 2, 3)}
    grouped = out.unflatten(1, (4, 2))
    means = grouped.mean(dim=(2, 3, 4)) if norm == "group" else out.mean(dim=axes.get(norm, (2, 3)))
    assert (float(means.abs().max()) < 1e-5) == (norm != "none")


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("relu", F.relu),
        ("sigmoid", torch.sigmoid),
        ("leaky_relu", lambda x: torch.where(x > 0, x, 0.01 * x)),
        ("swish", lambda x: x * torch.sigmoid(x)),
    ],
)
def test_activations_and_pooling(
    activation: Literal["relu", "sigmoid", "leaky_relu", "swish"], expected: Callable[[Tensor], Tensor], fill: Fill
) -> None:
    config = ConvNetConfig(width=4, depth=1, norm="none", activation=activation, pooling="max")
    net = build(config, (3, 8, 8), 2)
    x = fill(2, 3, 8, 8)
    convolved = net.get_submodule("blocks.0.0")(x)
    torch.testing.assert_close(net.taps(x).blocks[0], F.max_pool2d(expected(convolved), 2))


@pytest.mark.parametrize(
    ("config", "fused"),
    [
        (ConvNetConfig(width=32, depth=2), True),
        (ConvNetConfig(width=8, depth=2), False),
        (ConvNetConfig(width=32, depth=2, norm="batch"), False),
        (ConvNetConfig(width=32, depth=2, norm="group"), False),
        (ConvNetConfig(width=32, depth=2, activation="sigmoid"), False),
        (ConvNetConfig(width=32, depth=2, pooling="max"), False),
        (ConvNetConfig(width=32, depth=2, pooling="none"), False),
        (ResNet18Config(norm="batch"), False),
    ],
)
def test_fused_layers_are_the_same_layers(config: NetworkConfig, fused: bool) -> None:
    net = build(config, (3, 8, 8), 10)
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    taps, levels = net.taps(images), net.levels(images)
    assert net.fuse() == (fused and can_fuse())
    for one, other in zip((*taps.blocks, *levels), (*net.taps(images).blocks, *net.levels(images)), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("config", "shape", "message"),
    [
        (ConvNetConfig(depth=4), (1, 8, 8), r"depth 4 .* 8 x 8 pixels allow 3; choose a `depth` of 1 to 3"),
        (ConvNetConfig(depth=6), (1, 28, 28), r"32 x 32 pixels allow 5"),
        (ConvNetConfig(depth=1), (3, 1, 9), r"1 x 9 pixels allow 0; use larger images"),
        (ConvNetConfig(width=6, norm="group"), (3, 8, 8), r"`width` is 6; choose a multiple of 4"),
        (ResNet18Config(), (3, 8, 8), r"at least 9 x 9, `norm`: 'batch'"),
        (ResNet18Config(downsampling="pooling"), (3, 15, 15), r"at least 16 x 16, `norm`: 'batch'"),
        (
            ResNet18Config(downsampling="pooling", norm="batch"),
            (3, 7, 9),
            r"to nothing; use .* `downsampling`: 'stride'",
        ),
        (LeNetConfig(), (3, 15, 32), r"LeNet .* 15 x 32 pixels; use images of at least 16 x 16, or the `convnet`"),
        (AlexNetConfig(), (3, 7, 8), r"AlexNet .* at least 8 x 8"),
        (VGG11Config(), (3, 28, 28), r"VGG-11 .* at least 32 x 32"),
        (ConvNetConfig(), (0, 8, 8), r"each at least 1"),
    ],
)
def test_images_that_do_not_fit_are_refused_with_a_way_out(
    config: NetworkConfig, shape: tuple[int, int, int], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        build(config, shape, 10)


def test_a_configuration_has_one_builder() -> None:
    class Toy(NetworkConfig):
        name: Literal["toy"] = "toy"

    with pytest.raises(
        ConfigurationError, match=r"nothing implements `toy`: .* in a file of ddcore\.nets or in a module"
    ):
        build(Toy(), (3, 8, 8), 2)

    def make_toy(config: Toy, shape: tuple[int, int, int], classes: int) -> Network:
        return ConvNet(ConvNetConfig(width=classes), shape, classes)

    assert implements(Toy)(make_toy) is make_toy
    assert build(Toy(), (3, 8, 8), 2).get_parameter("blocks.0.0.bias").shape == (2,)
    with pytest.raises(ValueError, match="already implemented by"):
        implements(Toy)(ConvNet)


def published_convnet(depth: int, classes: int) -> Network:
    """A tiny ConvNet whose parameter tensor j is 0.3 sin(0.7 k + j)."""
    net = build(ConvNetConfig(width=4, depth=depth), (3, 8, 8), classes)
    with torch.no_grad():
        for j, parameter in enumerate(net.parameters()):
            k = torch.arange(parameter.numel(), dtype=torch.float64)
            parameter.copy_((0.3 * torch.sin(0.7 * k + j)).view_as(parameter))
    return net


def class_gradient(net: Network, images: Tensor, create_graph: bool = False) -> tuple[Tensor, ...]:
    loss = F.cross_entropy(net(images), torch.ones(len(images), dtype=torch.int64))
    return torch.autograd.grad(loss, list(net.parameters()), create_graph=create_graph)


def row_cosine_distance(synthetic: tuple[Tensor, ...], real: tuple[Tensor, ...]) -> Tensor:
    """DC's distance: one minus the cosine of each output node's gradient; vectors count nothing."""
    total = torch.zeros(())
    for g, r in zip(synthetic, real, strict=True):
        if g.ndim > 1:
            g, r = g.flatten(1), r.flatten(1)
            total = total + (1 - (g * r).sum(1) / (g.norm(dim=1) * r.norm(dim=1) + 1e-6)).sum()
    return total


def test_end_to_end_logits_and_embedding_of_the_published_check(fill: Fill) -> None:
    net, real = published_convnet(2, 2), fill(3, 3, 8, 8, a=0.37)
    expected = torch.tensor([[0.0444458, -0.0033115], [0.0739726, 0.0123536], [0.0397114, -0.0100320]])
    torch.testing.assert_close(net(real), expected, rtol=1e-5, atol=1e-7)
    assert net.features(real).shape == (3, 16)
    assert net.features(real).sum().item() == pytest.approx(11.155213, rel=1e-5)


def test_end_to_end_gradients_of_the_published_check(fill: Fill) -> None:
    net, real = published_convnet(2, 2), fill(3, 3, 8, 8, a=0.37)
    synthetic = fill(2, 3, 8, 8, a=0.51, b=0.2).requires_grad_()

    dm = (net.features(real).mean(0) - net.features(synthetic).mean(0)).square().sum()
    assert dm.item() == pytest.approx(0.00760249, rel=1e-5)
    assert torch.autograd.grad(dm, synthetic)[0].norm().item() == pytest.approx(0.0279126, rel=1e-4)

    dc = row_cosine_distance(class_gradient(net, synthetic, create_graph=True), class_gradient(net, real))
    assert dc.item() == pytest.approx(3.252180, rel=1e-5)
    gradient = torch.autograd.grad(dc, synthetic)[0]
    assert gradient.norm().item() == pytest.approx(2.108739, rel=1e-3)
    assert gradient.abs().sum().item() == pytest.approx(32.659195, rel=1e-3)


def test_levels_of_the_published_depth_three_check(fill: Fill) -> None:
    """CAFE's h1 to h5 terms: squared distance of class means at each level, ten classes."""
    net = published_convnet(3, 10)
    real = [level.unflatten(0, (10, 2)).mean(1) for level in net.levels(fill(20, 3, 8, 8, a=0.37))]
    synthetic = net.levels(fill(10, 3, 8, 8, a=0.51, b=0.2))
    terms = [(r - s).square().sum().item() for r, s in zip(real, synthetic, strict=True)]
    assert terms[:3] == pytest.approx([26.383745, 16.118736, 0.0918283], rel=1e-5)
    assert terms[3:] == pytest.approx([0.00089652] * 2, rel=1e-4)
