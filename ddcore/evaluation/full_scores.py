"""Accuracies of networks on the whole training set, kept for the next set that is scored by the same recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import torch

from ddcore.pretrained.store import NetworkStore
from ddcore.runtime.context import Run
from ddcore.spec import NetworkConfig, TrainingCondition
from ddcore.training.trainer import Recipe

_TESTS = "tests"


class FullScores:
    """What does not depend on the distilled set: classes are learned, by whole networks.

    Args:
        run: dataset, arithmetic and cache; without a cache nothing is kept.
    """

    def __init__(self, run: Run) -> None:
        self._run = run

    def tests(
        self,
        condition: TrainingCondition,
        network: NetworkConfig,
        recipe: Recipe,
        seed: int,
        make: Callable[[], list[float]],
    ) -> list[float]:
        """Percent right in each test of a network: as they were found before, else as they are made now.

        Args:
            condition: what it is trained on.
            network: its architecture.
            recipe: how it is trained.
            seed: of its weights and batches.
            make: trains and tests it.
        """
        if condition.set != "full" or condition.labels != "hard" or recipe.trains != "network":
            return make()
        scoring = self._run.spec.evaluation
        described = {field.name: repr(getattr(recipe, field.name)) for field in fields(Recipe)}
        store = NetworkStore(
            "full_score",
            self._run,
            network=network.model_dump(mode="json"),
            recipe={**described, "augmenter": scoring.augmenter},
            tests=scoring.tests,
            seed=seed,
        )
        known = store.read(0)
        if known is not None and _TESTS in known:
            self._run.callback.on_log(
                "info", "a network on the full training set was scored before; its accuracy is taken"
            )
            return [float(test) for test in known[_TESTS].tolist()]
        tests = make()
        store.write(0, {_TESTS: torch.tensor(tests, dtype=torch.float64)})
        return tests
