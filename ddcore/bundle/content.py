"""The content of a bundle in memory."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ddcore.data.dataset import Dataset, normalize
from ddcore.data.whitening import Whitening
from ddcore.runtime.checkpoint import versions
from ddcore.spec import JobSpec
from ddcore.spec.results import Results
from ddcore.synthetic.stages import Stages
from ddcore.training.stored_labels import StoredLabels, layout


@dataclass(frozen=True)
class DatasetReference:
    """The dataset that was distilled, without its images.

    Attributes:
        name: what the user called it.
        digest: SHA-256 of its content, see :func:`ddcore.data.dataset.digest_of`.
        shape: (channels, height, width) of every image.
        classes: names of the classes, in the order of the labels.
        mean: per channel, in pixel units.
        std: per channel, in pixel units.
        flip: whether a mirrored image keeps its class.
        train_images: size of the training split.
        test_images: size of the test split.
        class_digests: of the training images of each class, see :func:`ddcore.data.dataset.class_digest`; empty where
            an earlier version described it.
    """

    name: str
    digest: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool
    train_images: int
    test_images: int
    class_digests: tuple[str, ...] = ()

    @classmethod
    def of(cls, dataset: Dataset) -> DatasetReference:
        """Describe a loaded dataset."""
        return cls(
            name=dataset.name,
            digest=dataset.digest,
            shape=dataset.shape,
            classes=dataset.classes,
            mean=dataset.mean,
            std=dataset.std,
            flip=dataset.flip,
            train_images=len(dataset.train),
            test_images=len(dataset.test),
            class_digests=dataset.class_digests,
        )


def _all_versions() -> dict[str, str]:
    return {**versions(), "python": platform.python_version()}


@dataclass(frozen=True, eq=False)
class Distilled:
    """A distilled dataset with its recipe, scores and provenance.

    Attributes:
        images: float32 (N, C, H, W) on the CPU in pixel units: 0 to 1 nominally, never clamped.
        labels: int64 (N,).
        spec: what was asked for.
        dataset: what was distilled.
        results: accuracy, controls and probe.
        compute: device, precision and compilation of the run.
        soft_labels: float32 (N, classes) probabilities, or learned weights of the classes, where labels were learned or
            given by a teacher.
        teacher: tensors of the network that labels every batch, by name, where the job asks for such labels.
        epoch_labels: a teacher's labels of every batch of some epochs, where the job asks for such.
        learning_rate: to train networks with, where it was learned with the images.
        stages: of the images, where they were learned in stages.
        stored: float32 (M, C, H, W) in pixel units: what the decoder of ``spec`` makes the images of, ``spec.ipc`` of
            each class in the order of the labels; ``None`` where the images themselves are stored.
        parts: float32, what else the decoder makes the images of, by name, in normalised units; empty for most.
        whitening: what makes normalised units of pixel units, where the job asked for it.
        versions: of the software that bytes depend on.

    Raises:
        ValueError: a tensor has another dtype or shape, or the images are not finite.
    """

    images: Tensor
    labels: Tensor
    spec: JobSpec
    dataset: DatasetReference
    results: Results
    compute: Mapping[str, Any]
    soft_labels: Tensor | None = None
    teacher: Mapping[str, Tensor] | None = None
    epoch_labels: StoredLabels | None = None
    learning_rate: float | None = None
    stages: Stages | None = None
    stored: Tensor | None = None
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    whitening: Whitening | None = None
    versions: Mapping[str, str] = field(default_factory=_all_versions)

    def __post_init__(self) -> None:
        count, classes = len(self.images), len(self.dataset.classes)
        _require(self.images, "images", torch.float32, (count, *self.dataset.shape))
        _require(self.labels, "labels", torch.int64, (count,))
        if self.soft_labels is not None:
            _require(self.soft_labels, "soft_labels", torch.float32, (count, classes))
        scoring = self.spec.evaluation
        if (self.teacher is not None) != scoring.keeps_teacher:
            found = "is missing" if self.teacher is None else "is there"
            name = "trains" if scoring.trains == "head" else "labels"
            raise ValueError(f"the job has `evaluation.{name}`: '{getattr(scoring, name)}', but a teacher {found}")
        if (self.epoch_labels is not None) != (scoring.labels == "stored"):
            found = "are missing" if self.epoch_labels is None else "are there"
            raise ValueError(f"the job has `evaluation.labels`: '{scoring.labels}', but labels of epochs {found}")
        if self.stages is not None:
            _require(self.stages.of_images, "stages", torch.int64, (count,))
            if len(self.stages.rates) != len(self.stages) or int(self.stages.of_images.max()) >= len(self.stages):
                raise ValueError(f"stages must lie in 0 to {len(self.stages) - 1}, each with a learning rate")
        if self.stored is not None:
            _require(self.stored, "stored", torch.float32, (self.spec.ipc * classes, *self.dataset.shape))
        if (self.whitening is not None) != self.spec.whitening:
            raise ValueError(f"the job has `whitening`: {self.spec.whitening}, which the tensors contradict")
        if not bool(self.images.isfinite().all()):
            raise ValueError("images hold values that are NaN or infinite")
        if count == 0 or not 0 <= int(self.labels.min()) <= int(self.labels.max()) < classes:
            raise ValueError(f"labels must lie in 0 to {classes - 1}, and there must be some")
        if self.epoch_labels is not None:
            self._require_labels(self.epoch_labels)

    def _require_labels(self, found: StoredLabels) -> None:
        """Raise unless the labels of epochs are those that the job asks for."""
        scoring, tensors = self.spec.evaluation, found.tensors()
        asked = layout(
            epochs=scoring.labelled_epochs,
            images=len(self.images),
            classes=len(self.dataset.classes),
            top=scoring.stored_top,
        )
        if tensors.keys() != asked.keys():
            raise ValueError(f"labels of epochs must be the tensors {', '.join(asked)}, got {', '.join(tensors)}")
        for name, (dtype, shape) in asked.items():
            _require(tensors[name], f"{name} of the labels of epochs", dtype, shape)
        if found.others is not None:
            lowest, highest = found.others.classes.aminmax()
            if not 0 <= int(lowest) <= int(highest) < found.others.count:
                raise ValueError(f"labels of epochs must be of classes 0 to {found.others.count - 1}")

    def training_images(self) -> Tensor:
        """The images in normalised units, float32: exactly what networks are to be trained on."""
        if self.whitening is not None:
            return self.whitening.apply(self.images)
        return normalize(self.images, self.dataset.mean, self.dataset.std)

    def shown(self) -> tuple[Tensor, Tensor]:
        """Images to look at, in pixel units, and their labels: the stored ones where a decoder makes more of them."""
        if self.stored is None:
            return self.images, self.labels
        return self.stored, torch.arange(len(self.dataset.classes)).repeat_interleave(self.spec.ipc)

    def training_labels(self) -> Tensor:
        """The probabilities where there are any, otherwise the labels."""
        return self.labels if self.soft_labels is None else self.soft_labels


def _require(tensor: Tensor, name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    if tensor.dtype != dtype or tuple(tensor.shape) != shape:
        raise ValueError(f"{name} must be {dtype} {shape}, got {tensor.dtype} {tuple(tensor.shape)}")
