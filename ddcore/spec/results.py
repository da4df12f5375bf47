"""What a job comes to: accuracy beside its controls, the recipe of the scoring, and the readings of the probe.

:class:`Results` is the ``results`` object of a bundle's manifest and of a job document. The engine makes it, the worker
stores it, and API, client, dashboard and benchmarks read it. A field that was not set is absent from the JSON, which
tells it from one that is null; fields of newer versions are kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    model_serializer,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


class Outcome(BaseModel):
    """Base of the parts of :class:`Results`: frozen, open to new fields, written with the fields that were set."""

    model_config = ConfigDict(frozen=True, extra="allow")

    @model_serializer(mode="wrap")
    def _as_set(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The fields that were set, in the order of their declaration; JSON has no NaN and no infinities."""
        return {name: _finite(value) for name, value in handler(self).items() if name in self.model_fields_set}

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The schema of the fields, which the serialiser above would hide."""
        return handler(cast(CoreSchema, {key: value for key, value in core.items() if key != "serialization"}))


class Score(Outcome):
    """Accuracy of the networks trained on one set.

    Attributes:
        mean: percent of the whole test set.
        std: population standard deviation over the networks, in points.
        networks: how many.
        values: percent, of each network.
        best: likewise, each network in the best of its several tests, where it had several.
        rule: that the images were chosen by, where there was a choice.
        validation: percent of the validation images that decided on it, by rule.
        epochs: E that networks on the full training set were trained for.
        images: that the full training set has.
    """

    mean: float = Field(description="Percent of the whole test set, over the networks.")
    std: float = Field(description="Population standard deviation over the networks, in points.")
    networks: int = Field(description="Networks trained from scratch.")
    values: tuple[float, ...] = Field((), description="Percent, of each network.")
    best: Score | None = Field(None, description="In the best of several tests, by the test images themselves.")
    rule: str | None = Field(None, description="That `best_coreset` took, by accuracy on validation images.")
    validation: dict[str, float] = Field({}, description="Percent of the validation images, by rule to choose from.")
    epochs: int | None = Field(None, description="Epochs on the full training set.")
    images: int | None = Field(None, description="Images of the full training set.")


class SubsetScore(Outcome):
    """Accuracy of networks trained on random real images."""

    images: int = Field(description="Of each class.")
    accuracy: Score = Field(description="Each network on a subset of its own.")


class Difference(Outcome):
    """How much a set is above a control; see :mod:`ddcore.spec.differences`."""

    points: float = Field(description="Difference of the mean accuracies, in points.")
    error: float | None = Field(
        None, description="Standard error of it, of independent networks; null with one network."
    )
    verdict: Literal["above", "unclear", "below"] = Field(
        description="`above`: by more than two errors; `below`: not above at all."
    )


class WorthReport(Outcome):
    """How many random real images of each class are worth as much; see :mod:`ddcore.formulas.worth`."""

    images: float | None = Field(None, description="Null where `bound` says that it is beyond the curve.")
    bound: Literal["less than", "more than"] | None = Field(
        None, description="On which side of the curve it is: less than its smallest subset, more than its largest."
    )
    low: float | None = Field(None, description="Lower end of the interval of 95 %; null below the smallest subset.")
    high: float | None = Field(None, description="Upper end; null above the largest subset.")
    curve: tuple[SubsetScore, ...] = Field((), description="Accuracy of random real images, by their number.")


Controls = dict[str, Score | None]
"""Scores of real images trained on under the identical recipe, by the name of the control; null where unscored."""


class ArchitectureScores(Outcome):
    """The set and its controls, scored with one architecture."""

    network: dict[str, Any] = Field({}, description="The architecture, as in a specification.")
    accuracy: Score | None = Field(None, description="Of the distilled set; null where no network was trained.")
    controls: Controls = Field({}, description="Of real images under the identical recipe, by control.")
    differences: dict[str, Difference] = Field({}, description="From the controls of the same size, by control.")


class LearningRateDrops(Outcome):
    """When the learning rate of a training falls, and how."""

    after_passes: tuple[int, ...] = Field((), description="Epochs made by then.")
    factor: float | None = Field(None, description="What it is multiplied by.")
    clears_momentum: bool | None = Field(None, description="Whether the optimiser starts afresh.")


class StagedTraining(Outcome):
    """Stages that networks learn one after the other."""

    sizes: tuple[int, ...] = Field((), description="Stored images of each class of each stage.")
    lr: tuple[float, ...] = Field((), description="Learning rate of each stage.")
    begin: str | None = Field(None, description="`at_rest`, or `with_momentum` of the stage before.")


class TrainingProtocol(Outcome):
    """How the networks were trained, in words that need no source code to be read."""

    name: str | None = Field(None, description="`evaluation.protocol`.")
    optimizer: str | None = None
    passes: int | None = Field(None, description="Epochs really made.")
    lr: float | None = Field(None, description="Learning rate.")
    lr_is: str | None = Field(None, description="`given`, or `learned with the set`.")
    lr_drops: LearningRateDrops | None = Field(None, description="Null where the rate does not drop.")
    lr_schedule: str | None = Field(None, description="How else it falls; see `evaluation.schedule`.")
    momentum: float | None = Field(None, description="Null but with SGD.")
    weight_decay: float | None = None
    batch_size: int | None = None
    augmentation: tuple[str, ...] = Field((), description="Operations on the training images.")
    augmenter: str | None = Field(None, description="How they are applied.")
    cutmix: float | None = Field(None, description="Probability that a batch is mixed.")
    labels: Literal["hard", "soft", "online", "stored"] | None = Field(
        None, description="That the distilled set was learned with: of images, or of every batch (`online`, `stored`)."
    )
    temperature: float | None = Field(None, description="Of the labels of a teacher; null where they have none.")
    label_loss: str | None = Field(None, description="What was minimised, where a teacher labelled every batch.")
    teacher_mode: str | None = Field(
        None, description="Whether batch normalisation of that teacher took running statistics (`eval`)."
    )
    trains: str | None = Field(
        None, description="`head`, where a linear classifier alone was, on the features of the teacher."
    )
    scored_on: str | None = None
    stages: StagedTraining | None = Field(None, description="Where networks learned the set in stages.")


class TeacherReport(Outcome):
    """The network that labelled every batch, and that the bundle holds."""

    network: dict[str, Any] = Field({}, description="Its architecture, as in a specification.")
    epochs: int | None = Field(None, description="That it was trained for on the real images.")
    accuracy: float | None = Field(None, description="Percent of the whole test set, with running statistics.")
    dtype: str | None = Field(None, description="`float16` or `float32`, of its weights: those that labelled.")
    mode: str | None = Field(None, description="`eval` or `train`: statistics that its batch normalisation took.")
    bytes: int | None = Field(None, description="Size of `teacher.safetensors`.")
    others: tuple[TeacherReport, ...] = Field((), description="Further ones, whose logits were averaged with its own.")


class BackboneReport(Outcome):
    """A frozen network that others trained, on whose features classifiers were put; the bundle does not hold it."""

    weights: str = Field(description="Name of its file in the folder of backbones, without `.safetensors`.")
    sha256: str | None = Field(None, description="Of that file.")
    network: dict[str, Any] | None = Field(None, description="Its architecture, where it is one of ours.")
    timm: str | None = Field(None, description="Its name in timm, where it is not.")
    shape: tuple[int, int, int] | None = Field(None, description="Channels, height and width of the images it saw.")
    mean: tuple[float, ...] | None = Field(None, description="Of each channel, what it saw as 0, in pixel units.")
    std: tuple[float, ...] | None = Field(None, description="Likewise, the distance from there that it saw as 1.")
    features: int | None = Field(None, description="That it has of an image.")


class LabelsReport(Outcome):
    """A teacher's labels of every batch of some epochs, in the place of the teacher."""

    epochs: int | None = Field(None, description="Whose batches were labelled.")
    top: int | None = Field(None, description="How many of the highest logits of each image it has; absent for all.")
    bytes: int | None = Field(None, description="Size of `labels.safetensors`.")


class RobustScores(Outcome):
    """A score of DD-Ranking (Li et al., 2025, arXiv 2505.13300) with what it is made of; more is better."""

    score: float = Field(description="0 to 100.")
    improvement_over_random: float | None = Field(None, description="Points, with soft labels.")
    hard_label_recovery: float | None = Field(None, description="Points below the full set with hard labels.")
    improvement_augmented: float | None = Field(None, description="Points over random images, with augmentation.")
    improvement_plain: float | None = Field(None, description="Points over random images, without augmentation.")
    weight: float | None = Field(None, description="Of the first of the two differences, 0 to 1.")
    ingredients: dict[str, Score | None] = Field({}, description="The accuracies, by term of the formula.")

    @property
    def parts(self) -> dict[str, float]:
        """The differences that the score joins, in points, by name."""
        apart = ("score", "weight", "ingredients")
        return {name: value for name, value in self.model_dump().items() if name not in apart}


class ProbeReport(Outcome):
    """The last readings of the probe, and what they rest on; see :mod:`ddcore.spec.readings`."""

    digest: str | None = Field(
        None,
        examples=["pr_0123456789ab"],
        description="Name of the probe by its content; readings of the same name compare. Null in older results.",
    )
    network: str | None = Field(None, description="`teacher`: trained on real images; `random`: random weights.")
    real_images: int | None = Field(None, description="Images of the fixed real sample.")
    temperature: float | None = Field(None, description="Of the critic's posterior.")
    ceiling_nats: float | None = Field(None, description="Logarithm of the number of classes.")
    mi_lower_bound: float | None = Field(None, description="Nats; null where it was not finite.")
    cmi: float | None = Field(None, description="Nats; null where it was not finite.")


class Audit(Outcome):
    """Summary of what the finished images have in common with the real training images.

    Distances are root mean square differences of pixels, 0 to 1; all but ``real_pixels`` is absent where no audit was
    made. See :class:`ddcore.spec.audit.AuditDocument` for every image.
    """

    real_pixels: bool | None = Field(
        None,
        description="Whether the images consist of pixels of real images, as the job has it: a coreset, or real images "
        "that no step has moved. Images that are learned from real ones may still be close to them.",
    )
    images: int | None = Field(None, description="Images looked at, all of the finished set.")
    near_copies: int | None = Field(
        None,
        description="Images at most `near_copy_below` from a real training image, and at most half as far from it as "
        "from the nearest ones on average.",
    )
    near_copy_below: float | None = Field(
        None,
        description="The distance that one in a hundred real images is from its own nearest real neighbour, or that "
        "rounding to 8 bits hides, whichever is more.",
    )
    nearest: float | None = Field(None, description="Median distance to the nearest real image.")
    nearest_of_real: float | None = Field(None, description="The same of real images, to the nearest other.")
    own_class: float | None = Field(
        None, description="Share of images whose nearest real image in the probe's features has the same class, 0 to 1."
    )
    cka: float | None = Field(
        None,
        description="Linear CKA (Kornblith et al., 2019) of the mean features of the classes, synthetic and real, 0 "
        "to 1; null with fewer than three classes.",
    )
    cka_random: float | None = Field(None, description="The same of random real images in place of the synthetic.")


class Lineage(Outcome):
    """What a set that extends another one has of it."""

    job: str | None = Field(None, description="The job that was extended; null where its bundle was given as a folder.")
    bundle: str | None = Field(None, description="SHA-256 of the `manifest.json` of its bundle.")
    dataset: str | None = Field(None, description="The dataset that it distilled.")
    kept: tuple[str, ...] = Field((), description="Classes whose images are those of that bundle, byte for byte.")
    changed: tuple[str, ...] = Field((), description="Classes that have other training images, and were made anew.")
    new: tuple[str, ...] = Field((), description="Classes that it did not have.")
    accuracy: Score | None = Field(None, description="Of that bundle, on the test images of its own classes.")
    same_evaluation: bool | None = Field(
        None, description="Whether it was scored as this set is; null where either was not scored."
    )

    @property
    def made(self) -> tuple[str, ...]:
        """Classes that were distilled."""
        return (*self.changed, *self.new)


class Origin(Outcome):
    """Where a set comes from that others made, and how its files were understood."""

    file: str = Field(description="Name of the file or folder.")
    sha256: str | None = Field(None, description="Of the file; null of a folder.")
    layout: str | None = Field(None, description="What kind of file it is, in words.")
    values: Literal["unit", "byte", "normalised"] | None = Field(
        None,
        description="Units of its pixels: 0 to 1, 0 to 255, or less the mean over the deviation (or whitened).",
    )
    remarks: tuple[str, ...] = Field((), description="How images and labels were understood, in sentences.")


class Results(Mapping[str, Any], ArchitectureScores):
    """What a job comes to: fields as attributes, ``results.accuracy.mean``, or as the JSON that they are written as.

    As a mapping it is the ``results`` object of the manifest: ``results["accuracy"]["mean"]``, ``dict(results)``. The
    fields of :class:`ArchitectureScores` are those of the first architecture.

    >>> scored = Results.model_validate({"accuracy": {"mean": 71.5, "std": 0.5, "networks": 2}, "controls": {}})
    >>> scored.accuracy.mean, scored["accuracy"]["mean"], "steps" in scored
    (71.5, 71.5, False)
    """

    bytes: int | None = Field(
        None, description="Size of `distilled.safetensors`, the images as they are delivered; null in older results."
    )
    teacher: TeacherReport | None = Field(None, description="That labelled every batch, where one did.")
    backbone: BackboneReport | None = Field(None, description="Under the classifiers, where others trained it.")
    labels: LabelsReport | None = Field(None, description="Labels of epochs that the bundle holds, where it does.")
    epochs: int | None = Field(None, description="`evaluation.epochs`.")
    checkpoint: str | None = Field(None, description="Images of which moment were scored: `last` or `best`.")
    at_step: int | None = Field(None, description="The step that they are of, where that is not the last one.")
    protocol: TrainingProtocol | None = Field(None, description="How the networks were trained, in words.")
    architectures: tuple[ArchitectureScores, ...] = Field((), description="Each of them, where there are several.")
    scores: dict[str, RobustScores] = Field({}, description="Scores of DD-Ranking, by name, where asked for.")
    eight_bit: Score | None = Field(None, description="Of the images in 8 bits, as PNGs hold them, where asked for.")
    worth: WorthReport | None = Field(None, description="In random real images of each class, where asked for.")
    steps: int | None = Field(None, description="Steps of the distillation that were taken.")
    probe: ProbeReport | None = Field(None, description="Last readings of the probe.")
    audit: Audit | None = Field(None, description="Beside the real images; null in results of earlier versions.")
    lineage: Lineage | None = Field(None, description="Of a set that extends another one; absent for others.")
    origin: Origin | None = Field(None, description="Of a set that others made; absent for those of jobs.")

    @property
    def moment(self) -> str:
        """Of when the images are, or of where, as the rest of "images of".

        >>> Results(checkpoint="best", at_step=1200).moment, Results(checkpoint="last").moment
        ('step 1,200, the best on the way', 'the last checkpoint')
        >>> Results(origin=Origin(file="images_best.pt")).moment
        'images_best.pt'
        """
        if self.origin is not None:
            return self.origin.file
        if self.at_step is not None:
            return f"step {self.at_step:,}, the best on the way"
        return f"the {self.checkpoint or 'last'} checkpoint"

    @property
    def by_architecture(self) -> tuple[ArchitectureScores, ...]:
        """The scores with each architecture, at least one entry."""
        return self.architectures or (self,)

    def __getitem__(self, name: str) -> Any:
        return self.model_dump(mode="json")[name]

    def __iter__(self) -> Iterator[str]:  # type: ignore[override] # over names, as a mapping does
        return iter(self.model_dump(mode="json"))

    def __len__(self) -> int:
        return len(self.model_fields_set)


def _finite(value: Any) -> Any:
    """Replace what JSON has no number for by null."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
