"""Weights of frozen networks come from a file as they are, or the file is refused with what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor

from ddcore.errors import ConfigurationError
from ddcore.evaluation.evaluation import Evaluation
from ddcore.machine import capacity
from ddcore.methods import build_method
from ddcore.methods.linear_gradient import LinearGradient
from ddcore.pretrained.backbones import FrozenBackbone
from ddcore.runtime.context import Run
from ddcore.spec import LinearGradientConfig
from tests.ddcore.conftest import blobs
from tests.ddcore.weights import OURS, TIMM, make_timm, of_timm, train_ours

Make = Callable[..., Run]


def frozen(make_run: Make, folder: Path, **fields: Any) -> FrozenBackbone:
    run = make_run(backbones=folder, method={"name": "linear_gradient", "backbone": fields})
    assert isinstance(run.spec.method, LinearGradientConfig)
    assert run.spec.method.backbone is not None
    found = FrozenBackbone(run.spec.method.backbone, run)
    found.prepare(Generator())
    return found


def images(count: int = 4) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=Generator().manual_seed(3))


def rewritten(path: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    save_file(change(load_file(path)), path)


def test_features_are_those_of_our_network(make_run: Make, tmp_path: Path) -> None:
    network = train_ours(blobs(), tmp_path)
    found = frozen(make_run, tmp_path, weights="ours", network=OURS)
    with torch.no_grad():
        torch.testing.assert_close(found.features(images()), network.features(images()), rtol=1e-4, atol=1e-6)
    assert found.feature_count == 4 * 2 * 2
    assert found.report.network is not None
    assert (found.report.network["depth"], found.report.timm, found.report.shape) == (2, None, (3, 8, 8))


def test_features_are_those_of_the_network_of_timm(make_run: Make, tmp_path: Path) -> None:
    """In its own units and size, whatever classifier the file holds beside them."""
    network = make_timm(tmp_path)
    assert "fc.weight" in load_file(tmp_path / "tiny.safetensors")
    found = frozen(make_run, tmp_path, weights="tiny", timm=TIMM, size=48)
    seen = images()
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (found._run.dataset.mean, found._run.dataset.std))
    units = (seen * std + mean - 0.5) / 0.5
    with torch.no_grad():
        plain = network(F.interpolate(units, (48, 48), mode="bilinear", antialias=True))
        torch.testing.assert_close(found.features(seen), plain, rtol=1e-3, atol=1e-5)
    report = found.report
    assert (report.timm, report.network, report.shape, report.features) == (TIMM, None, (3, 48, 48), 96)
    assert (report.mean, report.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_tables_that_no_file_holds_are_those_of_the_network(make_run: Make, tmp_path: Path) -> None:
    """Relative positions are worked out, not stored: zeros in their place would give other features."""
    network = make_timm(tmp_path, "positions", "test_vit_relpos")
    assert {name for name, _ in network.named_buffers()} - set(network.state_dict())
    found = frozen(make_run, tmp_path, weights="positions", timm="test_vit_relpos")
    run, seen = found._run, images(1)
    found._network.in_units_of(run.dataset.mean, run.dataset.std)
    with torch.no_grad():
        plain = network(found._network.as_seen(seen))
        torch.testing.assert_close(found.features(seen), plain, rtol=1e-3, atol=1e-4)


def test_a_transformer_sees_images_of_another_size_by_interpolating_its_positions(
    make_run: Make, tmp_path: Path
) -> None:
    make_timm(tmp_path, "vit", "vit_tiny_patch16_224")
    network = of_timm("vit_tiny_patch16_224", num_classes=0, dynamic_img_size=True).eval()
    held = load_file(tmp_path / "vit.safetensors")
    network.load_state_dict({name: value for name, value in held.items() if not name.startswith("head.")})
    found = frozen(make_run, tmp_path, weights="vit", timm="vit_tiny_patch16_224", size=64)
    seen = images(2)
    with torch.no_grad():
        plain = network(found._network.as_seen(seen))
        torch.testing.assert_close(found.features(seen), plain, rtol=1e-3, atol=1e-4)
    assert found.report.shape == (3, 64, 64)


def test_weights_of_half_precision_are_taken(make_run: Make, tmp_path: Path) -> None:
    network = train_ours(blobs(), tmp_path)
    rewritten(
        tmp_path / "ours.safetensors",
        lambda found: {name: value.half() if value.is_floating_point() else value for name, value in found.items()},
    )
    found = frozen(make_run, tmp_path, weights="ours", network=OURS)
    assert {value.dtype for value in found.params.values()} == {torch.float32, torch.int64}
    with torch.no_grad():
        torch.testing.assert_close(found.features(images()), network.features(images()), rtol=0.02, atol=0.02)


def without(name: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda found: {key: value for key, value in found.items() if name not in key}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            without("running_"),
            r"`convnet` for images of 3 x 8 x 8: 4 of its 14 tensors are missing "
            r"\(`blocks\.0\.1\.running_mean`, `blocks\.0\.1\.running_var`, `blocks\.1\.1\.running_mean`, …\)\. Name",
        ),
        (
            lambda found: {**found, "more": torch.ones(2), "again": torch.ones(1)},
            r"2 are unknown to it \(`.*`, `.*`\)\.",
        ),
        (
            lambda found: {**found, "blocks.0.0.weight": torch.ones(4, 1, 3, 3)},
            r"1 have another shape \(`blocks\.0\.0\.weight` \[4, 1, 3, 3\] for \[4, 3, 3, 3\]\)",
        ),
        (
            lambda found: {**found, "blocks.0.0.bias": torch.full((4,), float("nan"))},
            r"holds values in `blocks\.0\.0\.bias` that are NaN or infinite",
        ),
    ],
)
def test_weights_of_another_network_are_refused_with_names(
    make_run: Make,
    tmp_path: Path,
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    message: str,
) -> None:
    train_ours(blobs(), tmp_path)
    rewritten(tmp_path / "ours.safetensors", change)
    with pytest.raises(ConfigurationError, match=message):
        frozen(make_run, tmp_path, weights="ours", network=OURS)


def test_another_file_than_the_one_of_the_job_is_refused(make_run: Make, tmp_path: Path) -> None:
    """A worker may see another folder than the service did when the job was submitted."""
    train_ours(blobs(), tmp_path)
    method = {"name": "linear_gradient", "backbone": {"weights": "ours", "network": OURS}}
    run = make_run(backbones=tmp_path, method=method)
    assert isinstance(run.spec.method, LinearGradientConfig)
    config = run.spec.method.backbone
    assert config is not None
    before = FrozenBackbone(config, run)
    rewritten(tmp_path / "ours.safetensors", lambda tensors: {k: v + 1 for k, v in tensors.items()})
    other = r"is not the file that the job was submitted with \(SHA-256 [0-9a-f]"
    with pytest.raises(ConfigurationError, match=other):
        before.prepare(Generator())
    with pytest.raises(ConfigurationError, match=other):
        FrozenBackbone(config, run)
    (tmp_path / "ours.safetensors").unlink()
    with pytest.raises(ConfigurationError, match=r"\(DD_BACKBONES_DIR\) has no ours\.safetensors; put it there"):
        FrozenBackbone(config, run)


def test_a_run_holds_a_network_once_for_all_who_ask(make_run: Make, tmp_path: Path) -> None:
    train_ours(blobs(), tmp_path)
    backbone = {"weights": "ours", "network": OURS}
    run = make_run(
        backbones=tmp_path,
        method={"name": "linear_gradient", "backbone": backbone},
        evaluation={"protocol": "linear_probe", "backbone": backbone},
    )
    method, scorer = build_method(run.spec.method, run), Evaluation(run)
    method.prepare()
    scorer.prepare()
    found = scorer.controls._backbone
    assert found is not None
    assert found is run.pretrained[run.spec.evaluation.backbone]
    assert isinstance(method, LinearGradient)
    assert method._frozen is found


def test_weights_larger_than_memory_are_refused_with_numbers(
    make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_ours(blobs(), tmp_path)
    monkeypatch.setattr(capacity, "free_memory", lambda _: 1000)
    with pytest.raises(ConfigurationError, match=r"needs 1\.\d+ kB of memory for its weights, and 50% .* is 500 B"):
        frozen(make_run, tmp_path, weights="ours", network=OURS)
