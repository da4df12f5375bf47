"""Train one network of an evaluation, and test it: on which set, with whose labels, from which weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Generator

from ddcore.data.dataset import to_uint8
from ddcore.evaluation.controls import Controls, TrainingSet
from ddcore.evaluation.plan import DistilledSet, Trial
from ddcore.nets.functional import Functional, Params
from ddcore.runtime.context import Run
from ddcore.runtime.randomness import stream_seed
from ddcore.spec import DISTILLED, NetworkConfig, TrainingCondition
from ddcore.spec.evaluation import EIGHT_BIT
from ddcore.training.optimizers import Velocity
from ddcore.training.stored_labels import StoredLabels, record
from ddcore.training.trainer import OnEpoch, Recipe, accuracy, train


class NetworkScorer:
    """Trains the networks of an evaluation, one after the other, and tests them.

    Args:
        run: dataset, arithmetic and seed of the job.
        controls: makes the real sets, and labels them.
        architectures: of the networks.

    Raises:
        ConfigurationError: one does not fit the images.
    """

    def __init__(self, run: Run, controls: Controls, architectures: Sequence[NetworkConfig]) -> None:
        self._run, self._controls, self._config = run, controls, run.spec.evaluation
        self._functionals = [run.network(architecture) for architecture in architectures]

    def fresh(self, functional: Functional, generator: Generator) -> Params:
        """Parameters that a network begins with: random ones, or those of a frozen one with a random classifier.

        Args:
            functional: its architecture.
            generator: draws them.
        """
        return {**functional.new(generator), **self._controls.frozen}

    def tests(
        self,
        trial: Trial,
        condition: TrainingCondition,
        recipes: Sequence[Recipe],
        distilled: DistilledSet,
        on_epoch: OnEpoch,
    ) -> list[float]:
        """Train a network, and test it ``tests`` times, evenly over its training; once to choose a coreset.

        Args:
            trial: which network.
            condition: that of the trial, with the coreset that was chosen in the place of the best one.
            recipes: of each training in turn.
            distilled: the set that is scored.
            on_epoch: told the number of passes made.

        Returns:
            Percent right, in the order of the tests.

        Raises:
            DivergedError: the loss became NaN or infinite.
        """
        generator = torch.Generator().manual_seed(trial.seed(self._run.spec.seed))
        training_set = self._training_set(condition, distilled, generator)
        replay = self._replay(condition, recipes[0], training_set, distilled)
        functional, normalize = self._functionals[trial.network], self._run.dataset.normalize
        test = self._run.dataset.test
        tested = self._controls.validation if trial.validates else (test.images, test.labels)
        params = self.fresh(functional, generator)
        count = 1 if trial.validates else self._config.tests
        epochs = sum(recipe.epochs for recipe in recipes)
        between = {epochs * number // count for number in range(1, count)}
        found: list[float] = []

        def after_epoch(before: int, epoch: int) -> None:
            on_epoch(before + epoch)
            if before + epoch in between:
                found.append(accuracy(functional, params, *tested, normalize=normalize))

        before = 0
        velocity: Velocity | None = None
        for stage, recipe in enumerate(recipes):
            learned = training_set if len(recipes) == 1 else training_set.up_to(stage)
            velocity = train(
                functional,
                params,
                learned.images,
                learned.labels,
                recipe,
                generator,
                normalize=learned.normalize,
                on_epoch=partial(after_epoch, before),
                check_stop=self._run.check_stop,
                velocity=velocity if self._config.staging == "with_momentum" else None,
                labeller=self._controls.labeller if _labelled_anew(condition) else None,
                replay=replay,
            )
            before += recipe.epochs
        return [*found, accuracy(functional, params, *tested, normalize=normalize)]

    def record(
        self, training_set: TrainingSet, recipe: Recipe, check_stop: Callable[[], None] | None = None
    ) -> StoredLabels:
        """The teacher's labels of the batches of some epochs, by the same draws for every set.

        Args:
            training_set: that is labelled.
            recipe: how networks will be trained on it.
            check_stop: called after each batch; may raise.

        Raises:
            ConfigurationError: a logit is too large for half precision.
            ValueError: the evaluation has no teacher that labels batches.
        """
        run, labeller = self._run, self._controls.labeller
        if labeller is None:
            raise ValueError("no teacher labels batches here")
        return record(
            training_set.images.to(run.compute.device),
            training_set.labels,
            recipe,
            labeller,
            classes=len(run.dataset.classes),
            epochs=self._config.labelled_epochs,
            top=self._config.stored_top,
            seed=stream_seed(run.spec.seed, "evaluation/labels"),
            normalize=training_set.normalize,
            check_stop=check_stop,
        )

    def _training_set(self, condition: TrainingCondition, distilled: DistilledSet, generator: Generator) -> TrainingSet:
        """The set of a condition, divided into stages like the distilled one where that is."""
        stages = distilled.stages
        if condition.set not in (DISTILLED, EIGHT_BIT):
            return self._controls.make(condition, generator, stages)
        labels = distilled.labels
        if condition.labels == "soft":
            known = distilled.soft_labels
            labels = self._controls.soft_labels(distilled.images) if known is None else known
        images, dataset = distilled.images, self._run.dataset
        if condition.set == EIGHT_BIT:
            images = dataset.normalize(to_uint8(dataset.denormalize(images))).to(images.device)
        return TrainingSet(images, labels, stages=None if stages is None else stages.of_images)

    def _replay(
        self, condition: TrainingCondition, recipe: Recipe, training_set: TrainingSet, distilled: DistilledSet
    ) -> StoredLabels | None:
        """Stored labels of what a network is trained on: those of the set, or of a control that are made for it."""
        if condition.labels != "stored" or condition.set == "full":
            return None
        if condition.set in (DISTILLED, EIGHT_BIT) and condition.augmented and distilled.epoch_labels is not None:
            return distilled.epoch_labels
        return self.record(training_set, recipe, self._run.check_stop)


def _labelled_anew(condition: TrainingCondition) -> bool:
    """Whether a teacher labels the batches of each network: of all real images nobody stores labels of epochs."""
    return condition.labels == "online" or (condition.labels == "stored" and condition.set == "full")
