"""Linear gradient matching on networks that others trained: the slope of a plain loop, and runs of the engine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddcore import engine
from ddcore.bundle.folder import read_manifest
from ddcore.data import sources
from ddcore.errors import CheckpointError, ConfigurationError, Interrupted
from ddcore.machine.compute import Compute
from ddcore.methods import build_method
from ddcore.methods.linear_gradient import HeadStep, LinearGradient
from ddcore.runtime.callback import Callback, Stop
from ddcore.runtime.context import Run
from ddcore.spec import SpecError, parse
from tests.ddcore.conftest import CPU, blobs
from tests.ddcore.weights import OURS, TIMM, make_timm, train_ours

Make = Callable[..., Run]
Features = Callable[[Tensor], Tensor]
METHOD: dict[str, Any] = {
    "name": "linear_gradient", "iterations": 4, "views": 3, "grow_every": 2, "lr_img": 0.05,
}  # fmt: skip


def ready(make_run: Make, folder: Path, backbone: dict[str, Any], **fields: Any) -> tuple[LinearGradient, Run]:
    run = make_run(backbones=folder, method={**METHOD, "backbone": backbone}, **fields)
    method = build_method(run.spec.method, run)
    assert isinstance(method, LinearGradient)
    method.prepare()
    return method, run


def gradient(features: Features, head: nn.Linear, images: Tensor, labels: Tensor, *, graph: bool) -> Tensor:
    loss = F.cross_entropy(head(features(images)), labels)
    return torch.cat(
        [part.flatten() for part in torch.autograd.grad(loss, list(head.parameters()), create_graph=graph)]
    )


def plain_loss(features: Features, step: HeadStep, run: Run, images: Tensor) -> Tensor:
    """1 - cosine of the gradients of the classifier, by autograd twice; 2 images of each of 3 classes in 3 views."""
    head = nn.Linear(step.head[0].shape[1], 3)
    head.load_state_dict({"weight": step.head[0], "bias": step.head[1]})
    real = step.real.of(run.real_images(step.rows), 0)
    of_real = gradient(features, head, real, run.dataset.train.labels[step.rows], graph=False)
    copies = torch.cat([image.expand(3, -1, -1, -1) for image in images])
    labels = torch.tensor([0, 0, 1, 1, 2, 2]).repeat_interleave(3)
    of_synthetic = gradient(features, head, step.synthetic_views.of(copies, 0), labels, graph=True)
    return 1 - F.cosine_similarity(of_real, of_synthetic, dim=0)


def check(method: LinearGradient, run: Run, features: Features) -> None:
    """Loss and slope of some steps against the plain loop, to the levels that the images are sums of."""
    synthetic = method.start()
    for index in range(4):
        synthetic.begin_step()
        step = method.draw(index, synthetic)
        loss = float(method.backward(step)["loss/base"])
        slope = synthetic.gradient.clone()
        expected = plain_loss(features, step, run, synthetic.images)
        (expected_slope,) = torch.autograd.grad(expected, synthetic.learned["images"].value)
        assert loss == pytest.approx(expected.item(), rel=1e-3)
        assert float(expected_slope.norm()) > 0
        torch.testing.assert_close(slope, expected_slope, rtol=5e-3, atol=1e-5)
        synthetic.step()


def test_steps_on_one_of_ours_are_those_of_a_plain_loop(make_run: Make, tmp_path: Path) -> None:
    network = train_ours(blobs(), tmp_path)
    method, run = ready(make_run, tmp_path, {"weights": "ours", "network": OURS})
    check(method, run, network.features)


def test_steps_on_one_of_timm_are_those_of_a_plain_loop(make_run: Make, tmp_path: Path) -> None:
    """The slope goes through resizing and the units of the network to the images."""
    network = make_timm(tmp_path)
    method, run = ready(make_run, tmp_path, {"weights": "tiny", "timm": TIMM, "size": 24})
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (run.dataset.mean, run.dataset.std))

    def features(images: Tensor) -> Tensor:
        units = (images * std + mean - 0.5) / 0.5
        found: Tensor = network(F.interpolate(units, (24, 24), mode="bilinear", antialias=True))
        return found

    check(method, run, features)


def test_grey_images_are_matched_on_a_network_of_colours(make_run: Make, tmp_path: Path) -> None:
    network = make_timm(tmp_path)
    grey = blobs(shape=(1, 8, 8))
    method, run = ready(make_run, tmp_path, {"weights": "tiny", "timm": TIMM, "size": 16}, dataset=grey)
    (mean,), (std,) = run.dataset.mean, run.dataset.std

    def features(images: Tensor) -> Tensor:
        units = ((images * std + mean - 0.5) / 0.5).expand(-1, 3, -1, -1)
        found: Tensor = network(F.interpolate(units, (16, 16), mode="bilinear", antialias=True))
        return found

    check(method, run, features)


def test_groups_of_classes_are_those_of_the_size_that_the_network_sees(make_run: Make, tmp_path: Path) -> None:
    train_ours(blobs(), tmp_path)
    backbone, slopes = {"weights": "ours", "network": OURS}, []
    for graph, count in ((512, 1), (1, 2)):
        method, _ = ready(make_run, tmp_path, backbone, compute=Compute(CPU, graph=graph))
        synthetic = method.start()
        groups = list(synthetic.class_groups(method._frozen.functional.graph_images // 3))
        assert len(groups) == count
        method.backward(method.draw(0, synthetic))
        slopes.append(synthetic.gradient.clone())
    torch.testing.assert_close(slopes[1], slopes[0], rtol=1e-4, atol=1e-7)


JOB: dict[str, Any] = {
    "dataset": "digits", "ipc": 1, "compile": "off", "metrics": {"probe": "random"}, "checkpoints": {"every": 1},
    "network": {"name": "convnet", "depth": 1, "width": 4}, "evaluation": {"repeats": 0, "audit": False},
    "method": {**METHOD, "backbone": {"weights": "ours", "network": OURS}},
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    train_ours(sources.load("digits", None, None), tmp_path / "backbones", classes=10)
    return tmp_path / "backbones"


class Stopping(Callback):
    """Asks for an end after some steps, and remembers what it is told."""

    def __init__(self, after: int | None = None) -> None:
        self.after, self.done, self.said, self.phases = after, 0, list[str](), list[str]()

    def on_phase(self, phase: str, total: int | None) -> None:
        self.phases.append(phase)

    def on_progress(self, done: int, total: int) -> None:
        self.done = done

    def on_log(self, level: str, message: str) -> None:
        self.said.append(message)

    def should_stop(self) -> Stop | None:
        return Stop.CHECKPOINT if self.after is not None and self.done >= self.after else None


def test_a_run_resumes_to_the_same_bytes_and_names_the_file_by_its_hash(folder: Path, tmp_path: Path) -> None:
    spec, telling = parse(JOB), Stopping()
    engine.run(spec, tmp_path / "whole", run_dir=tmp_path / "one", backbones=folder, callback=telling)
    with pytest.raises(Interrupted):
        engine.run(spec, tmp_path / "out", run_dir=tmp_path / "two", backbones=folder, callback=Stopping(2))
    engine.run(spec, tmp_path / "out", run_dir=tmp_path / "two", backbones=folder)
    whole, resumed = ((tmp_path / name / "distilled.safetensors").read_bytes() for name in ("whole", "out"))
    assert whole == resumed
    digest = hashlib.sha256((folder / "ours.safetensors").read_bytes()).hexdigest()
    manifest = read_manifest(tmp_path / "whole")
    assert manifest.spec["method"]["backbone"]["sha256"] == digest
    assert manifest.recipe.backbone is None, "networks from scratch need none"
    (said,) = [message for message in telling.said if digest in message]
    assert "`convnet`" in said
    assert not (tmp_path / "whole" / "teacher.safetensors").exists()
    assert json.loads((tmp_path / "whole" / "manifest.json").read_text())["results"].get("backbone") is None


def test_a_run_does_not_go_on_with_other_weights(folder: Path, tmp_path: Path) -> None:
    spec = parse(JOB)
    with pytest.raises(Interrupted):
        engine.run(spec, tmp_path / "out", run_dir=tmp_path / "run", backbones=folder, callback=Stopping(2))
    train_ours(blobs(classes=10, shape=(1, 8, 8)), folder, classes=10)
    with pytest.raises(CheckpointError, match="belongs to another specification"):
        engine.run(spec, tmp_path / "out", run_dir=tmp_path / "run", backbones=folder)


def test_what_a_run_cannot_use_ends_it_as_a_bad_specification(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DD_BACKBONES_DIR", raising=False)
    with pytest.raises(SpecError, match="there is no folder of backbones: set DD_BACKBONES_DIR"):
        engine.run(parse(JOB), tmp_path / "out", run_dir=tmp_path / "run")
    monkeypatch.setenv("DD_BACKBONES_DIR", str(folder))
    wider = {**JOB, "method": {**METHOD, "backbone": {"weights": "ours", "network": {**OURS, "width": 8}}}}
    with pytest.raises(ConfigurationError, match=r"does not hold the weights of `convnet` .* have another shape"):
        engine.run(parse(wider), tmp_path / "out", run_dir=tmp_path / "run")


def test_a_backbone_of_the_scoring_is_refused_before_anything_is_trained(folder: Path, tmp_path: Path) -> None:
    backbone, telling = {"weights": "ours", "network": {**OURS, "norm": "instance"}}, Stopping()
    evaluation = {"protocol": "linear_probe", "repeats": 1, "epochs": 1, "backbone": backbone}
    job = {**JOB, "method": {"name": "linear_gradient", "iterations": 1}, "evaluation": evaluation}
    with pytest.raises(ConfigurationError, match=r"ours\.safetensors does not hold .* unknown to it"):
        engine.run(parse(job), tmp_path / "out", run_dir=tmp_path / "run", backbones=folder, callback=telling)
    assert telling.phases == ["loading"]
