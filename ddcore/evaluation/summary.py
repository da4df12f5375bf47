"""From the accuracies of networks to the results of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, pstdev
from typing import Any

from ddcore.evaluation.plan import Plan, Scores, Trial
from ddcore.formulas import dd_ranking
from ddcore.formulas.worth import worth
from ddcore.spec import Labels, RobustScore, TrainingCondition
from ddcore.spec.differences import differences
from ddcore.spec.evaluation import BEST_CORESET, CANDIDATES
from ddcore.spec.results import (
    ArchitectureScores,
    BackboneReport,
    Results,
    RobustScores,
    Score,
    StagedTraining,
    SubsetScore,
    TeacherReport,
    TrainingProtocol,
    WorthReport,
)
from ddcore.training.recipes import described

_SCORES: Mapping[RobustScore, Callable[..., dict[str, float]]] = {
    "label_robust": dd_ranking.label_robust,
    "augmentation_robust": dd_ranking.augmentation_robust,
}


class Summary:
    """What the networks of a plan come to.

    Args:
        plan: the networks.
        scores: of all of them.
        teacher: what it is and how good, where networks learned from one.
        backbone: what it is, where networks are classifiers on one.
    """

    def __init__(
        self, plan: Plan, scores: Scores, teacher: TeacherReport | None, backbone: BackboneReport | None
    ) -> None:
        self._plan, self._scores = plan, scores
        self._teacher, self._backbone = teacher, backbone
        self._config, self._own_labels = plan.config, plan.distilled.own_labels

    def results(self) -> Results:
        """Accuracies of the set and of its controls, and how networks were trained."""
        config = self._config
        own, *controls = config.compared(self._own_labels)
        entries = tuple(
            _compared(
                ArchitectureScores(
                    network=architecture.model_dump(mode="json"),
                    accuracy=self._score(network, own),
                    controls={control.set: self._score(network, control) for control in controls},
                )
            )
            for network, architecture in enumerate(self._plan.architectures)
        )
        optional: dict[str, Any] = {}
        if self._teacher is not None:
            optional["teacher"] = self._teacher
        if self._backbone is not None:
            optional["backbone"] = self._backbone
        for rounded in config.rounded(self._own_labels):
            optional["eight_bit"] = self._score(0, rounded)
        if self._plan.curve and entries[0].accuracy is not None:
            optional["worth"] = self._worth(entries[0].accuracy)
        if len(entries) > 1:
            optional["architectures"] = entries
        if config.scores:
            optional["scores"] = {score: self._robust(score) for score in config.scores}
        return Results(
            network=entries[0].network,
            accuracy=entries[0].accuracy,
            controls=entries[0].controls,
            differences=entries[0].differences,
            epochs=config.epochs,
            checkpoint="last",
            protocol=self._protocol(own.labels),
            **optional,
        )

    def _score(self, network: int, condition: TrainingCondition) -> Score | None:
        """Of all repetitions under a condition; nothing where there are none."""
        plan, scores = self._plan, self._scores
        found = [scores[Trial(network, condition, repeat)] for repeat in range(self._config.repeats)]
        if not found:
            return None
        optional: dict[str, Any] = {}
        if self._config.tests > 1:
            optional["best"] = summarize([score["best"] for score in found])
        if condition.set == BEST_CORESET:
            validated = {CANDIDATES[found.set]: value for found, value in plan.validated(scores).items()}
            optional |= {"rule": CANDIDATES[plan.resolved(condition, scores).set], "validation": validated}
        if condition.set == "full":
            optional |= {"epochs": plan.full_epochs, "images": plan.full_images}
        return summarize([score["accuracy"] for score in found]).model_copy(update=optional)

    def _worth(self, accuracy: Score) -> WorthReport:
        curve = [(size, [self._scores[trial]["accuracy"] for trial in of]) for size, of in self._plan.curve.items()]
        found = worth(accuracy.values, curve)
        points = tuple(SubsetScore(images=size, accuracy=summarize(values)) for size, values in curve)
        return WorthReport.model_validate({**vars(found), "curve": points})

    def _protocol(self, labels: Labels) -> TrainingProtocol:
        config, stages = self._config, self._plan.distilled.stages
        protocol = described(config, self._plan.recipe, labels)
        if stages is None or config.staging == "together":
            return protocol
        own = config.compared(self._own_labels)[0]
        rates = tuple(recipe.lr for recipe in self._plan.recipes(own))
        staged = StagedTraining(sizes=stages.sizes, lr=rates, begin=config.staging)
        return protocol.model_copy(update={"stages": staged})

    def _robust(self, score: RobustScore) -> RobustScores:
        """A score of the mean accuracies, with everything that it is made of."""
        conditions = self._config.ingredients(score, self._own_labels)
        ingredients = {name: self._score(0, condition) for name, condition in conditions.items()}
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
