"""Networks that others trained: what they are given of the images of a dataset, and what is refused."""

from __future__ import annotations

import math
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddcore.errors import ConfigurationError
from ddcore.machine.compute import Compute
from ddcore.nets import Functional, build
from ddcore.nets.backbone import Backbone
from ddcore.spec.backbones import BackboneConfig
from tests.ddcore.conftest import CPU
from tests.ddcore.weights import OURS, TIMM, of_timm

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.1)


def made(shape: tuple[int, int, int] = (3, 8, 8), **fields: Any) -> Backbone:
    network = build(BackboneConfig.model_validate({"weights": "x", **fields}), shape, 3)
    assert isinstance(network, Backbone)
    return network


def pixels_of(images: Tensor) -> Tensor:
    return images * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)


@pytest.mark.parametrize("size", [5, 20, 32, 160])
def test_images_are_resized_and_in_the_units_of_the_network(size: int) -> None:
    """As the framework interpolates, with a slope to the images that is the same too."""
    network = made(timm=TIMM, size=size)
    network.in_units_of(MEAN, STD)
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)).requires_grad_()
    plain = F.interpolate((pixels_of(images) - 0.5) / 0.5, (size, size), mode="bilinear", antialias=True)
    seen = network.as_seen(images)
    torch.testing.assert_close(seen, plain, rtol=1e-4, atol=1e-5)
    weights = torch.randn(seen.shape, generator=torch.Generator().manual_seed(2))
    slopes = [torch.autograd.grad((each * weights).sum(), images)[0] for each in (seen, plain)]
    torch.testing.assert_close(*slopes, rtol=1e-4, atol=1e-5)
    assert network.seen == (3, size, size)


def test_images_that_are_not_square_become_so() -> None:
    network = made((3, 12, 30), timm=TIMM, size=16)
    images = torch.randn(1, 3, 12, 30, generator=torch.Generator().manual_seed(1))
    plain = F.interpolate(images, (16, 16), mode="bilinear", antialias=True)
    torch.testing.assert_close(network.as_seen(images), plain, rtol=1e-4, atol=1e-5)


def test_grey_images_are_repeated_for_a_network_that_takes_colours() -> None:
    network = made((1, 8, 8), timm=TIMM, size=8, mean=MEAN, std=STD)
    network.in_units_of((0.6,), (0.25,))
    images = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    seen = network.as_seen(images)
    assert seen.shape == (2, 3, 8, 8)
    torch.testing.assert_close(pixels_of(seen), (images * 0.25 + 0.6).expand(-1, 3, -1, -1), rtol=1e-5, atol=1e-6)


def test_one_of_ours_sees_images_as_they_are_unless_the_job_says_otherwise() -> None:
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    plain = made(network=OURS)
    plain.in_units_of(MEAN, STD)
    assert torch.equal(plain.as_seen(images), images)
    other = made(network=OURS, mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 0.5), size=16)
    other.in_units_of(MEAN, STD)
    units = (pixels_of(images) - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / 0.5
    expected = F.interpolate(units, (16, 16), mode="bilinear", antialias=True)
    torch.testing.assert_close(other.as_seen(images), expected, rtol=1e-4, atol=1e-5)
    assert other.classifier.in_features == 4 * 4 * 4


def test_it_has_no_training_mode_and_pieces_of_the_size_that_it_sees() -> None:
    network = made(timm=TIMM).train()
    assert not any(module.training for module in network.modules())
    compute = Compute(CPU)
    functional = Functional(network, compute)
    assert functional.graph_images == compute.graph_for(160 * 160) < compute.graph_for(64)
    assert (functional.shape, functional.classes, network.classifier.in_features) == ((3, 8, 8), 3, 96)


def test_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert made(timm=TIMM).classifier.in_features == 96


def test_timm_that_is_missing_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigurationError, match=r"timm is not installed .*pip install 'ddservice\[zoo\]'"):
        made(timm=TIMM)


@pytest.mark.parametrize(
    ("shape", "fields", "message"),
    [
        ((3, 8, 8), {"timm": "resnt18"}, r"has no network `resnt18`, did you mean 'resnet18'\? Others: '.*', '.*';"),
        ((3, 8, 8), {"timm": "resnet18.a9_in1k"}, r"no network `resnet18\.a9_in1k`, did you mean 'resnet18\.a\d_in1k'"),
        (
            (3, 8, 8),
            {"timm": TIMM, "mean": (0.5,), "std": (0.5,)},
            "takes images of 3 channels, but `mean` has 1",
        ),
        ((3, 8, 8), {"network": OURS, "mean": (0.5,), "std": (1,)}, "images of 1 channel, but the dataset has 3; use"),
        ((3, 8, 8), {"network": OURS, "size": 2}, "a ConvNet of depth 2 halves its images 2 times, but 2 x 2 pixels"),
        ((3, 8, 8), {"timm": "vit_tiny_patch16_224", "size": 50}, r"takes no images of 50 x 50 pixels \(.*50.*leave"),
        ((3, 8, 8), {"timm": "test_vit_relpos", "size": 64}, r"takes no images of 64 x 64 pixels \(.*160.*\); leave"),
    ],
)
def test_what_does_not_fit_is_refused(shape: tuple[int, int, int], fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        made(shape, **fields)


def work_of(network: nn.Module) -> tuple[int, int]:
    """Multiplications of an image of 224 x 224 in convolutions and linear maps, and numbers that its graph keeps."""
    macs, kept = 0, dict[int, int]()
    weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}

    def count(module: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal macs
        macs += output[0].numel() * math.prod(module.get_parameter("weight").shape[1:])

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes() // 4
        held.append(tensor)  # or its place would be given to the next
        return tensor

    held = list[Tensor]()
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(torch.zeros(1, 3, 224, 224).requires_grad_())
    return macs, sum(kept.values())


@pytest.mark.parametrize(
    ("name", "operations", "memory"),
    [
        ("resnet18", 1.2, 2.4),
        ("resnet50", 1.1, 0.9),
        ("vit_small_patch16_224", 1.0, 2.0),
        ("convnext_tiny", 1.2, 1.5),
        ("efficientnet_b0", 2.0, 0.4),
        ("mobilenetv3_large_100", 3.8, 0.7),
    ],
)
def test_the_rule_of_estimates_is_near_what_networks_do(name: str, operations: float, memory: float) -> None:
    """How many times as much it says; the figures are in the documentation."""
    network = of_timm(name, num_classes=0).eval().requires_grad_(False)
    macs, kept = work_of(network)
    config = BackboneConfig(weights="x", timm=name, parameters=sum(each.numel() for each in network.parameters()))
    layers = config.layers((3, 224, 224), 1)
    assert sum(layer.macs for layer in layers) / macs == pytest.approx(operations, abs=0.06)
    assert sum(layer.outputs for layer in layers if layer.kept) / kept == pytest.approx(memory, abs=0.06)
