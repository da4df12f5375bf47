"""How a distilled set is scored: fresh networks trained on it from scratch, beside controls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import Field, ValidationInfo, field_validator, model_validator

from ddcore.spec.audit import SHARE_OF_JOB
from ddcore.spec.augmentation import AUGMENTATIONS, AUGMENTERS, AUTO, check_augmentation
from ddcore.spec.base import AnyNetwork, NetworkConfig
from ddcore.spec.catalog import SpecModel
from ddcore.spec.during import DuringConfig
from ddcore.spec.errors import Problem, did_you_mean
from ddcore.spec.memory import Batch
from ddcore.spec.networks import (
    AlexNetConfig,
    ConvNetConfig,
    LeNetConfig,
    MLPConfig,
    ResNet18Config,
    VGG11Config,
)
from ddcore.spec.protocols import ADAM, ADAMW, ONLINE, PROTOCOLS, Schedule
from ddcore.spec.teachers import TeacherConfig
from ddcore.spec.work import TRAINING, DataSizes
from ddcore.spec.worth import WorthConfig

if TYPE_CHECKING:
    from ddcore.spec.job import JobSpec

Labels = Literal["hard", "soft", "online", "stored"]
LabelLoss = Literal["kl", "mse_logits"]
"""What networks minimise where a teacher labels every batch."""
Trains = Literal["network", "head"]
"""What is trained on a set: whole networks, or linear classifiers on the features of one that is frozen."""
TeacherMode = Literal["eval", "train"]
"""Whether batch normalisation of a teacher takes its running statistics, or those of the batch that it labels."""
Control = Literal["random", "herding", "best_coreset", "full"]
Rule = Literal["herding", "k_means", "k_center"]
RobustScore = Literal["label_robust", "augmentation_robust"]

BEST_CORESET: Control = "best_coreset"
"""The control that chooses among :data:`RULES`."""
RULES: tuple[Rule, ...] = ("herding", "k_means", "k_center")
"""Rules that keep real images; the method of the same name does nothing else."""
VALIDATION = 0.1
"""Share of the training images of each class that a rule is chosen on, and that no rule keeps."""

EIGHT_BIT = "eight_bit"
"""The distilled set as exported PNGs hold it."""
SUBSET = "random/"
"""Name of a random subset of the curve, before its images of each class."""

DISTILLED = "distilled"
"""What a network is trained on when it is not a control."""

LABEL_BYTES = 2
"""Of a stored logit."""
MOST_LABEL_BYTES = 2 * 1024**3
"""That stored labels of epochs may take: they are in memory as a whole."""

NETWORK_POOLS: Mapping[str, tuple[NetworkConfig, ...]] = {
    "M": (MLPConfig(), ConvNetConfig(), LeNetConfig(), AlexNetConfig(), VGG11Config(), ResNet18Config()),
    "B": (
        ConvNetConfig(norm="batch"),
        ConvNetConfig(norm="batch", activation="swish"),
        AlexNetConfig(norm="batch"),
        VGG11Config(norm="batch"),
        ResNet18Config(norm="batch"),
    ),
}
"""Architectures that the literature scores across, without and with batch normalisation.

The modes M and B of ``get_eval_pool`` in utils.py of github.com/VICO-UoE/DatasetCondensation.
"""


class TrainingCondition(NamedTuple):
    """What networks are trained on, and how: those of one condition differ in their seeds only.

    Attributes:
        set: ``distilled`` or the name of a control.
        labels: the classes, or what a teacher says of every image or of every batch.
        augmented: as the recipe says, or not at all.
    """

    set: str
    labels: Labels
    augmented: bool = True


CANDIDATES: Mapping[str, Rule] = {f"candidate/{rule}": rule for rule in RULES}
"""The rules by the names of the sets that they keep for :data:`BEST_CORESET` to choose from."""


class EvaluationConfig(SpecModel):
    """How the distilled set is scored: fresh networks trained on it from scratch.

    Every default but that of ``protocol`` is the one of the protocol.
    """

    protocol: str = Field(
        "standard",
        json_schema_extra={"enum": list(PROTOCOLS)},
        description="Whose way of scoring: it decides every field below that is not given. "
        + "; ".join(f"`{name}`: {protocol.title}" for name, protocol in PROTOCOLS.items())
        + ". Published repetitions of the distillation itself are left to the job's seed.",
    )
    networks: tuple[AnyNetwork, ...] = Field(
        default=(),
        description="Architectures to train, or the pools 'M' (mlp, convnet, lenet, alexnet, vgg11, resnet18) and 'B' "
        "(convnet, the same with swish, alexnet, vgg11, resnet18; all with batch normalisation). "
        "Default: the network of the job.",
    )
    trains: Trains = Field(
        "network",
        description="`network`: networks from scratch. `head`: a linear classifier alone, on the features of "
        "`teacher`, which stays as it is (linear probing); it is the only architecture then, and the bundle holds it.",
    )
    repeats: int = Field(3, ge=0, le=100, description="Networks of each architecture; 0 skips scoring.")
    epochs: int = Field(300, ge=1, le=100_000, description="E, see `schedule`.")
    schedule: Schedule = Field(
        "drop_once",
        description="`drop_once`: E + 1 epochs; after that with the index E // 2 + 1, counted from 0, a tenth of the "
        "learning rate and a fresh optimiser (DC and its heirs). `drop_once_kept`: likewise, but the momentum is kept "
        "(PDD). `drop_twice`: E epochs; a fifth of the learning rate "
        "after 2 E // 3 and again after 5 E // 6 (IDC). `half_cosine`: E epochs; after e of them the learning rate "
        "times (1 + cos(pi e / 2 E)) / 2, which ends at half of it (RDED). `cosine`: likewise with pi e / E, which "
        "ends at 0. `halve_four_times`: E epochs; half of the rate after each fifth of them but the last (NCFM). "
        "`constant`: E epochs.",
    )
    optimizer: Literal["sgd", "adam", "adamw"] = Field(
        "sgd",
        description="With `adam`, `lr` defaults to 0.003, `weight_decay` to 0 and `schedule` to `constant`; with "
        "`adamw`, whose weight decay is no part of the gradient, to 0.001, 0.01 and `constant`. Default: `sgd`, but "
        "`adamw` for `labels` 'online' and 'stored', whose slopes at a high temperature are too flat for SGD at its "
        "usual rate.",
    )
    lr: float | None = Field(
        0.01, gt=0, description="Learning rate; null for the one that the set learned, as `mtt` scores."
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum (SGD).")
    weight_decay: float = Field(5e-4, ge=0, description="Weight decay.")
    batch_size: int = Field(256, ge=1, description="Images a training step.")
    augmenter: Literal["siamese", "stacked", "per_image", "resized_crop", "eight_bit"] = Field(
        "siamese",
        description="How operations are applied. `siamese`: one for a whole batch, with parameters for every image. "
        "`stacked`: flip and color, one of the others, and cutout (IDC). `per_image`: one for each image, of crop, "
        "scale, rotate, noise (DC). `resized_crop`: of each image a part of 8 % of its area or more, enlarged, and "
        "mirrored half of the time where classes survive it. `eight_bit`: one after the other with one draw for a "
        "whole batch of 8-bit images, of autoaugment, randaugment, crop, flip, jitter, cutout (DC-bench).",
    )
    augmentation: str | None = Field(
        None,
        description="Operations on the training images, joined by `_`, or `none`; `auto` as for a job. "
        "Default: those of the job.",
    )
    cutmix: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Probability that a batch is mixed by CutMix (beta 1). It then takes the place of `cutout`, unless "
        "`augmentation` lists that.",
    )
    staging: Literal["together", "at_rest", "with_momentum"] = Field(
        "together",
        description="How networks are trained on a set that was learned in stages (`seqmatch`, `pdd`): on all of it "
        "`together`, or on the first stage, on the first two and so on, each for all `epochs` with the whole schedule, "
        "and at its own learning rate where `lr` is null; every stage `at_rest` (SeqMatch) or with the momentum of the "
        "last (PDD). Controls are divided likewise, but for `full`.",
    )
    tests: int = Field(
        1,
        ge=1,
        le=100,
        description="Times that a network is tested, evenly over its training. The last counts; the best, which looks "
        "at the test images, is reported beside it (IDC publishes it).",
    )
    labels: Labels = Field(
        "hard",
        description="`hard`: the class of every image, or what the method learned in its place. `soft`: the "
        "probabilities that `teacher` gives every image, also those of controls; the bundle holds them. `online`: what "
        "`teacher` says of every batch after it was augmented and mixed, also of controls (RDED, CIM); the bundle "
        "holds the teacher. `stored`: the same of the batches of `stored_epochs` epochs, which every network learns, "
        "in half precision; the bundle holds these labels and no teacher (SRe2L, FADRM).",
    )
    stored_epochs: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="With `labels` 'stored', epochs whose labels are stored; trainings of more epochs begin with the "
        "first again. Default: all. They take 2 bytes for each class of each image of each epoch, at most 2 GiB.",
    )
    temperature: float = Field(
        1.0,
        gt=0,
        description="Temperature of the labels of a teacher, and of the networks that learn from them (RDED, SRe2L: "
        "20, with AdamW). Default: 1, but 20 for `labels` 'online' and 'stored'. `label_loss` 'mse_logits' takes none.",
    )
    label_loss: LabelLoss = Field(
        "kl",
        description="With `labels` 'online' or 'stored', what networks minimise. `kl`: divergence of their softened "
        "outputs from those of the teacher, mean over images, without the factor of the squared temperature (RDED). "
        "`mse_logits`: mean squared difference of the logits (CIM).",
    )
    teacher_mode: TeacherMode = Field(
        "eval",
        description="With `labels` 'online' or 'stored', what batch normalisation of the teacher takes: its running "
        "statistics (`eval`), or those of the batch that it labels (`train`, SRe2L++).",
    )
    teacher: TeacherConfig = Field(
        default_factory=TeacherConfig,
        description="Network trained on the real images that gives labels, and the features of `herding` and "
        "`best_coreset`. The seed decides on one of the pool; only that is trained, and only where it is needed.",
    )
    controls: tuple[Control, ...] = Field(
        ("random",),
        description="Real images trained on under the identical recipe: `ipc` of each class, drawn at `random` for "
        "every network or chosen by `herding`; `best_coreset`, the best of herding, k-means and k-center by the "
        "accuracy of one network each on a tenth of the training images, which they may not keep; or the `full` "
        "training set.",
    )
    full_images: int = Field(
        1_000_000,
        ge=1,
        description="Images that a network on the `full` training set may see: it is trained for `full_images` over "
        "the size of the set epochs (rounded down, but at least 1), if that is less than `epochs`.",
    )
    scores: tuple[RobustScore, ...] = Field(
        (),
        description="Scores of DD-Ranking, with the first architecture: `label_robust` (trains on the set and random "
        "images with soft labels, and on the set and the full training set with hard ones) and `augmentation_robust` "
        "(trains on the set and random images with augmentation and without).",
    )

    eight_bit: bool = Field(
        False,
        description="Whether as many networks are trained on the distilled images rounded to 8 bits too, as exported "
        "PNGs hold them, with the seeds of those on the images as they were made.",
    )
    worth: WorthConfig | None = Field(
        None,
        description="How many random real images of each class give the same accuracy, with the first architecture; "
        "null for none. `{}` takes the defaults, 10 networks on up to 8 times `ipc` images.",
    )
    during: DuringConfig | None = Field(
        None, description="Accuracy while the images are learned; null for none. `{}` takes the defaults."
    )
    audit: bool | None = Field(
        None,
        description="Whether the finished images are compared with all real training images: the nearest ones, near "
        "copies, a map and the similarity of the classes. It never changes the images. Null: where it takes seconds, "
        f"or at most {SHARE_OF_JOB:.0%} of the operations of the rest of the job.",
    )

    @property
    def needs_teacher(self) -> bool:
        """Whether anything asked for takes a network trained on the real images."""
        rules = self._scores("herding") or self.chooses
        return self.keeps_teacher or self.labels != "hard" or "label_robust" in self.scores or rules

    @property
    def keeps_teacher(self) -> bool:
        """Whether nobody can train on the set without that network, so that the bundle holds it."""
        return self.labels == "online" or self.trains == "head"

    @property
    def labels_batches(self) -> bool:
        """Whether a teacher labels batches after they were augmented, rather than images."""
        return self.labels in ("online", "stored")

    @property
    def labelled_epochs(self) -> int:
        """Epochs whose labels are stored, where they are."""
        passes = self.passes(self.epochs)
        return min(self.stored_epochs or passes, passes)

    @property
    def learning_passes(self) -> int:
        """Work of an image that is trained on: a frozen network is gone through forward only."""
        return 1 if self.trains == "head" else TRAINING

    def architectures(self, network: NetworkConfig) -> tuple[NetworkConfig, ...]:
        """Architectures to train.

        Args:
            network: that of the job.
        """
        return (self.teacher.network,) if self.trains == "head" else self.networks or (network,)

    @property
    def chooses(self) -> bool:
        """Whether a coreset is to be chosen among :data:`RULES`."""
        return self._scores(BEST_CORESET)

    def left_of(self, data: DataSizes) -> DataSizes:
        """Sizes of what the job learns from: of the dataset, without the images that are held out of it."""
        during = self.during
        return data.holding_out(during.validation) if during is not None and during.held_out else data

    def _scores(self, control: Control) -> bool:
        return self.repeats > 0 and control in self.controls

    def curve(self, ipc: int, smallest: int) -> Mapping[int, TrainingCondition]:
        """Random subsets that the worth is read off, by images of each class; none where it is not asked for.

        Args:
            ipc: stored images of each class of the distilled set.
            smallest: training images of the smallest class.
        """
        if self.worth is None or self.repeats == 0:
            return {}
        sizes = self.worth.images_per_class(ipc, smallest)
        return {size: TrainingCondition(f"{SUBSET}{size}", self.labels) for size in sizes}

    def networks_of_curve(self, ipc: int, smallest: int) -> int:
        """Networks that are trained for the curve."""
        return 0 if self.worth is None else self.worth.networks * len(self.curve(ipc, smallest))

    def candidates(self) -> tuple[TrainingCondition, ...]:
        """What one network each of the first architecture is trained on to choose a coreset."""
        return tuple(TrainingCondition(name, self.labels) for name in CANDIDATES) if self.chooses else ()

    def epochs_on(self, name: str, full: int) -> int:
        """E for networks on a set of this name, where the full training set has ``full`` images.

        >>> config = EvaluationConfig(epochs=1000)
        >>> [config.epochs_on("full", images) for images in (100, 50_000, 2_000_000)], config.epochs_on("random", 1)
        ([1000, 20, 1], 1000)
        """
        return self.epochs if name != "full" else max(1, min(self.epochs, self.full_images // full))

    def passes(self, epochs: int) -> int:
        """Epochs that a network is really trained for, for an E of ``epochs``."""
        return epochs + 1 if self.schedule in ("drop_once", "drop_once_kept") else epochs

    def compared(self, distilled: Labels | None = None) -> tuple[TrainingCondition, ...]:
        """The distilled set and its controls.

        Args:
            distilled: labels of the set, where they are not those asked for: a method may have learned its own.
        """
        return (
            TrainingCondition(DISTILLED, distilled or self.labels),
            *(TrainingCondition(name, self.labels) for name in self.controls),
        )

    def rounded(self, distilled: Labels | None = None) -> tuple[TrainingCondition, ...]:
        """The distilled set in 8 bits, where it is to be scored; see :meth:`compared`."""
        return (TrainingCondition(EIGHT_BIT, distilled or self.labels),) if self.eight_bit else ()

    def ingredients(self, score: RobustScore, distilled: Labels | None = None) -> Mapping[str, TrainingCondition]:
        """What a score is made of, by the names of the terms in DD-Ranking's formulas; see :meth:`compared`."""
        if score == "label_robust":
            return {
                "full_hard": TrainingCondition("full", "hard"),
                "distilled_hard": TrainingCondition(DISTILLED, "hard"),
                "distilled_soft": TrainingCondition(DISTILLED, "soft"),
                "random_soft": TrainingCondition("random", "soft"),
            }
        return {
            f"{name}_{word}": TrainingCondition(name, labels, augmented)
            for name, labels in ((DISTILLED, distilled or self.labels), ("random", self.labels))
            for word, augmented in (("augmented", True), ("plain", False))
        }

    def conditions(self, network: int, distilled: Labels | None = None) -> tuple[TrainingCondition, ...]:
        """Everything that networks of an architecture are trained on, each once, in order.

        Args:
            network: index of the architecture; scores are made with the first.
            distilled: see :meth:`compared`.

        >>> config = EvaluationConfig(controls=("random",), scores=("augmentation_robust",))
        >>> [(c.set, c.augmented) for c in config.conditions(0)]
        [('distilled', True), ('random', True), ('distilled', False), ('random', False)]
        """
        scores = self.scores if network == 0 else ()
        beside = (condition for score in scores for condition in self.ingredients(score, distilled).values())
        return tuple(dict.fromkeys((*self.compared(distilled), *self.rounded(distilled), *beside)))

    def unions(self, shares: Sequence[int]) -> tuple[float, ...]:
        """Parts of a set that each stage of training takes, 0 to 1, in turn.

        Args:
            shares: sizes of the stages that it was learned in.

        >>> EvaluationConfig(protocol="pdd").unions((1, 1)), EvaluationConfig().unions((1, 1))
        ((0.5, 1.0), (1.0,))
        """
        return (1.0,) if self.staging == "together" else tuple(end / sum(shares) for end in accumulate(shares))

    def images_trained(
        self,
        network: int,
        distilled: int,
        real: int,
        full: int,
        shares: Sequence[int] = (1,),
        *,
        labels: Labels | None = None,
    ) -> float:
        """Images that all networks of an architecture are trained on, every epoch counted; the first also chooses.

        Args:
            network: index of the architecture.
            distilled: images of the distilled set.
            real: images of a control of the same storage.
            full: images of the full training set.
            shares: sizes of the stages that the set was learned in.
            labels: only those that are learned with such labels; ``None`` for all.
        """
        times = sum(self.unions(shares))
        sizes = {DISTILLED: times * distilled, EIGHT_BIT: times * distilled, "full": full}
        chooses = network == 0 and labels in (None, self.labels)
        choosing = len(self.candidates()) * self.passes(self.epochs) * times * real if chooses else 0
        return choosing + self.repeats * sum(
            self.passes(self.epochs_on(condition.set, full)) * sizes.get(condition.set, times * real)
            for condition in self.conditions(network)
            if labels in (None, condition.labels)
        )

    def teachers(self) -> Iterator[tuple[TeacherConfig, int]]:
        """One of the pool, where anything asked for takes it."""
        if self.needs_teacher:
            yield self.teacher, 1

    def looks(self, job: JobSpec, data: DataSizes) -> Iterator[tuple[NetworkConfig, float]]:
        """Images that its teacher looks at: those that it labels, and the real ones that rules choose from."""
        if self.needs_teacher:
            looked_at = self.labelled(job, data) + self.labelled_in_batches(job, data) + self.chosen_from(data)
            yield self.teacher.network, looked_at

    def chosen_from(self, data: DataSizes) -> int:
        """Real images that the teacher looks at, class by class, to choose some of them."""
        others = data.train - data.validating(VALIDATION) if self.chooses else 0
        return self._scores("herding") * data.train + others

    def labelled(self, job: JobSpec, data: DataSizes) -> int:
        """Images that the teacher labels; the distilled ones before the first network is trained."""
        distilled, stored, own = self._finished(job, data), data.classes * job.ipc, job.method.own_labels
        labelled = distilled if self.labels == "soft" and own is None else 0
        labelled += stored * sum(condition.labels == "soft" for condition in self.candidates())
        if self.worth is not None and self.labels == "soft":
            labelled += self.worth.networks * data.classes * sum(self.curve(job.ipc, min(data.counts)))
        sizes = {DISTILLED: distilled if self.labels != "soft" and own is None else 0, EIGHT_BIT: 0, "full": data.train}
        for index in range(len(self.architectures(job.network))):
            soft = [condition for condition in self.conditions(index, own) if condition.labels == "soft"]
            labelled += self.repeats * sum(sizes.get(condition.set, stored) for condition in soft)
        return labelled

    def labelled_in_batches(self, job: JobSpec, data: DataSizes) -> float:
        """Images that the teacher labels while networks learn them, and the test images, which its accuracy is of."""
        if self.labels == "stored":
            return self._labelled_to_store(job, data) + data.test
        if self.labels != "online":
            return data.test if self.keeps_teacher else 0
        sizes = (self._finished(job, data), data.classes * job.ipc, data.train)
        trained = sum(
            self.images_trained(index, *sizes, job.method.shares(job.ipc), labels="online")
            for index in range(len(self.architectures(job.network)))
        )
        return trained + self._trained_on_curve(job, data) + data.test

    def _labelled_to_store(self, job: JobSpec, data: DataSizes) -> float:
        """Those of the set once, of each network's control for itself; of the full set, whose labels nobody stores."""
        stored, smallest = data.classes * job.ipc, min(data.counts)
        total = self._finished(job, data) + len(self.candidates()) * stored
        networks = 0 if self.worth is None else self.worth.networks
        total += networks * data.classes * sum(self.curve(job.ipc, smallest))
        full = 0
        for index in range(len(self.architectures(job.network))):
            for condition in (c for c in self.conditions(index) if c.labels == "stored"):
                if condition.set == "full":
                    full += self.repeats * data.train
                elif condition.set not in (DISTILLED, EIGHT_BIT):
                    total += self.repeats * stored
                elif not condition.augmented:
                    total += self.repeats * self._finished(job, data)
        return self.labelled_epochs * total + self.passes(self.epochs_on("full", data.train)) * full

    def _trained_on_curve(self, job: JobSpec, data: DataSizes) -> float:
        """Images that networks on random subsets are trained on, for the worth of the set."""
        each = 0 if self.worth is None else self.worth.networks * self.passes(self.epochs) * data.classes
        return each * sum(self.curve(job.ipc, min(data.counts)))

    def image_passes(self, job: JobSpec, data: DataSizes) -> Iterator[tuple[NetworkConfig, float]]:
        """Work of training and testing, architecture by architecture."""
        sizes = (self._finished(job, data), data.classes * job.ipc, data.train)
        for index, network in enumerate(self.architectures(job.network)):
            trained = self.images_trained(index, *sizes, job.method.shares(job.ipc))
            tests = self.repeats * len(self.conditions(index, job.method.own_labels)) * self.tests * data.test
            if index == 0:
                trained += self._trained_on_curve(job, data)
                tests += self.networks_of_curve(job.ipc, min(data.counts)) * self.tests * data.test
                tests += len(self.candidates()) * data.validating(VALIDATION)
            yield network, self.learning_passes * trained + tests

    def batches(self, job: JobSpec, data: DataSizes) -> Iterator[Batch]:
        """Of each architecture, a batch to train on and the test images."""
        sizes = dict.fromkeys((DISTILLED, EIGHT_BIT), self._finished(job, data)) | {"full": data.train}
        largest = max(sizes.get(condition.set, data.classes * job.ipc) for condition in self.conditions(0))
        largest = max(largest, data.classes * max(self.curve(job.ipc, min(data.counts)), default=0))
        frozen = self.trains == "head"
        for network in self.architectures(job.network) if self.repeats else ():
            yield Batch(network, min(self.batch_size, largest), 0 if frozen else 1, whole=not frozen)
            yield Batch(network, data.scored(max(data.test, self.chooses * data.validating(VALIDATION))))
        if self.labels_batches:
            together = self.teacher_mode == "train"
            yield Batch(self.teacher.network, min(self.batch_size, largest), whole=together)
            yield Batch(self.teacher.network, data.scored(data.test))

    def _finished(self, job: JobSpec, data: DataSizes) -> int:
        """Images of the distilled set."""
        return data.classes * job.decoder.images_per_class(job.ipc, data.shape, data.classes)

    def impossible(self, job: JobSpec) -> Iterator[Problem]:
        """What in a job cannot be scored like this."""
        if self.lr is None and not job.method.matcher.learns_lr:
            detail = (
                f"`lr` is null, the learning rate that the set learned (protocol '{self.protocol}'), but "
                f"`{job.method.matcher.name}` learns none; give `evaluation.lr` (0.01 is usual) or another protocol"
            )
            yield Problem("/evaluation/lr", "no_learned_learning_rate", detail)
        if self.staging != "together" and job.method.matcher is job.method:
            detail = (
                f"`staging` is '{self.staging}' (protocol '{self.protocol}'), but `{job.method.name}` does not learn "
                "in stages; use 'together', another protocol, or a method that does (`seqmatch`, `pdd`)"
            )
            yield Problem("/evaluation/staging", "no_stages_to_train_in", detail)
        if self.trains == "head" and self.networks not in ((), (self.teacher.network,)):
            named = ", ".join(f"`{network.name}`" for network in self.networks)
            detail = (
                f"`trains` is 'head', a linear classifier on the features of the teacher "
                f"(`{self.teacher.network.name}`), but `networks` names {named}; set `evaluation.teacher.network`, and "
                "leave `networks` out"
            )
            yield Problem("/evaluation/networks", "head_of_the_teacher", detail)
        yield from self._impossible_labels(job)
        if self.worth is not None and self.staging != "together":
            detail = (
                f"the worth in real images is not defined for networks that learn in stages (`staging` is "
                f"'{self.staging}'); use `staging`: 'together', or drop `evaluation.worth`"
            )
            yield Problem("/evaluation/worth", "worth_of_stages", detail)
        if self.worth is not None and self.repeats == 0:
            detail = "the worth compares trained networks, but `repeats` is 0; choose 1 to 100, or drop it"
            yield Problem("/evaluation/worth", "worth_needs_networks", detail)
        asked = self.augmentation or job.augmentation
        if "augmentation_robust" in self.scores and asked == "none" and self.cutmix == 0:
            detail = (
                "`augmentation_robust` compares training with augmentation and without, but the networks are trained "
                "without; give `evaluation.augmentation`, or drop the score"
            )
            yield Problem("/evaluation/scores", "score_needs_augmentation", detail)
        staged = job.method.matcher is not job.method
        if self.during is not None and self.during.checkpoint == "best" and staged:
            detail = (
                f"`{job.method.name}` learns in stages, so an earlier step has fewer images than the set; use "
                "`evaluation.during.checkpoint`: 'last'"
            )
            yield Problem("/evaluation/during/checkpoint", "best_of_stages", detail)
        steps, at = job.method.iterations, None if self.during is None else self.during.at
        if self.during is not None and steps == 0 and at != (0,):
            detail = f"`{job.method.name}` takes no steps, so there is nothing to score on the way; drop it"
            yield Problem("/evaluation/during", "no_steps", detail)
        elif at is not None and at[-1] > steps:
            detail = f"`at` names step {at[-1]}, but the job takes {steps}; choose 0 to {steps}"
            yield Problem("/evaluation/during/at", "beyond_the_end", detail)
        if self.scores and self.repeats == 0:
            detail = "scores are made of trained networks, but `repeats` is 0; choose 1 to 100, or drop the scores"
            yield Problem("/evaluation/scores", "score_needs_networks", detail)

    def _impossible_labels(self, job: JobSpec) -> Iterator[Problem]:
        """Labels of each batch that a teacher cannot give, or that nobody would learn."""
        own, norm = job.method.own_labels, getattr(self.teacher.network, "norm", "none")
        if self.labels_batches and own is not None:
            detail = (
                f"`labels` is '{self.labels}', but `{job.method.name}` learns labels of its own, which its images are "
                f"to be learned with (`labels` of the method is '{own}'); use `method.labels`: 'hard', or "
                "`evaluation.labels`: 'hard'"
            )
            yield Problem("/evaluation/labels", "labels_learned", detail)
        if self.labels_batches and self.lr is None:
            detail = (
                f"`lr` is null, the learning rate that the set learned with its classes (protocol '{self.protocol}'), "
                f"but `labels` is '{self.labels}', whose slopes are others; give `evaluation.lr` (0.001 is usual, with "
                "`optimizer`: 'adamw')"
            )
            yield Problem("/evaluation/lr", "learning_rate_of_other_labels", detail)
        for name, usual in (("label_loss", "kl"), ("teacher_mode", "eval")):
            value = getattr(self, name)
            if not self.labels_batches and value != usual:
                detail = (
                    f"`{name}` is '{value}', but `labels` is '{self.labels}', so no teacher labels the batches; use "
                    f"`labels`: 'online', or drop it"
                )
                yield Problem(f"/evaluation/{name}", "no_online_labels", detail)
        yield from self._impossible_to_store(job)
        if self.labels_batches and self.teacher_mode == "train" and norm != "batch":
            detail = (
                f"`teacher_mode` is 'train', statistics of each batch, but the teacher `{self.teacher.network.name}` "
                f"has no batch normalisation (`norm` is '{norm}'); use `teacher_mode`: 'eval', or a network with "
                "`norm`: 'batch'"
            )
            yield Problem("/evaluation/teacher_mode", "teacher_without_batch_norm", detail)

    def _impossible_to_store(self, job: JobSpec) -> Iterator[Problem]:
        """Labels of stages, too many of them, and a number of epochs where none are stored."""
        if self.labels != "stored":
            if self.stored_epochs is not None:
                detail = (
                    f"`stored_epochs` is {self.stored_epochs}, but `labels` is '{self.labels}', so no labels of epochs "
                    "are stored; use `labels`: 'stored', or drop it"
                )
                yield Problem("/evaluation/stored_epochs", "no_stored_labels", detail)
            return
        if self.staging != "together":
            detail = (
                f"`labels` is 'stored', of epochs on the whole set, but networks learn it in stages (`staging` is "
                f"'{self.staging}'); use `staging`: 'together', or `labels`: 'online'"
            )
            yield Problem("/evaluation/labels", "stored_labels_of_stages", detail)
        if job.facts is not None:
            data = DataSizes.of(job.facts)
            too_large = self.labels_too_large(self._finished(job, data), data.classes)
            if too_large is not None:
                yield Problem("/evaluation/stored_epochs", "labels_too_large", too_large)

    def labels_too_large(self, images: int, classes: int) -> str | None:
        """Say that the labels of so many images would take too much room; nothing where they do not."""
        of_epoch = LABEL_BYTES * images * classes
        if self.labelled_epochs * of_epoch <= MOST_LABEL_BYTES:
            return None
        most = MOST_LABEL_BYTES // of_epoch
        way_out = f"choose `stored_epochs` of 1 to {most}, or " if most else ""
        return (
            f"labels of {self.labelled_epochs} epochs of {images} images in {classes} classes take "
            f"{self.labelled_epochs * of_epoch / 1024**3:.1f} GiB, and {MOST_LABEL_BYTES / 1024**3:.0f} GiB is the "
            f"most that a bundle holds of them; {way_out}use `labels`: 'online', whose teacher takes less"
        )

    @model_validator(mode="before")
    @classmethod
    def _as_the_protocol_has_it(cls, data: object) -> object:
        """Fill in what the protocol prescribes where nothing is said."""
        if not isinstance(data, Mapping):
            return data
        name = data.get("protocol", "standard")
        if not isinstance(name, str) or name not in PROTOCOLS:
            return data
        protocol: dict[str, Any] = dict(PROTOCOLS[name].fields)
        if {**protocol, **data}.get("labels") in ("online", "stored"):
            usual = {} if "optimizer" in data else {"optimizer": "adamw", **ADAMW}
            protocol = {**ONLINE, **usual, **protocol}
        optimizer = {"adam": ADAM, "adamw": ADAMW}.get(str(data.get("optimizer")), {})
        return {**protocol, **optimizer, **data}

    @field_validator("protocol")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in PROTOCOLS:
            raise ValueError(
                f"unknown protocol '{value}'{did_you_mean(value, PROTOCOLS)}; known: {', '.join(PROTOCOLS)}"
            )
        return value

    @field_validator("networks", mode="before")
    @classmethod
    def _pools(cls, value: object) -> object:
        """Put the architectures of a pool in the place of its name."""
        listed = [value] if isinstance(value, str) else value
        if not isinstance(listed, (list, tuple)):
            return value
        expanded: list[Any] = []
        for network in listed:
            expanded += NETWORK_POOLS[network] if isinstance(network, str) and network in NETWORK_POOLS else [network]
        return tuple(expanded)

    @field_validator("augmentation")
    @classmethod
    def _operations(cls, value: str | None, info: ValidationInfo) -> str | None:
        augmenter = info.data.get("augmenter", "siamese")
        known = AUGMENTERS[augmenter]
        if value is not None:
            return check_augmentation(value, known, auto=augmenter in AUTO)
        if known != AUGMENTATIONS:
            raise ValueError(
                f"the operations of a job are not for the augmenter '{augmenter}'; give `evaluation.augmentation`: "
                f"some of {', '.join(known)} joined by '_', or 'none'"
            )
        return None

    @field_validator("controls", "scores")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if value.count(name) > 1:
                raise ValueError(f"'{name}' is listed {value.count(name)} times; list it once")
        return value
