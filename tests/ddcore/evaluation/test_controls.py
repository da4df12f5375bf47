"""Controls: which real images they hold, and with which labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ddcore.data.dataset import Dataset, ImageSet, describe
from ddcore.evaluation.controls import Controls, random_subset
from ddcore.formulas import selection
from ddcore.runtime.context import Run
from ddcore.spec import TrainingCondition

TEACHER = {"network": {"name": "convnet", "width": 4}, "epochs": 3, "batch_size": 9, "lr": 0.05, "pool": 5}


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Three classes of different size."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0] * 12 + [1] * 9 + [2] * 3)[torch.randperm(24, generator=generator)]
    pixels = torch.randint(256, (24, 1, 8, 8), generator=generator, dtype=torch.uint8)
    split = ImageSet(pixels, labels, ("many", "some", "few"))
    return describe("uneven", split, split)


@pytest.fixture
def controls(make_run: Callable[..., Run], dataset: Dataset) -> Callable[..., Controls]:
    def make(ipc: int = 4, seed: int = 0, **evaluation: Any) -> Controls:
        made = Controls(make_run(dataset, ipc=ipc, seed=seed, evaluation={"teacher": TEACHER, **evaluation}))
        made.prepare()
        return made

    return make


def rows_of(images: Tensor, dataset: Dataset) -> list[int]:
    real = dataset.normalize(dataset.train.images)
    return [int((real == image).flatten(1).all(dim=1).nonzero()) for image in images]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_random_subsets_hold_as_many_real_images_of_each_class_without_repetition(dataset: Dataset) -> None:
    images, labels = random_subset(dataset, 3, generator())
    assert labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    rows = rows_of(images, dataset)
    assert len(set(rows)) == len(rows)
    assert dataset.train.labels[rows].tolist() == labels.tolist()


def test_random_subsets_are_uniform_and_a_small_class_gives_all_it_has(dataset: Dataset) -> None:
    source, hits = generator(), torch.zeros(24)
    for _ in range(400):
        images, labels = random_subset(dataset, 4, source)
        assert labels.tolist() == [0] * 4 + [1] * 4 + [2] * 3
        hits[rows_of(images, dataset)] += 1
    for label, size in enumerate((12, 9, 3)):
        share = min(1, 4 / size)
        spread = 5 * (400 * share * (1 - share)) ** 0.5
        assert ((hits[dataset.train.labels == label] - 400 * share).abs() <= spread).all()


def test_random_control_is_drawn_by_the_generator(controls: Any, dataset: Dataset) -> None:
    found = controls().make(TrainingCondition("random", "hard"), generator(3))
    images, labels = random_subset(dataset, 4, generator(3))
    assert torch.equal(found.images, images)
    assert torch.equal(found.labels, labels)
    assert found.normalize is None


def test_herding_keeps_what_the_rule_chooses_by_the_teachers_features(
    controls: Any, dataset: Dataset, make_run: Callable[..., Run]
) -> None:
    made = controls(controls=["herding"])
    found = made.make(TrainingCondition("herding", "hard"), generator(3))
    pool, params = made._teacher._pool, made._teacher._params
    expected = []
    for label, size in enumerate((12, 9, 3)):
        rows = (dataset.train.labels == label).nonzero().flatten()
        images = dataset.normalize(dataset.train.images[rows])
        features = pool.functional.features(params, images, training=False)
        expected += rows[selection.herding(features, min(4, size))].tolist()
    assert rows_of(found.images, dataset) == expected
    assert torch.equal(found.labels, dataset.train.labels[expected])
    assert torch.equal(made.make(TrainingCondition("herding", "hard"), generator(4)).images, found.images)


def test_the_full_set_is_normalised_batch_by_batch(controls: Any, dataset: Dataset) -> None:
    found = controls().make(TrainingCondition("full", "hard"), generator())
    assert found.images is dataset.train.images
    assert torch.equal(found.labels, dataset.train.labels)
    assert found.normalize is not None
    assert torch.equal(found.normalize(found.images), dataset.normalize(dataset.train.images))


@pytest.mark.parametrize("name", ["random", "herding", "full"])
def test_soft_labels_are_the_softened_logits_of_the_teacher(name: str, controls: Any, dataset: Dataset) -> None:
    made = controls(labels="soft", temperature=3.0, controls=["random", "herding", "full"])
    found = made.make(TrainingCondition(name, "soft"), generator())
    images = found.images if found.normalize is None else found.normalize(found.images)
    logits = made._teacher._pool.functional.logits(made._teacher._params, images, training=False)
    expected = (logits / 3).exp() / (logits / 3).exp().sum(dim=1, keepdim=True)
    torch.testing.assert_close(found.labels, expected)
    hard = made.make(TrainingCondition(name, "hard"), generator())
    assert torch.equal(hard.images, found.images)
    assert hard.labels.dtype == torch.int64


def test_the_seed_decides_on_the_teacher_and_nothing_else_does(controls: Any) -> None:
    images = torch.randn(6, 1, 8, 8, generator=generator())
    first, again, *others = (controls(seed=seed, labels="soft").soft_labels(images) for seed in (0, 0, 1, 2, 3))
    assert torch.equal(first, again)
    assert any(not torch.equal(first, other) for other in others)


def test_no_teacher_is_trained_in_vain(controls: Any) -> None:
    assert "_teacher" not in vars(controls(controls=["random", "full"]))
