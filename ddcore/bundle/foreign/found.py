"""What a file of others holds, before anybody asks whether it fits a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ddcore.errors import DataError

IMAGES = ("images", "image", "imgs", "img", "x", "data", "train_images", "x_train", "image_syn", "images_syn")
"""Usual names of arrays of images, the first that is there is taken."""
LABELS = ("labels", "label", "y", "targets", "target", "train_labels", "y_train", "label_syn", "labels_syn")
"""Usual names of arrays of labels, likewise."""
SOFT_LABELS = ("soft_labels", "soft_label", "logits")
"""Usual names of arrays of a label for each class and image, likewise."""

_SHOWN = 12


@dataclass(frozen=True, eq=False)
class Found:
    """Images and labels as they are stored.

    Attributes:
        layout: what kind of file it is, in words.
        images: any shape and type.
        labels: likewise; ``None`` where there are none.
        soft_labels: likewise, where they lie beside labels.
        names: what the labels are places in; ``None`` where the labels are those of the dataset.
        remarks: what the user should know of how the file was understood.
    """

    layout: str
    images: Tensor
    labels: Tensor | None = None
    soft_labels: Tensor | None = None
    names: tuple[str, ...] | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Names:
    """Which arrays of a file are what.

    Attributes:
        images: name of the images.
        labels: name of the labels, if there are any.
        soft_labels: name of those for each class, if there are any.
        others: names of what is left out.
    """

    images: str
    labels: str | None
    soft_labels: str | None
    others: tuple[str, ...]

    @property
    def remarks(self) -> tuple[str, ...]:
        """Which arrays were taken, in words."""
        taken = [f"`{name}`" for name in (self.images, self.labels, self.soft_labels) if name is not None]
        left = f"; left out {_listed(self.others)}" if self.others else ""
        return (f"taken are {' and '.join(taken)}{left}",)

    @classmethod
    def among(cls, file: str, present: tuple[str, ...]) -> Names:
        """Find images and labels by their usual names, in either case.

        Args:
            file: what the user calls it.
            present: names of all arrays.

        Raises:
            DataError: none has a usual name for images.

        >>> Names.among("set.npz", ("X", "y", "mean"))
        Names(images='X', labels='y', soft_labels=None, others=('mean',))
        """
        known = {name.lower(): name for name in reversed(present)}
        images, labels, soft_labels = (_first(names, known) for names in (IMAGES, LABELS, SOFT_LABELS))
        if images is None:
            raise DataError(
                f"{file} holds no images under a usual name ({', '.join(IMAGES)}); present: "
                f"{_listed(present) or 'nothing'}. Store the images as `images` and their labels as `labels`"
            )
        taken = (images, labels, soft_labels)
        return cls(images, labels, soft_labels, tuple(name for name in present if name not in taken))


def _first(names: tuple[str, ...], known: Mapping[str, str]) -> str | None:
    return next((known[name] for name in names if name in known), None)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")
