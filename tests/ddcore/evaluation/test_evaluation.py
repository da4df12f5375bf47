"""Scores: controls under the identical recipe, one seed a network, resumable, by any protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import fmean, pstdev
from typing import Any

import pytest
import torch
from torch import Tensor

from ddcore.augment.training import stacked
from ddcore.data.dataset import Dataset, ImageSet, describe
from ddcore.data.sources import load
from ddcore.errors import ConfigurationError
from ddcore.evaluation.controls import random_subset
from ddcore.evaluation.evaluation import Evaluation
from ddcore.evaluation.plan import Trial
from ddcore.formulas import dd_ranking
from ddcore.machine.compute import Compute
from ddcore.nets import Functional, build
from ddcore.runtime.callback import Callback, Phase
from ddcore.runtime.context import Run
from ddcore.spec import ConvNetConfig, EvaluationConfig, TrainingCondition
from ddcore.spec.results import Results
from ddcore.training.recipes import recipe_of
from ddcore.training.trainer import accuracy, train

CPU = torch.device("cpu")
NETWORK = ConvNetConfig(width=8, depth=2)
SHORT = {"repeats": 2, "epochs": 4, "batch_size": 4, "lr": 0.05}
TEACHER = {"network": {"name": "convnet", "width": 4}, "epochs": 5, "batch_size": 9, "lr": 0.05}


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
    return random_subset(dataset, 4, torch.Generator().manual_seed(9))


@pytest.fixture
def score(
    make_run: Callable[..., Run], dataset: Dataset, training_set: tuple[Tensor, Tensor]
) -> Callable[..., Results]:
    """Score a set (by default, of 4 real images a class); keywords are fields of the evaluation, or of the job."""

    def scored(
        images: Tensor | None = None,
        classes: Tensor | None = None,
        *,
        job: Mapping[str, Any] | None = None,
        of: Dataset = dataset,
        callback: Callback | None = None,
        check_stop: Callable[[], None] = lambda: None,
        soft_labels: Tensor | None = None,
        learning_rate: float | None = None,
        done: Any = (),
        on_network: Any = None,
        **fields: Any,
    ) -> Results:
        network = NETWORK.model_dump(mode="json")
        fields = {**SHORT, **fields}
        run = make_run(
            of, **{"ipc": 4, "network": network, "augmentation": "none", "evaluation": fields, **(job or {})}
        )
        run.callback, run.check_stop = callback or Callback(), check_stop
        scorer = Evaluation(run)
        scorer.prepare()
        return scorer.score(
            training_set[0] if images is None else images,
            training_set[1] if classes is None else classes,
            soft_labels=soft_labels,
            learning_rate=learning_rate,
            done=done,
            on_network=on_network,
        )

    return scored


class Recorder(Callback):
    def __init__(self) -> None:
        self.phases: list[tuple[Phase, int | None]] = []
        self.progress: list[tuple[int, int]] = []
        self.logs: list[str] = []

    def on_phase(self, phase: Phase, total: int | None) -> None:
        self.phases.append((phase, total))

    def on_progress(self, done: int, total: int) -> None:
        self.progress.append((done, total))

    def on_log(self, level: str, message: str) -> None:
        self.logs.append(message)


def test_results_state_the_score_beside_the_control_under_the_identical_recipe(score: Any) -> None:
    results = score(augmentation="crop_cutout")
    for summary in (results["accuracy"], results["controls"]["random"]):
        assert summary["networks"] == len(summary["values"]) == 2
        assert all(0 <= value <= 100 for value in summary["values"])
        assert summary["mean"] == pytest.approx(fmean(summary["values"]))
        assert summary["std"] == pytest.approx(pstdev(summary["values"]))
    assert results["network"] == NETWORK.model_dump(mode="json")
    assert (results["epochs"], results["checkpoint"]) == (4, "last")
    assert results["protocol"] == {
        "name": "standard",
        "optimizer": "sgd",
        "passes": 5,
        "lr": 0.05,
        "lr_is": "given",
        "lr_drops": {"after_passes": [4], "factor": 0.1, "clears_momentum": True},
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "batch_size": 4,
        "augmentation": ["crop", "cutout"],
        "augmenter": "siamese",
        "cutmix": 0.0,
        "labels": "hard",
        "temperature": None,
        "scored_on": "test, all images, last pass",
    }
    assert {"architectures", "scores"}.isdisjoint(results)


@pytest.mark.parametrize("protocol", ["standard", "idc"])
def test_a_network_is_scored_as_by_hand(
    protocol: str, score: Any, training_set: tuple[Tensor, Tensor], dataset: Dataset
) -> None:
    fields = {"protocol": protocol, "repeats": 1, "epochs": 6, "batch_size": 4, "lr": 0.05, "controls": ()}
    trial = Trial(0, TrainingCondition("distilled", "hard"), 0)
    generator = torch.Generator().manual_seed(trial.seed(3))
    functional = Functional(build(NETWORK, dataset.shape, 3), Compute(CPU))
    params = functional.new(generator)
    strategy = () if protocol == "standard" else ("color", "crop", "scale", "rotate")
    config, tests = EvaluationConfig(**fields), []

    def test_now(epoch: int) -> None:
        if epoch in (1, 3, 4):
            tests.append(accuracy(functional, params, dataset.normalize(dataset.test.images), dataset.test.labels))

    train(functional, params, *training_set, recipe_of(config, strategy, stacked), generator, on_epoch=test_now)
    tests.append(accuracy(functional, params, dataset.normalize(dataset.test.images), dataset.test.labels))
    results = score(**fields, job={"seed": 3})
    assert results["accuracy"]["values"] == tests[-1:]
    assert results["controls"] == {}
    if protocol == "idc":
        assert results["accuracy"]["best"]["values"] == [max(tests)]
    else:
        assert "best" not in results["accuracy"]


def test_training_teaches(score: Any, training_set: tuple[Tensor, Tensor]) -> None:
    trained = score(epochs=40)
    misled = score(classes=training_set[1].roll(4), epochs=40, controls=())
    assert trained["accuracy"]["mean"] > 60
    assert trained["controls"]["random"]["mean"] > 60
    assert misled["accuracy"]["mean"] < 100 / 3, "worse than chance"


def test_real_digits_are_learned_from_ten_images_a_class(score: Any) -> None:
    digits = load("digits", None, None)
    training_set = random_subset(digits, 10, torch.Generator().manual_seed(0))
    job = {"network": {"name": "convnet", "width": 32}, "augmentation": "auto"}
    fields = {"epochs": 100, "controls": (), "batch_size": 256, "lr": 0.01}
    assert score(*training_set, of=digits, job=job, **fields)["accuracy"]["mean"] > 80


def test_labels_may_be_probabilities_that_belong_to_the_set(score: Any, training_set: tuple[Tensor, Tensor]) -> None:
    certain = torch.nn.functional.one_hot(training_set[1], 3).float()
    with_certain, with_classes = score(soft_labels=certain), score()
    assert with_certain["protocol"]["labels"] == "soft"
    assert with_classes["protocol"]["labels"] == "hard"
    assert {**with_certain, "protocol": None} == {**with_classes, "protocol": None}
    assert score(soft_labels=certain.roll(1, dims=1))["accuracy"] != with_classes["accuracy"]


def test_scores_follow_from_the_seed_and_networks_differ(score: Any) -> None:
    first, again, other = (score(job={"seed": seed}) for seed in (0, 0, 1))
    assert first == again
    assert first["accuracy"]["values"] != other["accuracy"]["values"]
    assert len(set(first["accuracy"]["values"])) == 2


def test_controls_ignore_the_images_and_more_of_them_leave_the_scores(
    score: Any, training_set: tuple[Tensor, Tensor]
) -> None:
    fields = {"controls": ("random", "full"), "full_images": 100}
    results, blank = score(**fields), score(torch.zeros_like(training_set[0]), **fields)
    assert results["controls"] == blank["controls"]
    assert results["accuracy"] != blank["accuracy"]
    assert score(controls=())["accuracy"] == results["accuracy"]
    assert score()["controls"]["random"] == results["controls"]["random"]


EVERYTHING = {
    "repeats": 1,
    "augmentation": "crop",
    "teacher": TEACHER,
    "controls": ("random", "herding", "full"),
    "scores": ("label_robust", "augmentation_robust"),
    "tests": 2,
}
"""Two networks of the first architecture for each of eight conditions."""


@pytest.mark.parametrize("finished", range(9))
def test_an_interrupted_evaluation_goes_on_with_the_next_network(finished: int, score: Any) -> None:
    class Stopped(Exception):
        pass

    scores: list[dict[str, Any]] = []

    def stop() -> None:
        if len(scores) == finished:
            raise Stopped

    if finished < 8:
        # The teacher is trained before the first network, so it is stopped there as well.
        with pytest.raises(Stopped):
            score(on_network=scores.append, check_stop=stop, **EVERYTHING)
    else:
        score(on_network=scores.append, **EVERYTHING)
    assert len(scores) == finished
    rest: list[dict[str, Any]] = []
    resumed = score(done=scores, on_network=rest.append, **EVERYTHING)
    assert len(rest) == 8 - finished
    assert resumed == score(**EVERYTHING)


def test_progress_counts_the_epochs_of_all_networks(score: Any) -> None:
    recorder = Recorder()
    score(callback=recorder)
    assert recorder.phases == [("evaluating", 20)]
    assert recorder.progress == [(done, 20) for done in range(1, 21)]
    assert recorder.logs == []


def test_the_full_set_is_seen_less_often_and_says_so(score: Any) -> None:
    """27 images, at most 60 of them: E is 2, which makes 3 epochs."""
    recorder = Recorder()
    results = score(callback=recorder, controls=("full",), full_images=60)
    assert recorder.phases == [("evaluating", 2 * 5 + 2 * 3)]
    assert recorder.progress[-1] == (16, 16)
    full = results["controls"]["full"]
    assert (full["epochs"], full["images"], full["networks"]) == (2, 27, 2)
    (said,) = recorder.logs
    assert "all 27 images in each of 3 epochs" in said


def test_every_architecture_has_its_scores_and_the_first_leads(score: Any) -> None:
    networks = (ConvNetConfig(width=4, depth=1, norm="batch"), NETWORK)
    results = score(networks=networks, scores=("augmentation_robust",), augmentation="crop")
    entries = results["architectures"]
    assert [entry["network"] for entry in entries] == [n.model_dump(mode="json") for n in networks]
    assert results["accuracy"] == entries[0]["accuracy"]
    assert all(entry["controls"]["random"]["networks"] == 2 for entry in entries)
    assert results["scores"]["augmentation_robust"]["ingredients"]["distilled_augmented"] == results["accuracy"]


def test_without_repeats_there_is_no_score(score: Any) -> None:
    results = score(repeats=0)
    assert results["accuracy"] is None
    assert results["controls"] == {"random": None}


def test_an_architecture_that_does_not_fit_is_refused_before_anything(make_run: Callable[..., Run]) -> None:
    networks = [{"name": "convnet"}, {"name": "convnet", "depth": 5}]
    with pytest.raises(ConfigurationError, match="8 x 8 pixels allow 3"):
        Evaluation(make_run(evaluation={"networks": networks}))
    Evaluation(make_run(evaluation={"networks": networks, "repeats": 0}))


def test_soft_labels_are_the_teachers_for_the_set_and_its_controls(
    score: Any, make_run: Callable[..., Run], dataset: Dataset, training_set: tuple[Tensor, Tensor]
) -> None:
    fields = {"labels": "soft", "temperature": 2.0, "teacher": TEACHER}
    scorer = Evaluation(make_run(dataset, network=NETWORK, evaluation=fields))
    scorer.prepare()
    labels = scorer.soft_labels(training_set[0])
    assert labels is not None
    assert labels.shape == (12, 3)
    results = score(**fields)
    assert score(soft_labels=labels, **fields) == results
    assert results["protocol"]["labels"] == "soft"
    assert results["protocol"]["temperature"] == 2
    hard = score()
    assert results["accuracy"] != hard["accuracy"]
    assert results["controls"] != hard["controls"]
    assert Evaluation(make_run(dataset, network=NETWORK)).soft_labels(training_set[0]) is None


def test_networks_learn_from_soft_labels_at_the_temperature(score: Any, training_set: tuple[Tensor, Tensor]) -> None:
    """Hard labels are learned at none, whatever the temperature of others."""
    certain = torch.nn.functional.one_hot(training_set[1], 3).float()
    assert score(temperature=5)["accuracy"] == score()["accuracy"]
    warm, cold = (score(soft_labels=certain, controls=(), temperature=t)["accuracy"] for t in (5, 1))
    assert warm != cold


def test_robust_scores_are_made_of_their_own_trainings(score: Any, training_set: tuple[Tensor, Tensor]) -> None:
    fields = {"augmentation": "crop_cutout", "teacher": TEACHER, "controls": (), "full_images": 60}
    results = score(scores=("label_robust", "augmentation_robust"), **fields)
    label, augmentation = results["scores"]["label_robust"], results["scores"]["augmentation_robust"]
    plain = {**fields, "augmentation": "none"}
    separately = {
        "full_hard": score(**{**fields, "controls": ("full",)})["controls"]["full"],
        "distilled_hard": score(**fields)["accuracy"],
        "distilled_soft": score(labels="soft", **fields)["accuracy"],
        "random_soft": score(labels="soft", **{**fields, "controls": ("random",)})["controls"]["random"],
    }
    assert label["ingredients"] == separately
    means = {name: found["mean"] for name, found in separately.items()}
    assert {**label, "ingredients": None} == {**dd_ranking.label_robust(**means), "ingredients": None}
    separately = {
        "distilled_augmented": score(**fields)["accuracy"],
        "random_augmented": score(**{**fields, "controls": ("random",)})["controls"]["random"],
        "distilled_plain": score(**plain)["accuracy"],
        "random_plain": score(**{**plain, "controls": ("random",)})["controls"]["random"],
    }
    assert augmentation["ingredients"] == separately
    means = {name: found["mean"] for name, found in separately.items()}
    assert {**augmentation, "ingredients": None} == {**dd_ranking.augmentation_robust(**means), "ingredients": None}


def test_learned_labels_belong_to_the_set_in_every_score(score: Any) -> None:
    learned = torch.softmax(torch.randn(12, 3, generator=torch.Generator().manual_seed(1)), dim=1)
    fields = {"teacher": TEACHER, "full_images": 60, "augmentation": "crop"}
    results = score(soft_labels=learned, scores=("label_robust", "augmentation_robust"), **fields)
    label, augmentation = (results["scores"][name]["ingredients"] for name in ("label_robust", "augmentation_robust"))
    assert label["distilled_soft"] == augmentation["distilled_augmented"] == results["accuracy"]
    assert label["distilled_hard"] == score(**fields)["accuracy"]
    plain = score(soft_labels=learned, **{**fields, "augmentation": "none"})
    assert augmentation["distilled_plain"] == plain["accuracy"]


def test_cutmix_counts_as_augmentation(score: Any) -> None:
    fields = {"cutmix": 1.0, "augmentation": "none", "scores": ("augmentation_robust",), "controls": ()}
    ingredients = score(**fields)["scores"]["augmentation_robust"]["ingredients"]
    assert ingredients["distilled_plain"] == score(controls=())["accuracy"]
    assert ingredients["distilled_augmented"] != ingredients["distilled_plain"]


def test_the_learned_rate_is_used_and_reported(score: Any, make_run: Callable[..., Run], dataset: Dataset) -> None:
    results = score(learning_rate=0.3)
    assert (results["protocol"]["lr"], results["protocol"]["lr_is"]) == (0.05, "given")
    run = make_run(dataset, ipc=4, network=NETWORK, augmentation="none", evaluation=SHORT)
    run.spec = run.spec.model_copy(update={"evaluation": EvaluationConfig(**{**SHORT, "lr": None})})
    images = random_subset(dataset, 4, torch.Generator().manual_seed(9))
    learned = Evaluation(run).score(*images, learning_rate=0.3)
    assert (learned["protocol"]["lr"], learned["protocol"]["lr_is"]) == (0.3, "learned with the set")
    given = score(lr=0.3)
    assert (learned["accuracy"], learned["controls"]) == (given["accuracy"], given["controls"])
    with pytest.raises(ConfigurationError, match="this set learned none"):
        Evaluation(run).score(*images)


def test_the_images_in_8_bits_are_trained_on_with_the_same_seeds(score: Any, dataset: Dataset) -> None:
    """Images that are whole steps apart stay what they are; others become those of the nearest step."""
    generator = torch.Generator().manual_seed(1)
    whole = torch.randint(256, (12, 1, 8, 8), generator=generator, dtype=torch.uint8)
    classes = torch.arange(3).repeat_interleave(4)
    between = (whole.float() + 0.3 * torch.rand(whole.shape, generator=generator)) / 255
    results = score(dataset.normalize(between), classes, eight_bit=True, controls=[])
    assert results.eight_bit == score(dataset.normalize(whole), classes, controls=[]).accuracy
    assert "eight_bit" not in score(dataset.normalize(whole), classes, controls=[])
