"""Score a distilled set: train fresh networks on it from scratch, beside controls under the identical recipe.

The protocols are those of the literature: see :mod:`ddcore.spec.protocols`. Accuracy is that
after the last epoch on the whole test set, without augmentation there. Every network has seeds of its own, so an
interrupted evaluation goes on with the next network and ends with the same numbers. Networks whose training differs in
nothing but labels or augmentation share their seeds, and so their initial weights and random real images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from statistics import fmean, pstdev
from typing import Any

import torch
from torch import Tensor

from ddcore.augment.training import augmenter_of, strategy_of
from ddcore.data.dataset import to_uint8
from ddcore.errors import ConfigurationError
from ddcore.evaluation.controls import Controls, TrainingSet
from ddcore.formulas import dd_ranking
from ddcore.formulas.worth import worth
from ddcore.nets.functional import Functional, Params
from ddcore.runtime.callback import Callback
from ddcore.runtime.context import Run
from ddcore.runtime.randomness import stream_seed
from ddcore.spec import DISTILLED, Labels, NetworkConfig, RobustScore, TrainingCondition
from ddcore.spec.differences import differences
from ddcore.spec.evaluation import BEST_CORESET, CANDIDATES, EIGHT_BIT
from ddcore.spec.results import (
    ArchitectureScores,
    Results,
    RobustScores,
    Score,
    StagedTraining,
    SubsetScore,
    TrainingProtocol,
    WorthReport,
)
from ddcore.synthetic.stages import Stages
from ddcore.training.optimizers import Velocity
from ddcore.training.recipes import described, recipe_of, scheduled
from ddcore.training.stored_labels import StoredLabels, record
from ddcore.training.trainer import Recipe, Replay, accuracy, train

NetworkScore = dict[str, Any]
"""One finished network, as checkpoints keep it: ``network`` (index of its architecture), ``set``, ``labels``,
``augmented``, ``repeat``, ``accuracy`` (percent, in the last test) and ``best`` (in any test)."""

_SCORES: Mapping[RobustScore, Callable[..., dict[str, float]]] = {
    "label_robust": dd_ranking.label_robust,
    "augmentation_robust": dd_ranking.augmentation_robust,
}


@dataclass(frozen=True)
class _Trial:
    """One network to train: which architecture, under which condition, and which repetition."""

    network: int
    condition: TrainingCondition
    repeat: int

    @property
    def validates(self) -> bool:
        """Whether it is tested to choose a coreset, and not on the test images."""
        return self.condition.set in CANDIDATES

    def seed(self, seed: int) -> int:
        of = DISTILLED if self.condition.set == EIGHT_BIT else self.condition.set
        return stream_seed(seed, f"evaluation/{self.network}/{of}/{self.repeat}")

    def score(self, tests: Sequence[float]) -> NetworkScore:
        which = {"network": self.network, **self.condition._asdict(), "repeat": self.repeat}
        return {**which, "accuracy": tests[-1], "best": max(tests)}

    @classmethod
    def of(cls, score: NetworkScore) -> _Trial:
        return cls(
            score["network"], TrainingCondition(*(score[name] for name in TrainingCondition._fields)), score["repeat"]
        )


@dataclass(frozen=True, eq=False)
class _Distilled:
    """A distilled set: images, classes, and the probabilities that belong to it, if any do."""

    images: Tensor
    labels: Tensor
    soft_labels: Tensor | None
    stages: Stages | None
    epoch_labels: StoredLabels | None = None

    @property
    def own_labels(self) -> Labels | None:
        """Which labels networks are to learn, if the set decides."""
        return None if self.soft_labels is None else "soft"


@dataclass(frozen=True)
class _Progress:
    """Reports one network's epochs as part of the whole evaluation."""

    callback: Callback
    before: int
    total: int

    def __call__(self, epoch: int) -> None:
        self.callback.on_progress(self.before + epoch, self.total)


class Evaluation:
    """How the sets of one job are scored, as its ``evaluation`` says.

    Args:
        run: dataset, networks, arithmetic and seed of the job.

    Raises:
        ConfigurationError: an architecture does not fit the images.
    """

    def __init__(self, run: Run) -> None:
        self.config = run.spec.evaluation
        self.architectures: tuple[NetworkConfig, ...] = self.config.architectures(run.spec.network)
        self._run = run
        self.controls = Controls(run)
        self._functionals = [run.network(a) for a in self.architectures] if self.config.repeats else []

    def prepare(self, teacher: Params | None = None) -> None:
        """Train what gives labels and features, if anything asked for takes it.

        Args:
            teacher: as a bundle keeps it; none is trained then.

        Raises:
            DataError: it does not fit the dataset.
        """
        self.controls.prepare(teacher)

    def soft_labels(self, images: Tensor) -> Tensor | None:
        """The probabilities that networks are to learn with the images, if the job asks for any.

        Args:
            images: (N, C, H, W) float32 in normalised units.

        Returns:
            float32 (N, classes) of the teacher, or ``None`` where classes are learned.
        """
        return self.controls.soft_labels(images) if self.config.labels == "soft" else None

    def label_epochs(
        self, images: Tensor, labels: Tensor, check_stop: Callable[[], None] | None = None
    ) -> StoredLabels | None:
        """A teacher's labels of the batches of some epochs, if the job asks for such.

        Args:
            images: (N, C, H, W) float32 in normalised units, of the distilled set.
            labels: (N,) int64.
            check_stop: called after each batch; may raise.

        Raises:
            ConfigurationError: they would take too much room.
        """
        if self.config.labels != "stored":
            return None
        too_large = self.config.labels_too_large(len(images), len(self._run.dataset.classes))
        if too_large is not None:
            raise ConfigurationError(too_large)
        return self._recorded(TrainingSet(images, labels), self._usual_recipe(None), check_stop)

    def _recorded(
        self, training_set: TrainingSet, recipe: Recipe, check_stop: Callable[[], None] | None
    ) -> StoredLabels:
        """Labels of a set, by the same draws for every set."""
        run, labeller = self._run, self.controls.labeller
        if labeller is None:
            raise ValueError("no teacher labels batches here")
        return record(
            training_set.images.to(run.compute.device),
            training_set.labels,
            recipe,
            labeller,
            classes=len(run.dataset.classes),
            epochs=self.config.labelled_epochs,
            seed=stream_seed(run.spec.seed, "evaluation/labels"),
            normalize=training_set.normalize,
            check_stop=check_stop,
        )

    def _replay(
        self, trial: _Trial, recipe: Recipe, training_set: TrainingSet, distilled: _Distilled
    ) -> StoredLabels | None:
        """Stored labels of what a network is trained on: those of the set, or of a control that are made for it."""
        condition = trial.condition
        if condition.labels != "stored" or condition.set == "full":
            return None
        if condition.set in (DISTILLED, EIGHT_BIT) and condition.augmented and distilled.epoch_labels is not None:
            return distilled.epoch_labels
        return self._recorded(training_set, recipe, self._run.check_stop)

    def _labelled_anew(self, condition: TrainingCondition) -> bool:
        """Whether a teacher labels the batches of each network: of all real images nobody stores labels of epochs."""
        return condition.labels == "online" or (condition.labels == "stored" and condition.set == "full")

    def _usual_recipe(self, learning_rate: float | None) -> Recipe:
        """That of the evaluation, under no special condition."""
        config, run = self.config, self._run
        strategy = strategy_of(config, run.spec.augmentation, run.dataset.flip)
        return recipe_of(config, strategy, augmenter_of(config, run.dataset), learning_rate)

    def fresh(self, functional: Functional, generator: torch.Generator) -> Params:
        """Parameters that a network begins with: random ones, or those of the teacher with a random classifier.

        Args:
            functional: its architecture.
            generator: draws them.
        """
        return {**functional.new(generator), **self.controls.frozen}

    def score(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        soft_labels: Tensor | None = None,
        learning_rate: float | None = None,
        stages: Stages | None = None,
        epoch_labels: StoredLabels | None = None,
        done: Sequence[NetworkScore] = (),
        on_network: Callable[[NetworkScore], None] | None = None,
    ) -> Results:
        """Train and score ``repeats`` networks of each architecture on a set and on each control.

        Args:
            images: (N, C, H, W) float32 in normalised units.
            labels: (N,) int64.
            soft_labels: (N, classes) float32 probabilities that belong to the set, from :meth:`soft_labels` or learned;
                networks learn these, whatever labels the controls have.
            learning_rate: that the set learned.
            stages: in which the set was learned, if so.
            epoch_labels: of the set, from :meth:`label_epochs`, where labels of epochs are learned.
            done: scores of an earlier, interrupted call with the same arguments; they are not computed again.
            on_network: told each new score.

        Returns:
            Accuracies of the set and of its controls, and how networks were trained; ``architectures`` where there are
            several, and ``scores`` where they are asked for.

        Raises:
            ConfigurationError: the learning rate is to be the learned one, but there is none.
            DivergedError: a network's loss became NaN or infinite.
        """
        run = self._run
        distilled = _Distilled(images, labels, soft_labels, stages, epoch_labels)
        recipe = self._usual_recipe(learning_rate)
        plan = [
            (trial, self._recipes_by_stage(self._recipe(recipe, trial.condition), trial.condition, stages))
            for trial in self._trials(distilled)
        ]
        scores = {_Trial.of(score): score for score in done}
        before, total = 0, sum(recipe_of_stage.epochs for _, recipes in plan for recipe_of_stage in recipes)
        run.callback.on_phase("evaluating", total)
        self._announce_cost([trial.condition for trial, _ in plan])
        for trial, recipes in plan:
            if trial not in scores:
                generator = torch.Generator().manual_seed(trial.seed(run.spec.seed))
                training_set = self._training_set(self._resolved(trial.condition, scores), distilled, generator)
                replay = self._replay(trial, recipes[0], training_set, distilled)
                progress = _Progress(run.callback, before, total)
                tests = self._tests(trial, recipes, training_set, generator, progress, replay)
                scores[trial] = trial.score(tests)
                if on_network is not None:
                    on_network(scores[trial])
            before += sum(recipe_of_stage.epochs for recipe_of_stage in recipes)
        return self._results(recipe, scores, distilled)

    def _trials(self, distilled: _Distilled) -> list[_Trial]:
        choosing = [_Trial(0, condition, 0) for condition in self.config.candidates()]
        compared = [
            _Trial(network, condition, repeat)
            for network in range(len(self.architectures))
            for condition in self.config.conditions(network, distilled.own_labels)
            for repeat in range(self.config.repeats)
        ]
        return [*choosing, *compared, *(trial for trials in self._curve.values() for trial in trials)]

    @cached_property
    def _curve(self) -> dict[int, list[_Trial]]:
        """The networks on random subsets that the worth is read off, by images of each class."""
        networks = range(0 if self.config.worth is None else self.config.worth.networks)
        subsets = self.config.curve(self._run.spec.ipc, min(self._run.dataset.class_counts))
        return {size: [_Trial(0, condition, number) for number in networks] for size, condition in subsets.items()}

    def _worth(self, scores: Mapping[_Trial, NetworkScore], accuracy: Score) -> WorthReport:
        curve = [(size, [scores[trial]["accuracy"] for trial in trials]) for size, trials in self._curve.items()]
        found = worth(accuracy.values, curve)
        points = tuple(SubsetScore(images=size, accuracy=summarize(values)) for size, values in curve)
        return WorthReport.model_validate({**vars(found), "curve": points})

    def _validated(self, scores: Mapping[_Trial, NetworkScore]) -> dict[TrainingCondition, float]:
        """Accuracies of the coresets to choose from, on the validation images."""
        return {condition: scores[_Trial(0, condition, 0)]["accuracy"] for condition in self.config.candidates()}

    def _resolved(self, condition: TrainingCondition, scores: Mapping[_Trial, NetworkScore]) -> TrainingCondition:
        """The condition, with the coreset that was chosen in the place of the best one: of equals the first."""
        if condition.set != BEST_CORESET:
            return condition
        validated = self._validated(scores)
        return max(validated, key=lambda candidate: validated[candidate])

    @property
    def _full_epochs(self) -> int:
        return self.config.epochs_on("full", len(self._run.dataset.train))

    def _recipe(self, recipe: Recipe, condition: TrainingCondition) -> Recipe:
        """The recipe under a condition; on the full training set its whole schedule is shortened."""
        if not condition.augmented:
            recipe = replace(recipe, strategy=(), cutmix=0.0)
        if condition.labels == "hard":
            recipe = replace(recipe, temperature=1.0)
        return recipe if condition.set != "full" else scheduled(recipe, self.config, self._full_epochs)

    def _recipes_by_stage(self, recipe: Recipe, condition: TrainingCondition, stages: Stages | None) -> list[Recipe]:
        """The recipe of each training in turn: one, but where stages are learned one after the other."""
        if stages is None or self.config.staging == "together" or condition.set == "full":
            return [recipe]
        if self.config.lr is not None:
            return [recipe] * len(stages)
        return [replace(recipe, lr=rate) for rate in stages.rates]

    def _announce_cost(self, conditions: Sequence[TrainingCondition]) -> None:
        if any(condition.set == "full" for condition in conditions):
            self._run.callback.on_log(
                "info",
                f"networks on the full training set see all {len(self._run.dataset.train):,} images in each of "
                f"{self.config.passes(self._full_epochs)} epochs (`evaluation.full_images` bounds them)",
            )

    def _tests(
        self,
        trial: _Trial,
        recipes: Sequence[Recipe],
        training_set: TrainingSet,
        generator: torch.Generator,
        progress: Callable[[int], None],
        replay: Replay | None = None,
    ) -> list[float]:
        """Train a network, and test it ``tests`` times, evenly over its training; once to choose a coreset."""
        functional, normalize = self._functionals[trial.network], self._run.dataset.normalize
        test = self._run.dataset.test
        tested = self.controls.validation if trial.validates else (test.images, test.labels)
        params = self.fresh(functional, generator)
        count = 1 if trial.validates else self.config.tests
        epochs = sum(recipe_of_stage.epochs for recipe_of_stage in recipes)
        between = {epochs * number // count for number in range(1, count)}
        tests: list[float] = []

        def on_epoch(before: int, epoch: int) -> None:
            progress(before + epoch)
            if before + epoch in between:
                tests.append(accuracy(functional, params, *tested, normalize=normalize))

        before = 0
        velocity: Velocity | None = None
        for stage, recipe_of_stage in enumerate(recipes):
            learned = training_set if len(recipes) == 1 else training_set.up_to(stage)
            velocity = train(
                functional,
                params,
                learned.images,
                learned.labels,
                recipe_of_stage,
                generator,
                normalize=learned.normalize,
                on_epoch=partial(on_epoch, before),
                check_stop=self._run.check_stop,
                velocity=velocity if self.config.staging == "with_momentum" else None,
                labeller=self.controls.labeller if self._labelled_anew(trial.condition) else None,
                replay=replay,
            )
            before += recipe_of_stage.epochs
        return [*tests, accuracy(functional, params, *tested, normalize=normalize)]

    def _training_set(
        self, condition: TrainingCondition, distilled: _Distilled, generator: torch.Generator
    ) -> TrainingSet:
        """The set of a condition, divided into stages like the distilled one where that is."""
        stages = distilled.stages
        if condition.set not in (DISTILLED, EIGHT_BIT):
            return self.controls.make(condition, generator, stages)
        labels = distilled.labels
        if condition.labels == "soft":
            known = distilled.soft_labels
            labels = self.controls.soft_labels(distilled.images) if known is None else known
        images, dataset = distilled.images, self._run.dataset
        if condition.set == EIGHT_BIT:
            images = dataset.normalize(to_uint8(dataset.denormalize(images))).to(images.device)
        return TrainingSet(images, labels, stages=None if stages is None else stages.of_images)

    def _results(self, recipe: Recipe, scores: Mapping[_Trial, NetworkScore], distilled: _Distilled) -> Results:
        config = self.config
        own, *controls = config.compared(distilled.own_labels)
        entries = tuple(
            _compared(
                ArchitectureScores(
                    network=architecture.model_dump(mode="json"),
                    accuracy=self._score(scores, network, own),
                    controls={control.set: self._score(scores, network, control) for control in controls},
                )
            )
            for network, architecture in enumerate(self.architectures)
        )
        optional: dict[str, Any] = {}
        if self.controls.teacher_report is not None:
            optional["teacher"] = self.controls.teacher_report
        for rounded in config.rounded(distilled.own_labels):
            optional["eight_bit"] = self._score(scores, 0, rounded)
        if self._curve and entries[0].accuracy is not None:
            optional["worth"] = self._worth(scores, entries[0].accuracy)
        if len(entries) > 1:
            optional["architectures"] = entries
        if config.scores:
            optional["scores"] = {score: self._robust(score, scores, distilled) for score in config.scores}
        return Results(
            network=entries[0].network,
            accuracy=entries[0].accuracy,
            controls=entries[0].controls,
            differences=entries[0].differences,
            epochs=config.epochs,
            checkpoint="last",
            protocol=self._protocol(recipe, own.labels, distilled),
            **optional,
        )

    def _score(self, scores: Mapping[_Trial, NetworkScore], network: int, condition: TrainingCondition) -> Score | None:
        """Of all repetitions under a condition; nothing where there are none."""
        found = [scores[_Trial(network, condition, repeat)] for repeat in range(self.config.repeats)]
        if not found:
            return None
        optional: dict[str, Any] = {}
        if self.config.tests > 1:
            optional["best"] = summarize([score["best"] for score in found])
        if condition.set == BEST_CORESET:
            validated = {CANDIDATES[found.set]: value for found, value in self._validated(scores).items()}
            optional |= {"rule": CANDIDATES[self._resolved(condition, scores).set], "validation": validated}
        if condition.set == "full":
            optional |= {"epochs": self._full_epochs, "images": len(self._run.dataset.train)}
        return summarize([score["accuracy"] for score in found]).model_copy(update=optional)

    def _protocol(self, recipe: Recipe, labels: Labels, distilled: _Distilled) -> TrainingProtocol:
        config, protocol = self.config, described(self.config, recipe, labels)
        if distilled.stages is None or config.staging == "together":
            return protocol
        own = config.compared(distilled.own_labels)[0]
        rates = tuple(recipe_of_stage.lr for recipe_of_stage in self._recipes_by_stage(recipe, own, distilled.stages))
        stages = StagedTraining(sizes=distilled.stages.sizes, lr=rates, begin=config.staging)
        return protocol.model_copy(update={"stages": stages})

    def _robust(self, score: RobustScore, scores: Mapping[_Trial, NetworkScore], distilled: _Distilled) -> RobustScores:
        """A score of the mean accuracies, with everything that it is made of."""
        conditions = self.config.ingredients(score, distilled.own_labels)
        ingredients = {name: self._score(scores, 0, condition) for name, condition in conditions.items()}
        means = {name: found.mean for name, found in ingredients.items() if found is not None}
        return RobustScores.model_validate({**_SCORES[score](**means), "ingredients": ingredients})


def _compared(entry: ArchitectureScores) -> ArchitectureScores:
    """Scores with the differences between them."""
    return entry.model_copy(update={"differences": differences(entry)})


def summarize(values: Sequence[float]) -> Score:
    """Mean and population standard deviation (percent), as the literature reports them.

    >>> summarize([40.0, 44.0]).model_dump()
    {'mean': 42.0, 'std': 2.0, 'networks': 2, 'values': [40.0, 44.0]}
    """
    return Score(mean=fmean(values), std=pstdev(values), networks=len(values), values=tuple(values))
