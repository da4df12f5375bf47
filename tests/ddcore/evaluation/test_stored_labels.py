"""Labels of epochs in an evaluation: of the set once, of each control for itself, of all real images not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ddcore.errors import ConfigurationError
from ddcore.evaluation import network_scorer
from ddcore.evaluation.controls import random_subset
from ddcore.evaluation.evaluation import Evaluation
from ddcore.evaluation.plan import NetworkScore
from ddcore.nets.network import build
from ddcore.runtime.context import Run
from ddcore.spec.evaluation import labels as labelling
from ddcore.training import trainer
from ddcore.training.recipes import recipe_of_job
from ddcore.training.stored_labels import StoredLabels, record

STORED = {
    "labels": "stored", "teacher": {"network": {"name": "convnet", "width": 4}, "epochs": 1, "batch_size": 24},
    "repeats": 2, "epochs": 3, "stored_epochs": 2, "batch_size": 4, "lr": 0.05,
}  # fmt: skip
Make = Callable[..., Run]


def made(make_run: Make, **fields: Any) -> tuple[Evaluation, Tensor, Tensor, StoredLabels]:
    scorer = Evaluation(make_run(augmentation="crop_cutout", evaluation={**STORED, **fields}))
    scorer.prepare()
    images, labels = random_subset(scorer._run.dataset, 2, torch.Generator().manual_seed(3))
    stored = scorer.label_epochs(images, labels)
    assert stored is not None
    return scorer, images, labels, stored


def test_the_set_has_its_labels_each_control_its_own_and_all_images_the_teacher(
    make_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Any, Any]] = []
    train = trainer.train

    def watched(*arguments: Any, **options: Any) -> Any:
        seen.append((options["replay"], options["labeller"]))
        return train(*arguments, **options)

    monkeypatch.setattr(network_scorer, "train", watched)
    scorer, images, labels, stored = made(make_run, controls=["random", "full"])
    results = scorer.score(images, labels, epoch_labels=stored)
    of_set, of_controls, of_full = seen[:2], seen[2:4], seen[4:]
    assert all(replay is stored and labeller is None for replay, labeller in of_set)
    assert all(isinstance(replay, StoredLabels) and labeller is None for replay, labeller in of_controls)
    assert not torch.equal(of_controls[0][0].logits, of_controls[1][0].logits), "other images"
    assert {replay.seed for replay, _ in of_controls} == {stored.seed}
    assert all(replay is None and labeller is not None for replay, labeller in of_full)
    assert results["protocol"]["labels"] == "stored"
    assert results["protocol"]["temperature"] == 20
    assert results["teacher"]["accuracy"] > 0
    assert scorer.controls.stored_teacher is None


def test_several_teachers_store_the_mean_of_their_logits(make_run: Make) -> None:
    """Of each batch by its own statistics, as FADRM+ labels."""
    normed = {"name": "convnet", "width": 4, "norm": "batch"}
    others = [{"network": {**normed, "depth": 1}, "epochs": 1}, {"network": normed, "epochs": 3}]
    teacher = {"network": normed, "epochs": 1}
    scorer, images, labels, stored = made(
        make_run, controls=[], teacher=teacher, other_teachers=others, teacher_mode="train"
    )
    run, config = scorer._run, scorer._run.spec.evaluation
    networks = [build(described.network, run.dataset.shape, 3) for described in config.labelling]
    for network, taught in zip(networks, scorer.controls._labelling, strict=True):
        network.load_state_dict(taught._params)
    test = run.dataset.test
    with torch.no_grad():
        right = networks[1].eval()(run.dataset.normalize(test.images)).argmax(dim=1) == test.labels

    def mean_logits(batch: Tensor) -> Tensor:
        first, second, third = (network.train()(batch).detach() for network in networks)
        mean: Tensor = (first + second + third) / 3
        return mean

    expected = record(images, labels, recipe_of_job(run), mean_logits, classes=3, epochs=2, seed=stored.seed)
    torch.testing.assert_close(stored.logits, expected.logits, rtol=2e-3, atol=1e-4)
    alone = made(make_run, controls=[], teacher=teacher, teacher_mode="train")[-1]
    assert not torch.allclose(alone.logits, stored.logits, rtol=2e-3, atol=1e-2)

    report = scorer.score(images, labels, epoch_labels=stored)["teacher"]
    assert [each["network"]["depth"] for each in (report, *report["others"])] == [2, 1, 2]
    assert [each["epochs"] for each in (report, *report["others"])] == [1, 1, 3]
    assert report["others"][0]["accuracy"] == pytest.approx(100 * float(right.float().mean()))


def test_an_interrupted_scoring_ends_with_the_same_figures(make_run: Make) -> None:
    scorer, images, labels, stored = made(make_run, controls=["random"])
    scores: list[NetworkScore] = []
    whole = scorer.score(images, labels, epoch_labels=stored, on_network=scores.append)
    again, images, labels, stored = made(make_run, controls=["random"])
    rest = again.score(images, labels, epoch_labels=stored, done=scores[:1])
    assert (rest["accuracy"], rest["controls"]) == (whole["accuracy"], whole["controls"])


def test_labels_that_only_the_loaded_set_shows_to_be_too_large_are_refused(
    make_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labelling, "MOST_LABEL_BYTES", 2 * 6 * 3)
    with pytest.raises(ConfigurationError, match=r"choose `stored_epochs` of 1 to 1, or use `labels`: 'online'"):
        made(make_run)
    monkeypatch.setattr(labelling, "MOST_LABEL_BYTES", 2 * 6 * 5)
    with pytest.raises(ConfigurationError, match=r"`stored_epochs` of 1 to 1, or `stored_top` of 1 to 1, or use"):
        made(make_run)
    made(make_run, stored_top=1)


def test_controls_keep_the_highest_logits_as_the_set_does(make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, images, labels, stored = made(make_run, controls=["random", "best_coreset"], stored_top=1)
    tops: list[int | None] = []

    def watched(*arguments: Any, **options: Any) -> StoredLabels:
        tops.append(options["top"])
        return record(*arguments, **options)

    monkeypatch.setattr(network_scorer, "record", watched)
    scorer.score(images, labels, epoch_labels=stored)
    assert (stored.logits.shape, stored.top) == ((2, 6, 1), 1)
    assert len(tops) > 4, "of each network of a control, and of each coreset to choose from"
    assert set(tops) == {1}


def test_so_many_highest_logits_that_nothing_is_saved_are_refused_when_only_the_loaded_set_shows_it(
    make_run: Make,
) -> None:
    with pytest.raises(
        ConfigurationError, match=r"`stored_top` is 2, which takes 8 bytes .* take 6, .*; choose 1 to 1"
    ):
        made(make_run, stored_top=2)
