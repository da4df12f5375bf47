"""Who says what the images show that networks are trained on: their classes, or a teacher."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ddcore.spec.backbones import BackboneConfig
from ddcore.spec.base import NetworkConfig
from ddcore.spec.errors import Problem
from ddcore.spec.evaluation.conditions import Labels
from ddcore.spec.evaluation.label_sizes import image_bytes, most_top
from ddcore.spec.evaluation.recipe import RecipeConfig
from ddcore.spec.teachers import TeacherConfig

LabelLoss = Literal["kl", "mse_logits"]
"""What networks minimise where a teacher labels every batch."""
TeacherMode = Literal["eval", "train"]
"""Whether batch normalisation of a teacher takes its running statistics, or those of the batch that it labels."""

MOST_LABEL_BYTES = 2 * 1024**3
"""That stored labels of epochs may take: they are in memory as a whole."""


class LabelsConfig(RecipeConfig):
    """A recipe with the labels that networks learn by it."""

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
    stored_top: int | None = Field(
        None,
        ge=1,
        description="With `labels` 'stored', how many of the highest logits of each image are stored in each epoch, "
        "with their classes, and one number for all other classes: with `label_loss` 'kl' such that the stored classes "
        "keep their probabilities at `temperature` and the others have equal ones, with 'mse_logits' their mean. "
        "Default: all. They take 3 bytes each (4 from 257 classes, 6 from 32769) and 2 for the others.",
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
    other_teachers: tuple[TeacherConfig, ...] = Field(
        (),
        max_length=7,
        description="With `labels` 'stored', further networks: what is stored is the mean of their logits and those of "
        "`teacher` (FADRM+: three). Only the labels are in the bundle, so they make it no larger.",
    )
    backbone: BackboneConfig | None = Field(
        None,
        description="With `trains` 'head', a network that others trained, in the place of `teacher`: a file of weights "
        "that lies on the machine of the engine. The bundle names it by its hash and does not hold it.",
    )

    @property
    def frozen(self) -> NetworkConfig:
        """Architecture of the network whose features classifiers are put on, and by which rules choose."""
        return self.backbone or self.teacher.network

    @property
    def labelling(self) -> tuple[TeacherConfig, ...]:
        """Whose logits of a batch are averaged, where networks learn these."""
        return (self.teacher, *self.other_teachers)

    @property
    def keeps_teacher(self) -> bool:
        """Whether nobody can train on the set without that network, so that the bundle holds it."""
        return self.labels == "online" or (self.trains == "head" and self.backbone is None)

    @property
    def labels_batches(self) -> bool:
        """Whether a teacher labels batches after they were augmented, rather than images."""
        return self.labels in ("online", "stored")

    @property
    def labelled_epochs(self) -> int:
        """Epochs whose labels are stored, where they are."""
        passes = self.passes(self.epochs)
        return min(self.stored_epochs or passes, passes)

    def architectures(self, network: NetworkConfig) -> tuple[NetworkConfig, ...]:
        """Architectures to train.

        Args:
            network: that of the job.
        """
        return (self.frozen,) if self.trains == "head" else self.networks or (network,)

    def unstorable(self, images: int, classes: int) -> Problem | None:
        """Say why the labels of so many images cannot be stored as asked; nothing where they can."""
        return self._saves_nothing(classes) or self._takes_too_much(images, classes)

    def _saves_nothing(self, classes: int) -> Problem | None:
        top, whole = self.stored_top, image_bytes(classes)
        if top is None or image_bytes(classes, top) < whole:
            return None
        most = most_top(classes, whole)
        way_out = f"choose 1 to {most}, or drop it" if most else "drop it"
        detail = (
            f"`stored_top` is {top}, which takes {image_bytes(classes, top)} bytes for each image with the numbers of "
            f"the classes, where the logits of all {classes} classes take {whole}, so it would save nothing; {way_out}"
        )
        return Problem("/evaluation/stored_top", "stored_top_saves_nothing", detail)

    def _takes_too_much(self, images: int, classes: int) -> Problem | None:
        epochs, of_epoch = self.labelled_epochs, images * image_bytes(classes, self.stored_top)
        if epochs * of_epoch <= MOST_LABEL_BYTES:
            return None
        fitting = {
            "stored_epochs": MOST_LABEL_BYTES // of_epoch,
            "stored_top": most_top(classes, MOST_LABEL_BYTES // (epochs * images)),
        }
        ways_out = "".join(f"`{name}` of 1 to {most}, or " for name, most in fitting.items() if most)
        kept = "" if self.stored_top is None else f", the highest {self.stored_top} logits of each,"
        detail = (
            f"labels of {epochs} epochs of {images} images in {classes} classes{kept} take "
            f"{epochs * of_epoch / 1024**3:.1f} GiB, and {MOST_LABEL_BYTES / 1024**3:.0f} GiB is the "
            f"most that a bundle holds of them; {'choose ' if ways_out else ''}{ways_out}use `labels`: 'online', whose "
            "teacher takes less"
        )
        return Problem("/evaluation/stored_epochs", "labels_too_large", detail)
