"""The part of a job that says how its set is scored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import Field, field_validator

from ddcore.spec.audit import SHARE_OF_JOB
from ddcore.spec.during import DuringConfig
from ddcore.spec.evaluation.conditions import (
    BEST_CORESET,
    CANDIDATES,
    DISTILLED,
    EIGHT_BIT,
    SUBSET,
    Control,
    Labels,
    RobustScore,
    TrainingCondition,
)
from ddcore.spec.evaluation.labels import LabelsConfig
from ddcore.spec.teachers import TeacherConfig
from ddcore.spec.work import DataSizes
from ddcore.spec.worth import WorthConfig


class EvaluationConfig(LabelsConfig):
    """How the distilled set is scored: fresh networks trained on it from scratch.

    Every default but that of ``protocol`` is the one of the protocol.
    """

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
        rules = (self.herds or self.chooses) and self.backbone is None
        return self.keeps_teacher or self.labels != "hard" or "label_robust" in self.scores or rules

    @property
    def herds(self) -> bool:
        """Whether the real images that herding keeps are a control."""
        return self._scores("herding")

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

    def teachers(self) -> Iterator[tuple[TeacherConfig, int]]:
        """One of each pool, where anything asked for takes it."""
        if self.needs_teacher:
            for teacher in self.labelling:
                yield teacher, 1

    @field_validator("controls", "scores")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if value.count(name) > 1:
                raise ValueError(f"'{name}' is listed {value.count(name)} times; list it once")
        return value
