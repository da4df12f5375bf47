"""What an evaluation trains: which networks, on which sets, by which recipes, in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from torch import Tensor

from ddcore.runtime.context import Run
from ddcore.runtime.randomness import stream_seed
from ddcore.spec import DISTILLED, Labels, TrainingCondition
from ddcore.spec.evaluation import BEST_CORESET, CANDIDATES, EIGHT_BIT
from ddcore.synthetic.stages import Stages
from ddcore.training.recipes import recipe_of_job, scheduled
from ddcore.training.stored_labels import StoredLabels
from ddcore.training.trainer import Recipe

NetworkScore = dict[str, Any]
"""One finished network, as checkpoints keep it: ``network`` (index of its architecture), ``set``, ``labels``,
``augmented``, ``repeat``, ``accuracy`` (percent, in the last test) and ``best`` (in any test)."""


@dataclass(frozen=True, eq=False)
class DistilledSet:
    """A distilled set that is scored.

    Attributes:
        images: (N, C, H, W) float32 in normalised units.
        labels: (N,) int64.
        soft_labels: (N, classes) float32 probabilities that belong to the set; networks learn these, whatever labels
            the controls have.
        learning_rate: that the set learned.
        stages: in which the set was learned, if so.
        epoch_labels: a teacher's labels of the batches of some epochs of it.
    """

    images: Tensor
    labels: Tensor
    soft_labels: Tensor | None = None
    learning_rate: float | None = None
    stages: Stages | None = None
    epoch_labels: StoredLabels | None = None

    @property
    def own_labels(self) -> Labels | None:
        """Which labels networks are to learn, if the set decides."""
        return None if self.soft_labels is None else "soft"


@dataclass(frozen=True)
class Trial:
    """One network to train.

    Attributes:
        network: index of its architecture.
        condition: what it is trained on, and how.
        repeat: number among the networks that differ in their seeds only, from 0.
    """

    network: int
    condition: TrainingCondition
    repeat: int

    @property
    def validates(self) -> bool:
        """Whether it is tested to choose a coreset, and not on the test images."""
        return self.condition.set in CANDIDATES

    def seed(self, seed: int) -> int:
        """What its weights and batches are drawn by, in a job with a seed."""
        of = DISTILLED if self.condition.set == EIGHT_BIT else self.condition.set
        return stream_seed(seed, f"evaluation/{self.network}/{of}/{self.repeat}")

    def score(self, tests: Sequence[float]) -> NetworkScore:
        """What is kept of it, for its accuracies in turn."""
        which = {"network": self.network, **self.condition._asdict(), "repeat": self.repeat}
        return {**which, "accuracy": tests[-1], "best": max(tests)}

    @classmethod
    def of(cls, score: NetworkScore) -> Trial:
        """The trial that a score is of."""
        condition = TrainingCondition(*(score[name] for name in TrainingCondition._fields))
        return cls(score["network"], condition, score["repeat"])


Scores = Mapping[Trial, NetworkScore]


class Plan:
    """The networks that score a set and its controls.

    Args:
        run: dataset, networks and evaluation of the job.
        distilled: the set.

    Attributes:
        config: the evaluation.
        architectures: of the networks; results lead with the first.
        distilled: the set.
        recipe: by which networks are trained under no special condition.
        full_images: training images of the dataset.
        curve: the networks on random subsets that the worth is read off, by images of each class.

    Raises:
        ConfigurationError: the learning rate is to be the learned one, but there is none.
    """

    def __init__(self, run: Run, distilled: DistilledSet) -> None:
        self.config = run.spec.evaluation
        self.architectures = self.config.architectures(run.spec.network)
        self.distilled = distilled
        self.recipe = recipe_of_job(run, distilled.learning_rate)
        self.full_images = len(run.dataset.train)
        subsets = self.config.curve(run.spec.ipc, min(run.dataset.class_counts))
        networks = range(0 if self.config.worth is None else self.config.worth.networks)
        self.curve: Mapping[int, list[Trial]] = {
            size: [Trial(0, condition, number) for number in networks] for size, condition in subsets.items()
        }

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """All of them, in order: those that choose a coreset come before those that are trained on it."""
        choosing = (Trial(0, condition, 0) for condition in self.config.candidates())
        compared = (
            Trial(network, condition, repeat)
            for network in range(len(self.architectures))
            for condition in self.config.conditions(network, self.distilled.own_labels)
            for repeat in range(self.config.repeats)
        )
        return (*choosing, *compared, *(trial for trials in self.curve.values() for trial in trials))

    def recipes(self, condition: TrainingCondition) -> list[Recipe]:
        """The recipe of each training in turn: one, but where stages are learned one after the other."""
        recipe, stages = self._recipe_under(condition), self.distilled.stages
        if stages is None or self.config.staging == "together" or condition.set == "full":
            return [recipe]
        if self.config.lr is not None:
            return [recipe] * len(stages)
        return [replace(recipe, lr=rate) for rate in stages.rates]

    def epochs(self, condition: TrainingCondition) -> int:
        """Passes that a network makes, of all its trainings together."""
        return sum(recipe.epochs for recipe in self.recipes(condition))

    def _recipe_under(self, condition: TrainingCondition) -> Recipe:
        """The recipe under a condition; on the full training set its whole schedule is shortened."""
        recipe = self.recipe
        if not condition.augmented:
            recipe = replace(recipe, strategy=(), cutmix=0.0)
        if condition.labels == "hard":
            recipe = replace(recipe, temperature=1.0)
        return recipe if condition.set != "full" else scheduled(recipe, self.config, self.full_epochs)

    @property
    def full_epochs(self) -> int:
        """E for networks on the full training set."""
        return self.config.epochs_on("full", self.full_images)

    def cost_in_words(self) -> str | None:
        """What to tell before networks are trained on the full training set; ``None`` where none is."""
        if all(trial.condition.set != "full" for trial in self.trials):
            return None
        return (
            f"networks on the full training set see all {self.full_images:,} images in each of "
            f"{self.config.passes(self.full_epochs)} epochs (`evaluation.full_images` bounds them)"
        )

    def validated(self, scores: Scores) -> dict[TrainingCondition, float]:
        """Accuracies of the coresets to choose from, on the validation images."""
        return {condition: scores[Trial(0, condition, 0)]["accuracy"] for condition in self.config.candidates()}

    def resolved(self, condition: TrainingCondition, scores: Scores) -> TrainingCondition:
        """The condition, with the coreset that was chosen in the place of the best one: of equals the first."""
        if condition.set != BEST_CORESET:
            return condition
        validated = self.validated(scores)
        return max(validated, key=lambda candidate: validated[candidate])
