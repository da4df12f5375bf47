"""What has to be known of a dataset to tell whether a set stands for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Likeness(Protocol):
    """A dataset as far as the shape of a set of it goes; every :class:`~ddcore.data.dataset.Dataset` is one."""

    @property
    def name(self) -> str:
        """What users call it."""
        ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of its images."""
        ...

    @property
    def classes(self) -> Sequence[str]:
        """Their names, in the order of the labels."""
        ...

    @property
    def class_counts(self) -> Sequence[int]:
        """Training images of each."""
        ...


@dataclass(frozen=True)
class Outline:
    """The same without the images, for a process that is not to have them; see :class:`Likeness`."""

    name: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    class_counts: tuple[int, ...]

    @classmethod
    def of(cls, dataset: Likeness) -> Outline:
        """That of a dataset."""
        return cls(dataset.name, dataset.shape, tuple(dataset.classes), tuple(dataset.class_counts))
