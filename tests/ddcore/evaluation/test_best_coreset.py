"""The best coreset: what each rule keeps, and a choice that never looks at the test images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from ddcore.data.dataset import Dataset, ImageSet
from ddcore.evaluation.coresets import validation_rows
from ddcore.evaluation.evaluation import Evaluation
from ddcore.evaluation.plan import NetworkScore
from ddcore.formulas import selection
from ddcore.runtime.context import Run
from ddcore.runtime.randomness import stream_seed
from ddcore.spec.results import Results
from ddcore.training.recipes import recipe_of
from ddcore.training.trainer import accuracy, train
from tests.ddcore.conftest import blobs

TEACHER = {"network": {"name": "convnet", "width": 4}, "epochs": 2, "batch_size": 16, "lr": 0.05}
FIELDS = {
    "repeats": 2, "epochs": 3, "batch_size": 4, "lr": 0.05, "teacher": TEACHER, "controls": ["best_coreset"]
}  # fmt: skip


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Three classes that a few short trainings confuse."""
    found = blobs(classes=3, per_class=24, shape=(1, 8, 8))
    noise = torch.randint(-60, 60, found.train.images.shape, generator=torch.Generator().manual_seed(2))
    images = (found.train.images.int() + noise).clamp(0, 255).to(torch.uint8)
    return replace(found, train=ImageSet(images, found.train.labels, found.classes))


Made = tuple[Evaluation, Run]


@pytest.fixture
def make(make_run: Callable[..., Run], dataset: Dataset) -> Callable[..., Made]:
    def made(of: Dataset = dataset, **fields: Any) -> Made:
        network = {"name": "convnet", "width": 8, "depth": 2}
        run = make_run(of, ipc=3, network=network, augmentation="none", evaluation={**FIELDS, **fields})
        evaluation = Evaluation(run)
        evaluation.prepare()
        return evaluation, run

    return made


def scored(made: Made, done: list[NetworkScore] | None = None, keep: list[NetworkScore] | None = None) -> Results:
    evaluation, run = made
    images = run.real_images(torch.arange(9))
    heard = keep if keep is not None else []
    return evaluation.score(images, run.dataset.train.labels[:9], done=done or [], on_network=heard.append)


def test_each_rule_keeps_what_it_chooses_of_the_images_that_do_not_validate(
    make: Callable[..., Made], dataset: Dataset
) -> None:
    evaluation, _ = make()
    coresets = evaluation.controls._coresets
    held = set(coresets.validation.tolist())
    assert [int((dataset.train.labels[coresets.validation] == label).sum()) for label in range(3)] == [2, 2, 2]
    teacher = evaluation.controls._teacher
    pool, params = teacher._pool, teacher._params
    expected: dict[str, list[int]] = {"herding": [], "k_center": []}
    for label in range(3):
        rows = torch.tensor([row for row in range(72) if dataset.train.labels[row] == label and row not in held])
        features = pool.functional.features(params, dataset.normalize(dataset.train.images[rows]), training=False)
        for rule, choose in (("herding", selection.herding), ("k_center", selection.k_center)):
            expected[rule] += rows[choose(features, 3)].tolist()
    kept: dict[str, list[int]] = {rule: rows.tolist() for rule, rows in coresets.rows.items()}
    assert {rule: kept[rule] for rule in expected} == expected
    assert len(set(kept["k_means"]) - held) == 9
    assert dataset.train.labels[kept["k_means"]].tolist() == [0] * 3 + [1] * 3 + [2] * 3


def retrained(made: Made, rows: Tensor, stream: str, tested: tuple[Tensor, Tensor]) -> float:
    """Accuracy of the network of a random stream that is trained on some training rows."""
    evaluation, run = made
    generator = torch.Generator().manual_seed(stream_seed(run.spec.seed, f"evaluation/0/{stream}"))
    functional = run.network(evaluation.architectures[0])
    params, images, labels = functional.new(generator), run.real_images(rows), run.dataset.train.labels[rows]
    train(functional, params, images, labels, recipe_of(evaluation.config, ()), generator)
    return accuracy(functional, params, *tested, normalize=run.dataset.normalize)


def test_the_best_on_validation_images_is_scored_on_the_test_images(make: Callable[..., Made]) -> None:
    made = make()
    (evaluation, run), best = made, scored(made).controls["best_coreset"]
    assert best is not None
    coresets, train_set, test = evaluation.controls._coresets, run.dataset.train, run.dataset.test
    held = train_set.images[coresets.validation], train_set.labels[coresets.validation]
    rules = {rule: retrained(made, rows, f"candidate/{rule}/0", held) for rule, rows in coresets.rows.items()}
    assert best.validation == rules
    assert best.rule == max(rules, key=lambda rule: rules[rule])
    chosen = next(rows for rule, rows in coresets.rows.items() if rule == best.rule)
    tested = [retrained(made, chosen, f"best_coreset/{repeat}", (test.images, test.labels)) for repeat in range(2)]
    assert list(best.values) == tested


def test_the_choice_does_not_look_at_the_test_images(make: Callable[..., Made], dataset: Dataset) -> None:
    upside_down = replace(dataset, test=ImageSet(255 - dataset.test.images, dataset.test.labels, dataset.classes))
    ours, theirs = (scored(make(of)).controls["best_coreset"] for of in (dataset, upside_down))
    assert ours is not None
    assert theirs is not None
    assert (ours.rule, ours.validation) == (theirs.rule, theirs.validation)
    assert ours.values != theirs.values


def test_an_interrupted_choice_goes_on_with_the_next_rule(make: Callable[..., Made]) -> None:
    heard: list[NetworkScore] = []
    whole = scored(make(), keep=heard)
    assert len(heard) == 3 + 2 + 2
    again: list[NetworkScore] = []
    assert scored(make(), done=heard[:2], keep=again) == whole
    assert again == heard[2:]


def test_results_say_how_far_the_set_is_above_it(make: Callable[..., Made]) -> None:
    results = scored(make(controls=["random", "best_coreset"]))
    assert list(results.differences) == ["random", "best_coreset"]
    assert results.accuracy is not None
    assert results.controls["best_coreset"] is not None
    points = results.accuracy.mean - results.controls["best_coreset"].mean
    assert results.differences["best_coreset"].points == pytest.approx(points)


def test_no_class_is_without_an_image_to_validate_on() -> None:
    uneven = blobs(classes=2, per_class=5)
    rows = validation_rows(uneven, 0.01, torch.Generator().manual_seed(0))
    assert uneven.train.labels[rows].tolist() == [0, 1]
