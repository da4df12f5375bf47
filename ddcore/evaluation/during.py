"""Accuracy of the images while they are learned, and what follows from it: a curve, an early end, the best step.

Nothing here touches what the images depend on: networks, shuffling, augmentation and the choice of validation images
draw from streams that are seeded by the step, so a run that was interrupted goes on with the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean, stdev

import torch
from torch import Generator, Tensor

from ddcore.data.dataset import ImageSet
from ddcore.evaluation.controls import random_subset
from ddcore.evaluation.coresets import validation_rows
from ddcore.evaluation.evaluation import Evaluation
from ddcore.nets.functional import Functional
from ddcore.runtime.context import Run
from ddcore.runtime.randomness import stream_seed
from ddcore.spec import DuringConfig
from ddcore.spec.readings import ACCURACY_CORESET, ACCURACY_DURING, ACCURACY_RANDOM, deviation_of
from ddcore.synthetic.set import SyntheticSet
from ddcore.training.recipes import recipe_of_job, scheduled
from ddcore.training.trainer import Recipe, accuracy, train

_BEST = "best/"
_STEPS, _VALUES = "steps", "accuracies"


@dataclass(frozen=True)
class Look:
    """A scoring on the way.

    Attributes:
        step: steps taken by then.
        accuracy: mean over the networks, in percent.
    """

    step: int
    accuracy: float


class During:
    """The scorings of one run.

    Args:
        run: dataset, networks, arithmetic and seed of the job.
        config: as the job asks for them.
        steps: after which to score.
        evaluation: how the images are scored in the end; it gives a teacher's labels where the job asks for them.
        held: images that were held out of the training images, where some were.
    """

    def __init__(
        self,
        run: Run,
        config: DuringConfig,
        steps: tuple[int, ...],
        evaluation: Evaluation,
        held: ImageSet | None = None,
    ) -> None:
        self._run, self._config, self._steps, self._evaluation = run, config, frozenset(steps), evaluation
        self._held = held
        self.looks: list[Look] = []
        self._best_state: dict[str, Tensor] = {}

    def due(self, step: int, *, over: bool = False) -> bool:
        """Whether the images of a step are to be scored, as those of the last are, and have not been."""
        return (over or step in self._steps) and all(look.step != step for look in self.looks)

    def look(self, step: int, synthetic: SyntheticSet) -> dict[str, float]:
        """Score the images as they are: of stages, those that have been learned or are being.

        Args:
            step: steps taken.
            synthetic: the set.

        Returns:
            Readings by name: the accuracy, and its deviation over several networks; with the first, those of random
            real images and of the best coreset where it is a control, unless the job lists the steps itself.
        """
        images, labels = synthetic.union(synthetic.live.stop)
        dataset, recipe = self._run.dataset, self._recipe(synthetic.learning_rate)
        images = dataset.normalize(dataset.denormalize(images))
        accuracies = self._accuracies(f"during/{step}", images, labels, synthetic.soft_labels, recipe)
        found, name = fmean(accuracies), ACCURACY_DURING[self._config.on]
        readings = {name: found}
        if len(accuracies) > 1:
            readings[deviation_of(name)] = stdev(accuracies)
        if not self.looks and self._config.at is None:
            readings |= self._of_real_images(recipe)
        best = self.best
        self.looks.append(Look(step, found))
        if self._config.checkpoint == "best" and (best is None or found > best.accuracy):
            self._best_state = {name: value.detach().clone() for name, value in synthetic.state().items()}
        return readings

    @property
    def best(self) -> Look | None:
        """The best scoring so far, the earliest of equals."""
        return max(self.looks, key=lambda look: (look.accuracy, -look.step), default=None)

    @property
    def plateau(self) -> bool:
        """Whether the job asks for an end where nothing is gained any more, and this is it."""
        best = self.best
        if self._config.stop is None or best is None:
            return False
        return sum(look.step > best.step for look in self.looks) >= self._config.patience

    def restore_best(self, synthetic: SyntheticSet) -> int | None:
        """Put the images of the best scoring in place, where the job wants those; the step they are of."""
        best = self.best
        if self._config.checkpoint != "best" or best is None:
            return None
        synthetic.load_state(self._best_state)
        return best.step

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps: every scoring, and the images of the best one."""
        steps = torch.tensor([look.step for look in self.looks], dtype=torch.int64)
        values = torch.tensor([look.accuracy for look in self.looks], dtype=torch.float64)
        return {_STEPS: steps, _VALUES: values, **{_BEST + name: value for name, value in self._best_state.items()}}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a checkpoint; one that was made without scorings begins them now."""
        if _STEPS not in state:
            return
        pairs = zip(state[_STEPS].tolist(), state[_VALUES].tolist(), strict=True)
        self.looks = [Look(step, value) for step, value in pairs]
        self._best_state = {name.removeprefix(_BEST): value for name, value in state.items() if name.startswith(_BEST)}

    def _of_real_images(self, recipe: Recipe) -> dict[str, float]:
        """Readings of as many real images: drawn at random, and kept by the best rule where that is a control."""
        random = random_subset(self._run.dataset, self._run.spec.ipc, self._generator("during/random/images"))
        readings = {ACCURACY_RANDOM: fmean(self._accuracies("during/random", *random, None, recipe))}
        if self._evaluation.config.chooses:
            kept = self._evaluation.controls.coresets(self._validation if self._config.on == "validation" else None)
            found = [self._accuracies(f"during/coreset/{rule}", *real, None, recipe) for rule, real in enumerate(kept)]
            readings[ACCURACY_CORESET] = max(map(fmean, found))
        return readings

    def _recipe(self, learning_rate: float | None) -> Recipe:
        return scheduled(recipe_of_job(self._run, learning_rate), self._run.spec.evaluation, self._config.epochs)

    def _accuracies(
        self, stream: str, images: Tensor, labels: Tensor, learned_labels: Tensor | None, recipe: Recipe
    ) -> list[float]:
        """Accuracy of each network on a set; it is learned with its own probabilities, if it has any."""
        soft = self._evaluation.soft_labels(images) if learned_labels is None else learned_labels
        if soft is None and self._evaluation.controls.labeller is None:
            recipe = replace(recipe, temperature=1.0)
        return list(self._trained(stream, images, labels if soft is None else soft, recipe))

    def _trained(self, stream: str, images: Tensor, labels: Tensor, recipe: Recipe) -> Iterator[float]:
        tested, expected = self._tested
        for number in range(self._config.networks):
            generator = self._generator(f"{stream}/{number}")
            params = self._evaluation.network_scorer.fresh(self._functional, generator)
            train(
                self._functional,
                params,
                images,
                labels,
                recipe,
                generator,
                check_stop=self._run.check_stop,
                labeller=self._evaluation.controls.labeller,
            )
            yield accuracy(self._functional, params, tested, expected, normalize=self._run.dataset.normalize)

    @cached_property
    def _functional(self) -> Functional:
        spec = self._run.spec
        return self._run.network(spec.evaluation.architectures(spec.network)[0])

    @cached_property
    def _tested(self) -> tuple[Tensor, Tensor]:
        """Images (uint8) and labels that networks are tested on."""
        dataset = self._run.dataset
        if self._config.on == "test":
            return dataset.test.images, dataset.test.labels
        if self._held is not None:
            return self._held.images, self._held.labels
        rows = self._validation
        return dataset.train.images[rows], dataset.train.labels[rows]

    @cached_property
    def _validation(self) -> Tensor:
        """Training rows that networks are tested on, unless that is on other images."""
        if self._held is not None:
            return torch.empty(0, dtype=torch.int64)
        return validation_rows(self._run.dataset, self._config.validation, self._generator("during/validation"))

    def _generator(self, stream: str) -> Generator:
        return Generator().manual_seed(stream_seed(self._run.spec.seed, stream))
