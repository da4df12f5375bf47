"""Linear classifiers on the features of a frozen network, in the place of networks from scratch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ddcore.evaluation.controls import random_subset
from ddcore.evaluation.evaluation import Evaluation
from ddcore.nets import build
from ddcore.runtime.context import Run

TEACHER = {"network": {"name": "convnet", "width": 4, "norm": "batch"}, "epochs": 2, "batch_size": 24}
PROBE = {
    "protocol": "linear_probe", "teacher": TEACHER, "repeats": 2, "epochs": 8, "lr": 0.05, "batch_size": 6,
    "augmentation": "none",
}  # fmt: skip
Make = Callable[..., Run]


def made(make_run: Make, **fields: Any) -> tuple[Evaluation, Tensor, Tensor]:
    scorer = Evaluation(make_run(evaluation={**PROBE, **fields}))
    scorer.prepare()
    images, labels = random_subset(scorer._run.dataset, 2, torch.Generator().manual_seed(3))
    return scorer, images, labels


def test_the_accuracy_is_that_of_a_classifier_on_the_features_of_the_teacher(
    make_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole batches, no augmentation: no draw decides but the start, which is taken from the network that is scored."""
    scorer, images, labels = made(make_run, repeats=1, controls=[])
    run, begun, fresh = scorer._run, list[dict[str, Tensor]](), scorer.fresh

    def watched(*arguments: Any) -> dict[str, Tensor]:
        params = fresh(*arguments)
        begun.append({name: value.clone() for name, value in params.items()})
        return params

    monkeypatch.setattr(scorer, "fresh", watched)
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
