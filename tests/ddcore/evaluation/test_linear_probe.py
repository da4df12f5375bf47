"""Linear classifiers on the features of a frozen network, in the place of networks from scratch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ddcore.evaluation.controls import random_subset
from ddcore.evaluation.evaluation import Evaluation
from ddcore.formulas import selection
from ddcore.nets import build
from ddcore.runtime.context import Run
from ddcore.spec import TeacherConfig
from tests.ddcore.weights import TIMM, make_timm

TEACHER = {"network": {"name": "convnet", "width": 4, "norm": "batch"}, "epochs": 2, "batch_size": 24}
PROBE = {
    "protocol": "linear_probe", "teacher": TEACHER, "repeats": 2, "epochs": 8, "lr": 0.05, "batch_size": 6,
    "augmentation": "none",
}  # fmt: skip
Make = Callable[..., Run]


def made(make_run: Make, backbones: Path | None = None, **fields: Any) -> tuple[Evaluation, Tensor, Tensor]:
    scorer = Evaluation(make_run(backbones=backbones, evaluation={**PROBE, **fields}))
    scorer.prepare()
    images, labels = random_subset(scorer._run.dataset, 2, torch.Generator().manual_seed(3))
    return scorer, images, labels


def test_the_accuracy_is_that_of_a_classifier_on_the_features_of_the_teacher(
    make_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole batches, no augmentation: no draw decides but the start, which is taken from the network that is scored."""
    scorer, images, labels = made(make_run, repeats=1, controls=[])
    run, begun, fresh = scorer._run, list[dict[str, Tensor]](), scorer.network_scorer.fresh

    def watched(*arguments: Any) -> dict[str, Tensor]:
        params = fresh(*arguments)
        begun.append({name: value.clone() for name, value in params.items()})
        return params

    monkeypatch.setattr(scorer.network_scorer, "fresh", watched)
    results = scorer.score(images, labels)
    network = build(scorer.config.teacher.network, run.dataset.shape, 3).eval()
    network.load_state_dict(scorer.controls._teacher._params)
    with torch.no_grad():
        features, of_test = network.features(images), network.features(run.dataset.normalize(run.dataset.test.images))
    head = torch.nn.Linear(features.shape[1], 3)
    head.load_state_dict({name: begun[0][f"classifier.{name}"] for name in ("weight", "bias")})
    assert not torch.equal(head.weight, network.classifier.weight), "a fresh one"
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 8)
    for _ in range(8):
        optimizer.zero_grad()
        F.cross_entropy(head(features), labels).backward()
        optimizer.step()
        schedule.step()
    right = head(of_test).argmax(dim=1) == run.dataset.test.labels
    assert results["accuracy"]["values"] == pytest.approx([100 * float(right.float().mean())])
    assert results["network"]["norm"] == "batch"
    assert results["protocol"]["trains"] == "head"


def test_the_frozen_network_is_kept_named_and_left_alone(make_run: Make) -> None:
    scorer, images, labels = made(make_run, controls=["random", "herding"])
    before = {name: value.clone() for name, value in scorer.controls._teacher._params.items()}
    results = scorer.score(images, labels)
    assert all(torch.equal(scorer.controls._teacher._params[name], value) for name, value in before.items())
    assert results["teacher"]["network"]["name"] == "convnet"
    assert scorer.controls.labeller is None
    assert scorer.controls.stored_teacher is not None
    assert results["accuracy"]["networks"] == results["controls"]["herding"]["networks"] == 2


def test_networks_from_scratch_share_nothing_with_a_teacher(make_run: Make) -> None:
    scorer, _, _ = made(make_run, trains="network", controls=["herding"])
    assert scorer.controls.frozen == {}
    assert scorer.controls.stored_teacher is None
    assert scorer.controls.teacher_report is None
    assert [network.name for network in scorer.architectures] == ["convnet"]
    assert getattr(scorer.architectures[0], "norm", None) == "instance", "the network of the job"


def on_backbone(make_run: Make, folder: Path, **fields: Any) -> tuple[Evaluation, Tensor, Tensor]:
    return made(make_run, folder, teacher=TeacherConfig(), backbone={"weights": "tiny", "timm": TIMM}, **fields)


def test_the_accuracy_on_a_backbone_is_that_of_a_classifier_on_its_features(make_run: Make, tmp_path: Path) -> None:
    network = make_timm(tmp_path)
    scorer, images, labels = on_backbone(make_run, tmp_path, repeats=1, controls=[])
    run, begun, fresh = scorer._run, list[dict[str, Tensor]](), scorer.network_scorer.fresh

    def watched(*arguments: Any) -> dict[str, Tensor]:
        begun.append({name: value.clone() for name, value in fresh(*arguments).items()})
        return {name: value.clone() for name, value in begun[0].items()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scorer.network_scorer, "fresh", watched)
        results = scorer.score(images, labels)
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (run.dataset.mean, run.dataset.std))

    @torch.no_grad()
    def features(seen: Tensor) -> Tensor:
        found: Tensor = network(
            F.interpolate((seen * std + mean - 0.5) / 0.5, (160, 160), mode="bilinear", antialias=True)
        )
        return found

    head = torch.nn.Linear(96, 3)
    head.load_state_dict({name: begun[0][f"classifier.{name}"] for name in ("weight", "bias")})
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 8)
    of_set = features(images)
    for _ in range(8):
        optimizer.zero_grad()
        F.cross_entropy(head(of_set), labels).backward()
        optimizer.step()
        schedule.step()
    right = head(features(run.dataset.normalize(run.dataset.test.images))).argmax(dim=1) == run.dataset.test.labels
    assert results["accuracy"]["values"] == pytest.approx([100 * float(right.float().mean())])
    assert results["network"]["timm"] == TIMM
    assert results["backbone"]["sha256"] == hashlib.sha256((tmp_path / "tiny.safetensors").read_bytes()).hexdigest()
    assert (results["backbone"]["shape"], results["backbone"]["features"]) == ([3, 160, 160], 96)


def test_rules_choose_by_the_features_of_a_backbone_and_no_teacher_is_trained(make_run: Make, tmp_path: Path) -> None:
    make_timm(tmp_path)
    scorer, images, labels = on_backbone(make_run, tmp_path, repeats=1, epochs=1, controls=["herding", "best_coreset"])
    controls, run = scorer.controls, scorer._run
    assert "_teacher" not in vars(controls)
    assert (controls.stored_teacher, controls.teacher_report, controls.labeller) == (None, None, None)
    results = scorer.score(images, labels)
    assert set(results["controls"]) == {"herding", "best_coreset"}
    train = run.dataset.train
    kept = []
    for label in range(3):
        rows = (train.labels == label).nonzero().flatten()
        features = controls._frozen.features(run.dataset.normalize(train.images[rows])).detach()
        kept.append(rows[selection.herding(features, 2)])
    assert torch.equal(controls._herding_rows, torch.cat(kept))
