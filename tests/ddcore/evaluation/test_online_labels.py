"""Labels of every batch: a teacher says what the set and its controls are learned with, and goes with the set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ddcore.errors import DataError
from ddcore.evaluation import network_scorer
from ddcore.evaluation.controls import Controls, random_subset
from ddcore.evaluation.evaluation import Evaluation
from ddcore.nets import build
from ddcore.runtime.context import Run
from ddcore.spec.results import Results
from ddcore.training import trainer

TEACHER = {"network": {"name": "convnet", "width": 4}, "epochs": 2, "batch_size": 24}
BATCH_NORM = {**TEACHER, "network": {"name": "convnet", "width": 4, "norm": "batch"}}
ONLINE = {"labels": "online", "teacher": TEACHER, "repeats": 1, "epochs": 3, "batch_size": 4, "lr": 0.05}
Make = Callable[..., Run]


def made(make_run: Make, **fields: Any) -> Evaluation:
    scorer = Evaluation(make_run(augmentation="crop_cutout", evaluation={**ONLINE, **fields}))
    scorer.prepare()
    return scorer


def scored(make_run: Make, **fields: Any) -> Results:
    scorer = made(make_run, **fields)
    return scorer.score(*random_subset(scorer._run.dataset, 2, torch.Generator().manual_seed(3)))


def test_the_set_and_all_its_controls_learn_what_the_same_teacher_says(
    make_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    labellers: list[Any] = []
    train = trainer.train

    def watched(*arguments: Any, **options: Any) -> Any:
        labellers.append(options["labeller"])
        return train(*arguments, **options)

    monkeypatch.setattr(network_scorer, "train", watched)
    scorer = made(
        make_run,
        epochs=1,
        batch_size=64,
        controls=["random", "herding", "best_coreset", "full"],
        scores=["augmentation_robust"],
        eight_bit=True,
        worth={"sizes": 2},
    )
    results = scorer.score(*random_subset(scorer._run.dataset, 2, torch.Generator().manual_seed(3)))
    images = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    expected = scorer.controls._teacher.logits(images)
    assert len(labellers) > 12, "the set and its controls, coresets to choose from, subsets"
    assert all(torch.equal(labeller(images), expected) for labeller in labellers)
    assert results["protocol"]["labels"] == "online"
    assert results["protocol"]["temperature"] == 20
    assert (results["protocol"]["label_loss"], results["protocol"]["teacher_mode"]) == ("kl", "eval")


def test_hard_labels_of_a_score_have_no_teacher(make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    labelled: list[bool] = []
    train = trainer.train

    def watched(*arguments: Any, **options: Any) -> Any:
        labelled.append(options["labeller"] is not None)
        return train(*arguments, **options)

    monkeypatch.setattr(network_scorer, "train", watched)
    scored(make_run, controls=["random"], scores=["label_robust"])
    # The set and random images, then those of the score: the full set and the set by class, and both by probability.
    assert labelled == [True, True, False, False, False, False]


def test_networks_learn_otherwise_than_from_classes_and_by_either_loss(make_run: Make) -> None:
    found = [
        tuple(scored(make_run, epochs=12, controls=[], **fields)["accuracy"]["values"])
        for fields in ({"labels": "hard"}, {}, {"label_loss": "mse_logits"}, {"temperature": 1.0})
    ]
    assert len(set(found)) > 2


def test_the_teacher_is_named_with_its_accuracy(make_run: Make) -> None:
    scorer = made(make_run)
    report = scored(make_run)["teacher"]
    network = build(scorer.config.teacher.network, (3, 8, 8), 3).eval()
    network.load_state_dict(scorer.controls._teacher._params)
    test = scorer._run.dataset.test
    with torch.no_grad():
        right = network(scorer._run.dataset.normalize(test.images)).argmax(dim=1) == test.labels
    assert report["accuracy"] == pytest.approx(100 * float(right.float().mean()))
    assert (report["dtype"], report["mode"], report["epochs"]) == ("float16", "eval", 2)
    assert report["network"]["depth"] == 2, "the depth that the images decide"


def test_weights_are_rounded_before_they_label_and_kept_in_half_the_bytes(make_run: Make) -> None:
    controls = made(make_run, teacher=BATCH_NORM, teacher_mode="train").controls
    stored, used = controls.stored_teacher, controls._teacher._params
    assert stored is not None
    halves = {name for name, value in stored.items() if value.dtype == torch.float16}
    assert halves == set(controls._teacher.functional.names)
    assert stored["blocks.0.1.running_var"].dtype == torch.float32
    assert all(torch.equal(stored[name].to(value.dtype), value) for name, value in used.items())
    unrounded = controls._teacher._pool[0]
    assert any(not torch.equal(unrounded[name], used[name]) for name in halves)


def test_weights_that_half_precision_cannot_hold_stay_as_they_are(make_run: Make) -> None:
    teacher = made(make_run).controls._teacher
    teacher._params = {**teacher._params, "classifier.bias": torch.tensor([1e6, 1 / 3, 0.0])}
    teacher.halve()
    assert teacher.dtype == torch.float32
    assert teacher.stored["classifier.bias"].tolist() == pytest.approx([1e6, 1 / 3, 0.0], rel=1e-7)


def test_batch_statistics_are_those_of_the_batch_and_the_running_ones_stay(make_run: Make) -> None:
    scorer = made(make_run, teacher=BATCH_NORM, teacher_mode="train")
    labeller, teacher = scorer.controls.labeller, scorer.controls._teacher
    assert labeller is not None
    before = {name: value.clone() for name, value in teacher._params.items()}
    images = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    network = build(scorer.config.teacher.network, (3, 8, 8), 3).train()
    network.load_state_dict(before)
    torch.testing.assert_close(labeller(images), network(images).detach())
    assert not torch.equal(labeller(images)[:3], labeller(images[:3])), "the others of a batch count"
    assert all(torch.equal(teacher._params[name], value) for name, value in before.items())


def test_a_kept_teacher_takes_the_place_of_training(make_run: Make) -> None:
    first = made(make_run)
    run = make_run(augmentation="crop_cutout", evaluation={**ONLINE, "teacher": {**TEACHER, "lr": 0.1}})
    again = Controls(run)
    again.prepare(first.controls.stored_teacher)
    images = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(again._teacher.logits(images), first.controls._teacher.logits(images))


def _other_classes(tensors: dict[str, Tensor]) -> None:
    tensors["classifier.weight"], tensors["classifier.bias"] = torch.zeros(7, 4), torch.zeros(7)


def _other_width(tensors: dict[str, Tensor]) -> None:
    tensors["blocks.0.0.weight"] = torch.zeros(9, 3, 3, 3)


def _one_missing(tensors: dict[str, Tensor]) -> None:
    del tensors["blocks.0.0.bias"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_other_classes, "the teacher tells 7 classes apart, but blobs has 3; use the dataset that it was trained on"),
        (_other_width, r"is no `convnet` for blobs: its `blocks\.0\.0\.weight` is \(9, 3, 3, 3\) where \(4, 3, 3, 3\)"),
        (_one_missing, r"its `blocks\.0\.0\.bias` is missing where \(4,\) is expected; fetch the bundle again"),
    ],
)
def test_a_teacher_of_something_else_is_refused(
    make_run: Make, change: Callable[[dict[str, Tensor]], None], message: str
) -> None:
    controls = made(make_run).controls
    tensors = dict(controls.stored_teacher or {})
    change(tensors)
    with pytest.raises(DataError, match=message):
        controls.prepare(tensors)
