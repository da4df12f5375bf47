"""What is looked at in every dataset of a user's own, however it was stored."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import torch

from ddcore.data.dataset import ImageSet
from ddcore.errors import DataError


def inspected(train: ImageSet, test: ImageSet) -> tuple[ImageSet, ImageSet]:
    """Both splits, with remarks on what makes a score doubtful.

    Raises:
        DataError: all training images are equal, so that there is nothing to learn.
    """
    if all(torch.equal(image, train.images[0]) for image in train.images):
        raise DataError(
            f"all {len(train)} training images are equal, pixel by pixel, so there is nothing to learn; "
            "look at how they were stored"
        )
    remarks = [*_untested(train, test), *_repeated(train, test)]
    return replace(train, remarks=(*train.remarks, *remarks)), test


def _untested(train: ImageSet, test: ImageSet) -> list[str]:
    counts = torch.bincount(test.labels, minlength=len(train.classes)).tolist()
    absent = [f"'{name}'" for name, count in zip(train.classes, counts, strict=True) if not count]
    if not absent:
        return []
    shown = ", ".join(absent[:5]) + (" …" if len(absent) > 5 else "")
    return [f"{len(absent)} of {len(train.classes)} classes have no test image ({shown}), so no score speaks of them"]


def _repeated(train: ImageSet, test: ImageSet) -> list[str]:
    """Test images that are training images too, and equal images of different classes."""
    labels: dict[bytes, set[int]] = {}
    for key, label in zip(_keys(train), train.labels.tolist(), strict=True):
        labels.setdefault(key, set()).add(label)
    leaked = 0
    for key, label in zip(_keys(test), test.labels.tolist(), strict=True):
        if key in labels:
            leaked += 1
            labels[key].add(label)
    contradictory = sum(len(of_image) > 1 for of_image in labels.values())
    remarks = []
    if leaked:
        remarks.append(f"{leaked} of {len(test)} test images are training images too, which flatters every score")
    if contradictory:
        remarks.append(f"{contradictory} images occur with more than one label")
    return remarks


def _keys(split: ImageSet) -> list[bytes]:
    return [hashlib.blake2b(image.numpy().tobytes(), digest_size=16).digest() for image in split.images]
