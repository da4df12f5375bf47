"""What networks are scored on beside a distilled set: real images, with the same kind of labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Generator, Tensor

from ddcore.data.dataset import Dataset
from ddcore.data.sampling import ClassSampler
from ddcore.evaluation.coresets import Coresets
from ddcore.formulas import selection
from ddcore.nets.functional import Params
from ddcore.pretrained.backbones import backbone_of
from ddcore.pretrained.frozen import Frozen
from ddcore.pretrained.teachers import Teacher
from ddcore.runtime.context import Run
from ddcore.runtime.randomness import stream_seed
from ddcore.spec import TeacherConfig, TrainingCondition
from ddcore.spec.evaluation import CANDIDATES, SUBSET
from ddcore.spec.results import BackboneReport, TeacherReport
from ddcore.synthetic.stages import Stages
from ddcore.training.trainer import Labeller


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Images that a network is trained on.

    Attributes:
        images: (N, C, H, W); float32 in normalised units, or uint8 with ``normalize``.
        labels: (N,) int64, or (N, classes) float32 probabilities.
        normalize: what makes normalised units of a batch of ``images``; ``None`` where they are.
        stages: (N,) int64 stage of each image, from 0; ``None`` where the set has none.
    """

    images: Tensor
    labels: Tensor
    normalize: Callable[[Tensor], Tensor] | None = None
    stages: Tensor | None = None

    def up_to(self, stage: int) -> TrainingSet:
        """The images of a stage and of those before it.

        Raises:
            ValueError: there are no stages.
        """
        if self.stages is None:
            raise ValueError("these images are not divided into stages")
        rows = (self.stages <= stage).nonzero().flatten()
        return TrainingSet(self.images[rows], self.labels[rows], self.normalize, self.stages[rows])


class Controls:
    """Makes the sets that a distilled one is compared with, and a teacher's labels for either.

    Args:
        run: dataset, images a class, and the evaluation that says which controls there are.

    Raises:
        ConfigurationError: the backbone that it names does not fit its weights or the images.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._config = run.spec.evaluation
        # Looked at now, so that one that does not fit is refused before anything is trained.
        self._backbone = None if self._config.backbone is None else backbone_of(self._config.backbone, run)

    @cached_property
    def _teacher(self) -> Teacher:
        return Teacher(self._config.teacher, self._run)

    @cached_property
    def _labelling(self) -> Sequence[Teacher]:
        """Whose logits of a batch are averaged."""
        return [self._teacher, *(Teacher(config, self._run) for config in self._config.other_teachers)]

    @property
    def _frozen(self) -> Frozen:
        """Whose features classifiers are put on, and by which rules choose: the teacher, or a backbone."""
        return self._teacher if self._backbone is None else self._backbone

    @cached_property
    def _coresets(self) -> Coresets:
        return Coresets(self._run, self._frozen)

    @cached_property
    def validation(self) -> tuple[Tensor, Tensor]:
        """Images (uint8) and labels of the training images on which a coreset is chosen."""
        train, rows = self._run.dataset.train, self._coresets.validation
        return train.images[rows], train.labels[rows]

    def coresets(self, validation: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalised images and labels that each rule keeps.

        Args:
            validation: int64 training rows that none may keep, in the place of the usual ones.
        """
        found = self._coresets if validation is None else Coresets(self._run, self._frozen, validation)
        yield from (_taken(self._run.dataset, rows) for rows in found.rows.values())

    def prepare(self, teacher: Params | None = None) -> None:
        """Train the teachers, or read the backbone, if anything asked for takes one.

        Args:
            teacher: that was trained before, as a bundle keeps it; none is trained then.

        Raises:
            DataError: that one does not fit.
            ConfigurationError: the weights of the backbone are no finite numbers, or have changed meanwhile.
        """
        generator = Generator().manual_seed(stream_seed(self._run.spec.seed, "evaluation/teacher"))
        if self._backbone is not None:
            self._backbone.prepare(generator)
        if not self._config.needs_teacher:
            return
        if teacher is not None:
            self._teacher.adopt(teacher)
            return
        # Not a stream of the run: an evaluation that is resumed must find the same teacher.
        for each in self._labelling:
            each.prepare(generator)
        if self._config.keeps_teacher:
            self._teacher.halve()

    @property
    def frozen(self) -> Params:
        """What no network that is scored learns: all but the classifier of the frozen one, where that alone learns."""
        if self._config.trains != "head":
            return {}
        return {name: value for name, value in self._frozen.params.items() if not name.startswith("classifier.")}

    @property
    def backbone_report(self) -> BackboneReport | None:
        """What the backbone is, where there is one; nobody can train on the set as it was scored without it."""
        return None if self._backbone is None else self._backbone.report

    @property
    def labeller(self) -> Labeller | None:
        """What gives the mean of the teachers' logits, where they are to label every batch."""
        return self._mean_logits if self._config.labels_batches else None

    def _mean_logits(self, images: Tensor) -> Tensor:
        return torch.stack([each.logits(images, self._config.teacher_mode) for each in self._labelling]).mean(0)

    @property
    def stored_teacher(self) -> Params | None:
        """Its tensors for a bundle, where nobody can train on the set without it."""
        return self._teacher.stored if self._config.keeps_teacher else None

    @cached_property
    def teacher_report(self) -> TeacherReport | None:
        """What it is and how good, likewise."""
        config = self._config
        if not config.keeps_teacher and not config.labels_batches:
            return None
        report, *others = map(self._report, config.labelling, self._labelling)
        return report.model_copy(update={"others": tuple(others)}) if others else report

    def _report(self, config: TeacherConfig, teacher: Teacher) -> TeacherReport:
        return TeacherReport(
            network=config.network.resolved(self._run.dataset.shape).model_dump(mode="json"),
            epochs=config.epochs,
            accuracy=teacher.accuracy(),
            dtype=str(teacher.dtype).removeprefix("torch."),
            mode=self._config.teacher_mode,
        )

    def soft_labels(self, images: Tensor) -> Tensor:
        """The teacher's probabilities, float32 (N, classes), of uint8 or of normalised images."""
        return self._teacher.probabilities(images, self._config.temperature)

    def make(self, condition: TrainingCondition, generator: Generator, stages: Stages | None = None) -> TrainingSet:
        """The set of a control.

        Args:
            condition: names the control, a coreset to choose from or a random subset, and the kind of labels.
            generator: on the CPU; draws the images of ``random``.
            stages: of the distilled set; sets of its size are divided alike.
        """
        dataset = self._run.dataset
        if condition.set == "full":
            images, labels, normalize = dataset.train.images, dataset.train.labels, dataset.normalize
            return TrainingSet(images, self._labels(condition, images, labels), normalize)
        if condition.set in CANDIDATES:
            images, labels = _taken(dataset, self._coresets.rows[CANDIDATES[condition.set]])
        elif condition.set == "herding":
            images, labels = _taken(dataset, self._herding_rows)
        elif condition.set.startswith(SUBSET):
            images, labels = random_subset(dataset, int(condition.set.removeprefix(SUBSET)), generator)
        else:
            images, labels = random_subset(dataset, self._run.spec.ipc, generator)
        of_images = None if stages is None else stages.of_real(labels)
        return TrainingSet(images, self._labels(condition, images, labels), stages=of_images)

    def _labels(self, condition: TrainingCondition, images: Tensor, labels: Tensor) -> Tensor:
        return self.soft_labels(images) if condition.labels == "soft" else labels

    @cached_property
    def _herding_rows(self) -> Tensor:
        """Chosen by :func:`ddcore.formulas.selection.herding`; a class with too few gives all it has."""
        ipc = self._run.spec.ipc
        return self._frozen.select(lambda features: selection.herding(features, min(ipc, len(features))))


def random_subset(dataset: Dataset, ipc: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Real training images, drawn uniformly without replacement.

    Args:
        dataset: its training images are drawn from.
        ipc: images of each class; a class with too few gives all it has.
        generator: CPU generator.

    Returns:
        Normalised float32 images and int64 labels, class-major.
    """
    sampler = ClassSampler(dataset.train.labels, len(dataset.classes))
    return _taken(dataset, torch.cat(sampler.draw_each(ipc, generator)))


def _taken(dataset: Dataset, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Normalised images and labels of training rows."""
    return dataset.normalize(dataset.train.images[rows]), dataset.train.labels[rows]
