"""Score a distilled set: train fresh networks on it from scratch, beside controls under the identical recipe.

The protocols are those of the literature: see :mod:`ddcore.spec.protocols`. Accuracy is that
after the last epoch on the whole test set, without augmentation there. Every network has seeds of its own, so an
interrupted evaluation goes on with the next network and ends with the same numbers. Networks whose training differs in
nothing but labels or augmentation share their seeds, and so their initial weights and random real images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from ddcore.errors import ConfigurationError
from ddcore.evaluation.controls import Controls, TrainingSet
from ddcore.evaluation.full_scores import FullScores
from ddcore.evaluation.network_scorer import NetworkScorer
from ddcore.evaluation.plan import DistilledSet, NetworkScore, Plan, Trial
from ddcore.evaluation.summary import Summary
from ddcore.nets.functional import Params
from ddcore.runtime.callback import Callback
from ddcore.runtime.context import Run
from ddcore.spec.results import Results
from ddcore.synthetic.stages import Stages
from ddcore.training.recipes import recipe_of_job
from ddcore.training.stored_labels import StoredLabels


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
        full: keeps accuracies on the full training set and gives those that it has, where they may be taken from others
            that were scored before. A job trains its own, and so its running time says what they cost.

    Attributes:
        config: the job's ``evaluation``.
        architectures: of the networks; results lead with the first.
        controls: makes the real sets, and labels them.
        network_scorer: trains networks and tests them.

    Raises:
        ConfigurationError: an architecture does not fit the images, or the backbone not its weights.
    """

    def __init__(self, run: Run, full: FullScores | None = None) -> None:
        self._run, self._full = run, full
        self.config = run.spec.evaluation
        self.controls = Controls(run)
        self.architectures = self.config.architectures(run.spec.network)
        self.network_scorer = NetworkScorer(run, self.controls, self.architectures if self.config.repeats else ())

    def prepare(self, teacher: Params | None = None) -> None:
        """Train or read what gives labels and features, if anything asked for takes it.

        Args:
            teacher: as a bundle keeps it; none is trained then.

        Raises:
            DataError: it does not fit the dataset.
            ConfigurationError: the weights of a backbone are no finite numbers, or have changed meanwhile.
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
            ConfigurationError: they would take too much room, or keeping the highest logits would save none.
        """
        if self.config.labels != "stored":
            return None
        unstorable = self.config.unstorable(len(images), len(self._run.dataset.classes))
        if unstorable is not None:
            raise ConfigurationError(unstorable.detail)
        return self.network_scorer.record(TrainingSet(images, labels), recipe_of_job(self._run), check_stop)

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
        callback = self._run.callback
        plan = Plan(self._run, DistilledSet(images, labels, soft_labels, learning_rate, stages, epoch_labels))
        scores = {Trial.of(score): score for score in done}
        before, total = 0, sum(plan.epochs(trial.condition) for trial in plan.trials)
        callback.on_phase("evaluating", total)
        cost = plan.cost_in_words()
        if cost is not None:
            callback.on_log("info", cost)
        for trial in plan.trials:
            if trial not in scores:
                condition, progress = plan.resolved(trial.condition, scores), _Progress(callback, before, total)
                make = partial(
                    self.network_scorer.tests, trial, condition, plan.recipes(trial.condition), plan.distilled, progress
                )
                scores[trial] = trial.score(make() if self._full is None else self._kept(self._full, plan, trial, make))
                if on_network is not None:
                    on_network(scores[trial])
            before += plan.epochs(trial.condition)
        return Summary(plan, scores, self.controls.teacher_report, self.controls.backbone_report).results()

    def _kept(self, full: FullScores, plan: Plan, trial: Trial, make: Callable[[], list[float]]) -> list[float]:
        """Tests of a network, taken from those that are kept if it is among them."""
        network, (recipe, *_) = self.architectures[trial.network], plan.recipes(trial.condition)
        return full.tests(trial.condition, network, recipe, trial.seed(self._run.spec.seed), make)
