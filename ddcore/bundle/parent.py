"""A bundle that is extended: which of its classes stay, and how they come together with those that are made anew."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from ddcore.bundle.content import Distilled
from ddcore.bundle.folder import MANIFEST, read
from ddcore.data.dataset import Dataset
from ddcore.errors import ConfigurationError
from ddcore.spec import JobSpec
from ddcore.spec.living import NO_DIGESTS, NOTHING_TO_DO, classes_mixed, lost, other_shape, unlike
from ddcore.spec.results import Lineage


@dataclass(frozen=True, eq=False)
class Parent:
    """A finished set whose images of unchanged classes stay.

    Attributes:
        content: its bundle.
        digest: SHA-256 of the bundle's manifest, which names every other file's.
        dataset: what is distilled now, in the units of the bundle, so that its images stay as they are.
    """

    content: Distilled
    digest: str
    dataset: Dataset

    @classmethod
    def of(cls, folder: Path, job: JobSpec, dataset: Dataset) -> Parent:
        """Read the bundle that a job extends.

        Args:
            folder: of the bundle's files.
            job: that extends it.
            dataset: what the job distils.

        Raises:
            DataError: the bundle is damaged.
            ConfigurationError: its images cannot stay beside those that the job would make, or all of them would.
        """
        content = read(folder)
        if content.results.origin is not None:
            raise ConfigurationError(
                f"{folder} holds a set of others ({content.results.origin.file}), which was only scored here, so that "
                "nothing can be made like it; extend a set that was distilled here"
            )
        before = content.dataset
        shape = other_shape(dataset.shape, before.shape)
        problems = [*unlike(job, content.spec), *filter(None, (shape, lost(before.classes, dataset.classes)))]
        if problems:
            raise ConfigurationError(problems[0].detail)
        if not before.class_digests:
            raise ConfigurationError(NO_DIGESTS)
        digest = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
        parent = cls(content, digest, replace(dataset, mean=before.mean, std=before.std))
        if not parent.made:
            raise ConfigurationError(NOTHING_TO_DO)
        return parent

    @cached_property
    def places(self) -> tuple[int | None, ...]:
        """Of each class of the dataset its label in the bundle, where its images stay; ``None`` where they are made."""
        before = self.content.dataset
        known = dict(zip(before.classes, before.class_digests, strict=True))
        now = zip(self.dataset.classes, self.dataset.class_digests, strict=True)
        return tuple(before.classes.index(name) if known.get(name) == found else None for name, found in now)

    @property
    def made(self) -> tuple[int, ...]:
        """Labels of the classes that are made."""
        return tuple(label for label, place in enumerate(self.places) if place is None)

    def in_words(self) -> str:
        """How many classes stay, and which are made."""
        classes, made = len(self.places), [self.dataset.classes[label] for label in self.made]
        named = ", ".join(f"'{name}'" for name in made[:10]) + (", …" if len(made) > 10 else "")
        return (
            f"the images of {classes - len(made)} of {classes} classes are kept, and {len(made)} are distilled: {named}"
        )

    def joined(self, made: Tensor, kept: Tensor) -> Tensor:
        """Rows of all classes, ordered by class.

        Args:
            made: (M * n, ...) of the classes that are made, or of all (C * n, ...), ordered by class.
            kept: (B * n, ...) of the classes of the bundle, ordered by class, on the CPU.

        Returns:
            (C * n, ...) on the device of ``made``; what is kept has the same bytes.
        """
        rows = len(kept) // len(self.content.dataset.classes)
        each = made.unflatten(0, (-1, rows))
        number = {label: index for index, label in enumerate(self._labels(len(each)))}
        before = kept.unflatten(0, (-1, rows)).to(made.device)
        parts = [each[number[c]] if place is None else before[place] for c, place in enumerate(self.places)]
        return torch.cat(parts)

    def _labels(self, count: int) -> Sequence[int]:
        """Which classes so many are."""
        return self.made if count == len(self.made) else range(len(self.places))

    def lineage(self, job: JobSpec) -> Lineage:
        """What the results say of the bundle."""
        names, before = self.dataset.classes, self.content.dataset
        made = [names[label] for label in self.made]
        scored = self.content.results.accuracy
        alike = job.evaluation == self.content.spec.evaluation and job.network == self.content.spec.network
        return Lineage(
            job=job.extends,
            bundle=self.digest,
            dataset=before.name,
            kept=tuple(name for name in names if name not in made),
            changed=tuple(name for name in made if name in before.classes),
            new=tuple(name for name in made if name not in before.classes),
            accuracy=scored,
            same_evaluation=None if scored is None or not job.evaluation.repeats else alike,
        )


@dataclass(frozen=True, eq=False)
class Grown:
    """All images of a set of which some are being learned, as those that read it see it.

    Attributes:
        parent: what stays.
        images: (M * n, channels, H, W) float32, those that are learned, in normalised units; or of all classes.
    """

    parent: Parent
    images: Tensor

    @property
    def classes(self) -> int:
        """How many there are."""
        return len(self.parent.places)

    def finished(self) -> tuple[Tensor, Tensor]:
        """Images (C * n, channels, H, W) in normalised units and labels (C * n,)."""
        dataset = self.parent.dataset
        pixels = self.parent.joined(dataset.denormalize(self.images), self.parent.content.images)
        labels = torch.arange(self.classes, device=pixels.device).repeat_interleave(len(pixels) // self.classes)
        return dataset.normalize(pixels), labels


def extended(job: JobSpec, folder: Path | None, dataset: Dataset) -> Parent | None:
    """The bundle that a job extends, if it does.

    Args:
        job: what is asked for.
        folder: of the bundle's files.
        dataset: what the job distils.

    Raises:
        DataError: the bundle is damaged.
        ConfigurationError: it is not here, or cannot be extended so.
    """
    if folder is not None:
        mixed = classes_mixed(job)
        if mixed:
            raise ConfigurationError(mixed[0].detail)
        return Parent.of(folder, job, dataset)
    if job.extends is None:
        return None
    raise ConfigurationError(
        f"`extends` names {job.extends}, a job of a service, whose bundle is not here; fetch it "
        f"(`ddctl get {job.extends} -o DIR`) and give its folder (`parent`, or `ddctl run --extends DIR`)"
    )
