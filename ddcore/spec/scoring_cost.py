"""What scoring a set costs: networks that are trained and tested, and the teacher that labels their images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ddcore.spec.evaluation import (
    DISTILLED,
    EIGHT_BIT,
    VALIDATION,
    EvaluationConfig,
    Labels,
    TrainingCondition,
)
from ddcore.spec.job import JobSpec
from ddcore.spec.memory import Batch
from ddcore.spec.work import DataSizes, Work


@dataclass(frozen=True)
class ScoringCost:
    """The work of scoring.

    Attributes:
        job: whose set is scored.
        data: sizes of what it learns from.
    """

    job: JobSpec
    data: DataSizes

    @property
    def config(self) -> EvaluationConfig:
        """How the set is scored."""
        return self.job.evaluation

    @cached_property
    def distilled(self) -> int:
        """Images of the finished set."""
        return self.job.finished_images(self.data)

    @property
    def stored(self) -> int:
        """Images of a control, which has the storage of the set."""
        return self.data.classes * self.job.ipc

    @cached_property
    def _curve(self) -> Mapping[int, TrainingCondition]:
        return self.config.curve(self.job.ipc, min(self.data.counts))

    @property
    def _of_curve(self) -> int:
        """Images of the random subsets of the curve, those of each network for itself."""
        networks = 0 if self.config.worth is None else self.config.worth.networks
        return networks * self.data.classes * sum(self._curve)

    @property
    def _architectures(self) -> range:
        return range(len(self.config.architectures(self.job.network)))

    def works(self) -> Iterator[Work]:
        """Images that teachers look at, and the training and testing of the networks, by architecture."""
        looked_at = self.labelled + self.labelled_in_batches + self.chosen_from
        if looked_at:
            yield Work("evaluating", self.config.frozen, looked_at)
        for teacher in self.config.other_teachers:
            yield Work("evaluating", teacher.network, self.labelled_in_batches)
        for index, network in enumerate(self.config.architectures(self.job.network)):
            yield Work("evaluating", network, self._trained_and_tested(index))

    def on_the_way(self, steps: Sequence[int]) -> Iterator[Work]:
        """Small networks on the images of some steps, and once on random real images and on those that rules keep."""
        config, data, during = self.config, self.data, self.config.during
        if during is None or not steps:
            return
        rules = 0 if during.at is not None else len(config.candidates())
        beside = 0 if during.at is not None else 1 + rules
        trained = len(steps) * self.distilled + beside * self.stored
        tested = (len(steps) + beside) * (data.test if during.on == "test" else data.validating(during.validation))
        network = config.architectures(self.job.network)[0]
        seen = config.passes(during.epochs) * trained
        yield Work("distilling", network, during.networks * (config.learning_passes * seen + tested))
        for teacher in config.labelling if config.labels_batches else ():
            yield Work("distilling", teacher.network, during.networks * seen)
        if rules and during.on == "validation":
            yield Work("distilling", config.frozen, data.train - data.validating(during.validation))

    def images_trained(self, network: int, *, labels: Labels | None = None) -> float:
        """Images that all networks of an architecture are trained on, every epoch counted; the first also chooses.

        Args:
            network: index of the architecture.
            labels: only those that are learned with such labels; ``None`` for all.
        """
        config, full = self.config, self.data.train
        times = sum(config.unions(self.job.method.shares(self.job.ipc)))
        sizes = {DISTILLED: times * self.distilled, EIGHT_BIT: times * self.distilled, "full": full}
        chooses = network == 0 and labels in (None, config.labels)
        choosing = len(config.candidates()) * config.passes(config.epochs) * times * self.stored if chooses else 0
        return choosing + config.repeats * sum(
            config.passes(config.epochs_on(condition.set, full)) * sizes.get(condition.set, times * self.stored)
            for condition in config.conditions(network)
            if labels in (None, condition.labels)
        )

    @property
    def chosen_from(self) -> int:
        """Real images that the teacher looks at, class by class, to choose some of them."""
        data, config = self.data, self.config
        others = data.train - data.validating(VALIDATION) if config.chooses else 0
        return config.herds * data.train + others

    @property
    def labelled(self) -> int:
        """Images that the teacher labels; the distilled ones before the first network is trained."""
        config, own = self.config, self.job.method.own_labels
        labelled = self.distilled if config.labels == "soft" and own is None else 0
        labelled += self.stored * sum(condition.labels == "soft" for condition in config.candidates())
        if config.labels == "soft":
            labelled += self._of_curve
        of_set = self.distilled if config.labels != "soft" and own is None else 0
        sizes = {DISTILLED: of_set, EIGHT_BIT: 0, "full": self.data.train}
        for index in self._architectures:
            soft = [condition for condition in config.conditions(index, own) if condition.labels == "soft"]
            labelled += config.repeats * sum(sizes.get(condition.set, self.stored) for condition in soft)
        return labelled

    @property
    def labelled_in_batches(self) -> float:
        """Images that the teacher labels while networks learn them, and the test images, which its accuracy is of."""
        if self.config.labels == "stored":
            return self._labelled_to_store() + self.data.test
        if self.config.labels != "online":
            return self.data.test if self.config.keeps_teacher else 0
        trained = sum(self.images_trained(index, labels="online") for index in self._architectures)
        return trained + self._trained_on_curve() + self.data.test

    def _labelled_to_store(self) -> float:
        """Those of the set once, of each network's control for itself; of the full set, whose labels nobody stores."""
        config, train = self.config, self.data.train
        total = self.distilled + len(config.candidates()) * self.stored + self._of_curve
        full = 0
        for index in self._architectures:
            for condition in (c for c in config.conditions(index) if c.labels == "stored"):
                if condition.set == "full":
                    full += config.repeats * train
                elif condition.set not in (DISTILLED, EIGHT_BIT):
                    total += config.repeats * self.stored
                elif not condition.augmented:
                    total += config.repeats * self.distilled
        return config.labelled_epochs * total + config.passes(config.epochs_on("full", train)) * full

    def _trained_on_curve(self) -> float:
        """Images that networks on random subsets are trained on, for the worth of the set."""
        return self.config.passes(self.config.epochs) * self._of_curve

    def _trained_and_tested(self, index: int) -> float:
        """Work of all networks of an architecture."""
        config, data, own = self.config, self.data, self.job.method.own_labels
        trained = self.images_trained(index)
        tests = config.repeats * len(config.conditions(index, own)) * config.tests * data.test
        if index == 0:
            trained += self._trained_on_curve()
            tests += config.networks_of_curve(self.job.ipc, min(data.counts)) * config.tests * data.test
            tests += len(config.candidates()) * data.validating(VALIDATION)
        return config.learning_passes * trained + tests

    def batches(self) -> Iterator[Batch]:
        """Of each architecture and teacher, a batch and the test images."""
        config, data = self.config, self.data
        sizes = dict.fromkeys((DISTILLED, EIGHT_BIT), self.distilled) | {"full": data.train}
        largest = max(sizes.get(condition.set, self.stored) for condition in config.conditions(0))
        largest = max(largest, data.classes * max(self._curve, default=0))
        frozen = config.trains == "head"
        for network in config.architectures(self.job.network) if config.repeats else ():
            yield Batch(network, min(config.batch_size, largest), 0 if frozen else 1, whole=not frozen)
            yield Batch(network, data.scored(max(data.test, config.chooses * data.validating(VALIDATION))))
        together = config.teacher_mode == "train"
        for teacher in config.labelling if config.labels_batches else ():
            yield Batch(teacher.network, min(config.batch_size, largest), whole=together)
            yield Batch(teacher.network, data.scored(data.test))
