"""Scores: the published recipe, controls under the same one, one seed a network, resumable."""

from __future__ import annotations

from statistics import fmean, pstdev
from typing import Any

import pytest
import torch
from torch import Tensor

from ddcore import evaluation
from ddcore.compute import Compute
from ddcore.data.images import Dataset, ImageSet, describe
from ddcore.data.sources import load
from ddcore.errors import ConfigurationError
from ddcore.evaluation import evaluate, published_recipe, random_subset
from ddcore.hooks import Callback, Phase
from ddcore.nets import Functional, build
from ddcore.spec import ConvNetConfig, EvaluationConfig
from ddcore.train import Recipe, accuracy, train

CPU = torch.device("cpu")
NETWORK = ConvNetConfig(width=8, depth=2)
SHORT = EvaluationConfig(repeats=2, epochs=4, batch_size=4, lr=0.05)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Three classes, told apart by the frequency of their stripes; 12, 9 and 6 training images."""
    generator = torch.Generator().manual_seed(0)

    def split(counts: tuple[int, ...]) -> ImageSet:
        labels = torch.cat([torch.full((n,), c) for c, n in enumerate(counts)])
        phase = torch.rand(len(labels), 1, generator=generator) * 6.28
        stripes = torch.sin(torch.arange(8) * (0.6 + 0.9 * labels).unsqueeze(1) + phase)
        images = (stripes.view(-1, 1, 1, 8).expand(-1, 1, 8, 8) * 80 + 128).to(torch.uint8)
        noise = torch.randint(40, images.shape, generator=generator, dtype=torch.uint8)
        return ImageSet(images.clone() + noise, labels, ("slow", "middle", "fast"))

    return describe("stripes", split((12, 9, 6)), split((40, 40, 40)))


@pytest.fixture
def training_set(dataset: Dataset) -> tuple[Tensor, Tensor]:
    return random_subset(dataset, torch.arange(3).repeat_interleave(4), torch.Generator().manual_seed(9))


def score(training_set: tuple[Tensor, Tensor], dataset: Dataset, **changes: Any) -> dict[str, Any]:
    config = changes.pop("config", SHORT)
    arguments = {"network": NETWORK, "augmentation": "none", "compute": Compute(CPU), "seed": 0, **changes}
    return evaluate(*training_set, dataset, config, **arguments)


class Recorder(Callback):
    def __init__(self) -> None:
        self.phases: list[tuple[Phase, int | None]] = []
        self.progress: list[tuple[int, int]] = []

    def on_phase(self, phase: Phase, total: int | None) -> None:
        self.phases.append((phase, total))

    def on_progress(self, done: int, total: int) -> None:
        self.progress.append((done, total))


@pytest.mark.parametrize(("epochs", "passes", "drop_after"), [(300, 301, 152), (1000, 1001, 502), (5, 6, 4), (1, 2, 2)])
def test_the_recipe_is_the_published_one(epochs: int, passes: int, drop_after: int) -> None:
    """E + 1 passes; the rate drops after the pass with index floor(E / 2) + 1, counted from zero."""
    recipe = published_recipe(EvaluationConfig(epochs=epochs), ("flip",))
    assert recipe == Recipe(passes, 0.01, 0.9, 5e-4, 256, drop_after, ("flip",))


def test_results_state_the_score_beside_the_control_under_the_identical_recipe(
    training_set: tuple[Tensor, Tensor], dataset: Dataset
) -> None:
    results = score(training_set, dataset, augmentation="crop_cutout")
    for summary in (results["accuracy"], results["controls"]["random"]):
        assert summary["networks"] == len(summary["values"]) == 2
        assert all(0 <= value <= 100 for value in summary["values"])
        assert summary["mean"] == pytest.approx(fmean(summary["values"]))
        assert summary["std"] == pytest.approx(pstdev(summary["values"]))
    assert results["network"] == NETWORK.model_dump(mode="json")
    assert (results["epochs"], results["checkpoint"]) == (4, "last")
    assert results["protocol"] == {
        "optimizer": "sgd",
        "passes": 5,
        "lr": 0.05,
        "lr_drop": {"after_passes": 4, "factor": 0.1, "clears_momentum": True},
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "batch_size": 4,
        "augmentation": ["crop", "cutout"],
        "scored_on": "test, all images, last pass",
    }
    assert "architectures" not in results


def test_a_network_is_scored_as_by_hand(training_set: tuple[Tensor, Tensor], dataset: Dataset) -> None:
    config = EvaluationConfig(repeats=1, epochs=4, batch_size=4, lr=0.05, controls=())
    generator = torch.Generator().manual_seed(evaluation._Trial(0, "distilled", 0).seed(3))
    functional = Functional(build(NETWORK, dataset.shape, 3), Compute(CPU))
    params = functional.new(generator)
    train(functional, params, *training_set, published_recipe(config, ()), generator)
    by_hand = accuracy(functional, params, dataset.normalize(dataset.test.images), dataset.test.labels)
    results = score(training_set, dataset, config=config, seed=3)
    assert results["accuracy"]["values"] == [by_hand]
    assert results["controls"] == {}


def test_training_teaches(training_set: tuple[Tensor, Tensor], dataset: Dataset) -> None:
    trained = score(training_set, dataset, config=SHORT.model_copy(update={"epochs": 40}))
    images, labels = training_set
    misled = score((images, labels.roll(4)), dataset, config=SHORT.model_copy(update={"epochs": 40, "controls": ()}))
    assert trained["accuracy"]["mean"] > 60
    assert trained["controls"]["random"]["mean"] > 60
    assert misled["accuracy"]["mean"] < 100 / 3, "worse than chance"


def test_real_digits_are_learned_from_ten_images_a_class() -> None:
    digits = load("digits", None, None)
    training_set = random_subset(digits, torch.arange(10).repeat_interleave(10), torch.Generator().manual_seed(0))
    config = EvaluationConfig(repeats=2, epochs=100, controls=())
    results = score(training_set, digits, config=config, network=ConvNetConfig(width=32), augmentation="auto")
    assert results["accuracy"]["mean"] > 80


def test_labels_may_be_probabilities(training_set: tuple[Tensor, Tensor], dataset: Dataset) -> None:
    images, labels = training_set
    soft = torch.nn.functional.one_hot(labels, 3).float()
    assert score((images, soft), dataset) == score(training_set, dataset)


def test_scores_follow_from_the_seed_and_networks_differ(training_set: tuple[Tensor, Tensor], dataset: Dataset) -> None:
    first, again, other = (score(training_set, dataset, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first["accuracy"]["values"] != other["accuracy"]["values"]
    assert len(set(first["accuracy"]["values"])) == 2


def test_the_control_ignores_the_images_and_a_control_more_leaves_the_scores(
    training_set: tuple[Tensor, Tensor], dataset: Dataset
) -> None:
    images, labels = training_set
    results, blank = score(training_set, dataset), score((torch.zeros_like(images), labels), dataset)
    assert results["controls"] == blank["controls"]
    assert results["accuracy"] != blank["accuracy"]
    alone = score(training_set, dataset, config=SHORT.model_copy(update={"controls": ()}))
    assert alone["accuracy"] == results["accuracy"]


@pytest.mark.parametrize("finished", [0, 1, 3, 4])
def test_an_interrupted_evaluation_goes_on_with_the_next_network(
    finished: int, training_set: tuple[Tensor, Tensor], dataset: Dataset
) -> None:
    class Stopped(Exception):
        pass

    scores: list[dict[str, Any]] = []

    def stop() -> None:
        if len(scores) == finished:
            raise Stopped

    if finished < 4:
        with pytest.raises(Stopped):
            score(training_set, dataset, on_network=scores.append, check_stop=stop)
    else:
        score(training_set, dataset, on_network=scores.append)
    assert len(scores) == finished
    rest: list[dict[str, Any]] = []
    resumed = score(training_set, dataset, done=scores, on_network=rest.append)
    assert len(rest) == 4 - finished
    assert resumed == score(training_set, dataset)


def test_progress_counts_the_epochs_of_all_networks(training_set: tuple[Tensor, Tensor], dataset: Dataset) -> None:
    recorder = Recorder()
    score(training_set, dataset, callback=recorder)
    assert recorder.phases == [("evaluating", 20)]
    assert recorder.progress == [(done, 20) for done in range(1, 21)]


def test_every_architecture_has_its_scores_and_the_first_leads(
    training_set: tuple[Tensor, Tensor], dataset: Dataset
) -> None:
    networks = (ConvNetConfig(width=4, depth=1, norm="batch"), NETWORK)
    results = score(training_set, dataset, config=SHORT.model_copy(update={"networks": networks}))
    entries = results["architectures"]
    assert [entry["network"] for entry in entries] == [n.model_dump(mode="json") for n in networks]
    assert results["accuracy"] == entries[0]["accuracy"]
    assert all(entry["controls"]["random"]["networks"] == 2 for entry in entries)


def test_without_repeats_there_is_no_score(training_set: tuple[Tensor, Tensor], dataset: Dataset) -> None:
    results = score(training_set, dataset, config=SHORT.model_copy(update={"repeats": 0}))
    assert results["accuracy"] is None
    assert results["controls"] == {"random": None}


def test_an_architecture_that_does_not_fit_is_refused_before_training(
    training_set: tuple[Tensor, Tensor], dataset: Dataset
) -> None:
    config = SHORT.model_copy(update={"networks": (NETWORK, ConvNetConfig(depth=5))})
    with pytest.raises(ConfigurationError, match="8 x 8 pixels allow 3"):
        score(training_set, dataset, config=config, on_network=lambda s: pytest.fail("trained before checking"))


def test_random_subsets_hold_as_many_real_images_of_each_class_without_repetition(dataset: Dataset) -> None:
    labels = torch.tensor([0] * 5 + [1] * 2 + [2] * 6)
    images, drawn = random_subset(dataset, labels, torch.Generator().manual_seed(0))
    assert drawn.tolist() == labels.tolist()
    real = dataset.normalize(dataset.train.images)
    rows = [int((real == image).flatten(1).all(dim=1).nonzero()) for image in images]
    assert len(set(rows)) == len(rows)
    assert dataset.train.labels[rows].tolist() == labels.tolist()


def test_random_subsets_are_uniform_and_a_small_class_gives_all_it_has(dataset: Dataset) -> None:
    generator, labels = torch.Generator().manual_seed(0), torch.tensor([0, 0, 0] + [2] * 50)
    real = dataset.normalize(dataset.train.images)
    hits = torch.zeros(len(real))
    for _ in range(400):
        images, drawn = random_subset(dataset, labels, generator)
        assert drawn.tolist() == [0] * 3 + [2] * 6
        hits += (images.unsqueeze(1) == real).flatten(2).all(dim=2).sum(dim=0)
    assert hits[12:21].eq(0).all()
    assert hits[21:].eq(400).all()
    assert ((hits[:12] - 100).abs() < 5 * (400 * 0.25 * 0.75) ** 0.5).all(), "each of 12 is drawn a quarter of the time"
