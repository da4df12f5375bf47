"""Which images are learned from and which only score: the splits that files give, or a cut."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ddcore.data.source import Part
from ddcore.errors import DataError
from ddcore.spec.ingest import IngestOptions


@dataclass(frozen=True)
class Division:
    """The parts of a set by what they are for.

    Attributes:
        train: learned from; a cut takes the test images out of them where ``test`` is empty.
        test: only score.
        remarks: what the user should know.
    """

    train: tuple[Part, ...]
    test: tuple[Part, ...]
    remarks: tuple[str, ...] = ()

    @property
    def is_cut(self) -> bool:
        """Whether test images have yet to be taken out of the training images."""
        return not self.test


def divide(parts: Sequence[Part], options: IngestOptions) -> Division:
    """Sort the parts of a set by what they are for.

    A test split without a single label, as many contests publish it, counts as none where unlabelled images may be left
    out.

    Raises:
        DataError: there is nothing to learn from, or only some files name their split.
    """
    by_split = {split: tuple(p for p in parts if p.split == split) for split in ("train", "test", "validation", None)}
    train, test, validation, unnamed = by_split.values()
    remarks: list[str] = []
    if test and options.drop_unlabelled and not any((part.labels.numbers >= 0).any() for part in test):
        remarks.append(f"none of the {_count(test)} test images has a label, so they were left out")
        test = ()
    if unnamed and (train or test or validation):
        raise DataError(
            f"{unnamed[0].name} is named after no split, but {next(p for p in parts if p.split).name} is; "
            "name the rest after theirs (train, test or validation), or leave it out"
        )
    if not (train or unnamed):
        given = " and ".join(name for name, found in (("test", test), ("validation", validation)) if found)
        raise DataError(f"there are only {given} images and none to learn from; call the split to learn from `train`")
    if not validation:
        return Division(train or unnamed, test, tuple(remarks))
    count = f"{_count(validation)} validation images"
    if options.validation == "join":
        return Division((*train, *validation), test, (*remarks, f"{count} were joined to the training images"))
    if options.validation == "auto" and not test:
        return Division(train, validation, (*remarks, f"there is no test split, so {count} score"))
    return Division(train, test, (*remarks, f"{count} were left out"))


def cut(
    labels: NDArray[np.int64], classes: Sequence[str], groups: Sequence[str] | None, options: IngestOptions
) -> tuple[NDArray[np.bool_], str]:
    """Choose test images, the same share of each class.

    Where nothing must stay together, which images of a class test depends on that class alone, so that a set that gains
    a class keeps the training images of the others.

    Args:
        labels: (N,), the class of each image.
        classes: names of the classes, in the order of the labels.
        groups: of each image, what must not be parted.
        options: the share and the seed.

    Returns:
        (N,), whether an image tests; and a sentence on the cut.

    Raises:
        DataError: a class is too small to give any image away.
    """
    share, seed = options.test_split, options.seed
    chosen = np.zeros(len(labels), dtype=np.bool_)
    if groups is None:
        counts = np.bincount(labels)
        if counts.min() < 2:
            raise DataError(
                f"a class has a single image, so none can be set aside for scoring; add images, or a folder or file "
                f"named test with images of its own ({int((counts < 2).sum())} such classes)"
            )
        # scikit-learn's stratified cut can take all of a small class; each of ours gives one image and keeps one.
        sizes = np.rint(share * counts).astype(np.int64).clip(1, counts - 1)
        rows = np.concatenate(
            [
                _generator(seed, classes[number]).permutation(np.flatnonzero(labels == number))[:size]
                for number, size in enumerate(sizes)
            ]
        )
    else:
        folds = max(2, round(1 / share))
        if len(set(groups)) < folds:
            raise DataError(
                f"there are {len(set(groups))} groups, too few to set a share of {share:g} aside without parting one; "
                "choose a larger `test_split`"
            )
        from sklearn.model_selection import StratifiedGroupKFold

        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        _, rows = next(splitter.split(labels, labels, np.asarray(groups)))
    chosen[rows] = True
    together = "" if groups is None else ", no group in both"
    return chosen, (
        f"there is no test split, so {len(rows)} of {len(labels)} images were set aside for scoring "
        f"(test_split {share:g}, seed {seed}{together})"
    )


def _generator(seed: int, name: str) -> np.random.Generator:
    """The source of the draw in a class, by its name."""
    return np.random.default_rng([seed, int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])])


def _count(parts: Sequence[Part]) -> int:
    return sum(len(part) for part in parts)
