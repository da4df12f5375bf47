"""One list of classes for all files of a set, matched by name wherever the files give names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ddcore.data.source import UNLABELLED, Part
from ddcore.errors import DataError

_SHOWN = 10
_FEW = 20
"""Training images from which on a label for each of them is taken for a mistake."""


@dataclass(frozen=True)
class Agreement:
    """The classes of a set.

    Attributes:
        classes: their names, in the order of the numbers.
        numbers: for each part, the class of each image; ``UNLABELLED`` where it has none.
        remarks: what the user should know of how labels were understood.
    """

    classes: tuple[str, ...]
    numbers: tuple[NDArray[np.int64], ...]
    remarks: tuple[str, ...] = ()


def agree(
    train: Sequence[Part],
    others: Sequence[Part],
    known: Sequence[str] | None = None,
    *,
    drop_empty: bool = False,
) -> Agreement:
    """Find the classes of the training images, and number the labels of all parts by them.

    Args:
        train: parts that are learned from, before and after a cut.
        others: parts that only score.
        known: names of the classes, where the set has a name that gives them and its files give none.
        drop_empty: whether classes that files list but no image has are left out.

    Returns:
        Numbers for ``train`` and then ``others``.

    Raises:
        DataError: files contradict each other, or labels tell no classes apart.
    """
    parts = (*train, *others)
    labelled = [part for part in parts if (part.labels.numbers >= 0).any()]
    named = [part for part in labelled if part.labels.names is not None]
    if not any((part.labels.numbers >= 0).any() for part in train):
        raise DataError("no training image has a label; every image needs one")
    if not named:
        classes, numbers, remarks = _numbered(train, parts, known)
    else:
        bare = next((part for part in labelled if part.labels.names is None), None)
        if bare is not None:
            raise DataError(
                f"{bare.name} numbers its classes without naming them, but {named[0].name} names them "
                f"({_listed(named[0].labels.names or ())}), so that nobody can tell whether both mean the same; write "
                "both alike"
            )
        classes = _union(train)
        numbers = tuple(_renumbered(part, train[0], classes) for part in parts)
        remarks = ()
    found = Agreement(classes, numbers, remarks)
    if drop_empty:
        found = _without_empty(found)
    way = "add images, or leave out classes that no image has with `drop_empty_classes` (--drop-empty-classes)"
    check_counts(found.classes, np.concatenate(found.numbers[: len(train)]), way)
    return found


def _without_empty(found: Agreement) -> Agreement:
    """The same without classes that no image has; one that only test images have stays, and is refused."""
    used = np.unique(np.concatenate(found.numbers))
    kept = used[used >= 0]
    empty = [name for number, name in enumerate(found.classes) if number not in set(kept.tolist())]
    if not empty:
        return found
    numbers = tuple(np.where(own < 0, UNLABELLED, np.searchsorted(kept, own)) for own in found.numbers)
    remark = f"{len(empty)} of {len(found.classes)} classes have no image and were left out ({_listed(empty)})"
    return Agreement(tuple(found.classes[number] for number in kept), numbers, (*found.remarks, remark))


def _union(train: Sequence[Part]) -> tuple[str, ...]:
    """Names of all training files: lists that files give in their order, then names that merely occur, sorted."""
    declared, occurring = dict[str, None](), set[str]()
    for part in train:
        names = part.labels.names or ()
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(f"{part.name} gives two classes the name '{twice}'; names must tell classes apart")
        if part.labels.declared:
            declared |= dict.fromkeys(names)
        else:
            occurring |= set(names)
    return (*declared, *sorted(occurring - declared.keys()))


def _renumbered(part: Part, first: Part, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """Labels of a part by the numbers that their names have in the whole set."""
    names, own = part.labels.names or (), part.labels.numbers
    outside = own >= len(names)
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise DataError(
            f"{part.place(row)}: label {own[row]} is outside 0 to {len(names) - 1} ({len(names)} classes); "
            f"{int(outside.sum())} such rows"
        )
    used = np.unique(own[own >= 0])
    strange = [names[number] for number in used if names[number] not in set(classes)]
    if strange or len(set(names)) < len(names):
        raise DataError(
            f"{part.name} has other classes ({_listed(names)}) than {first.name} ({_listed(classes)}); the files of a "
            "set must agree in the names of their classes, and every class needs images to learn from"
        )
    place = {name: number for number, name in enumerate(classes)}
    numbers = np.array([place.get(name, UNLABELLED) for name in names] + [UNLABELLED], dtype=np.int64)
    return numbers[np.where(own < 0, len(names), own)]


def _numbered(
    train: Sequence[Part], parts: Sequence[Part], known: Sequence[str] | None
) -> tuple[tuple[str, ...], tuple[NDArray[np.int64], ...], tuple[str, ...]]:
    """Classes of a set that only numbers them: known names where the numbers fit them, else the numbers."""
    labels = np.concatenate([part.labels.numbers for part in train])
    used = np.unique(labels[labels >= 0])
    if len(used) == int((labels >= 0).sum()) > _FEW:
        raise DataError(
            f"each of {len(used)} training images has a label of its own ({_listed(used)}), so they name images rather "
            "than classes; name the column of the classes with `label_column`"
        )
    remarks: tuple[str, ...] = ()
    counted = bool((used == np.arange(len(used))).all())
    if known is not None and counted and len(known) == len(used):
        classes = tuple(known)
    else:
        classes = tuple(str(number) for number in used)
        if not counted:
            remarks = (f"labels are {_listed(used)}; they are taken for the names of {len(used)} classes",)
    numbers = []
    for part in parts:
        own = part.labels.numbers
        strange = (own >= 0) & ~np.isin(own, used)
        if strange.any():
            row = int(np.flatnonzero(strange)[0])
            raise DataError(
                f"{part.place(row)}: label {own[row]} is none of the {len(used)} classes of the training images "
                f"({_listed(used)}); {int(strange.sum())} such rows"
            )
        numbers.append(np.where(own < 0, UNLABELLED, np.searchsorted(used, own)))
    return classes, tuple(numbers), remarks


def check_counts(classes: Sequence[str], train: NDArray[np.int64], way: str = "add images or drop the class") -> None:
    """Refuse a set with a single class, or a class without an image to learn from.

    Args:
        classes: names of the classes.
        train: (N,), the class of each training image, or ``UNLABELLED``.
        way: what the user can do about a class without one.

    Raises:
        DataError: naming the classes.
    """
    counts = np.bincount(train[train >= 0], minlength=len(classes))
    present = [name for name, count in zip(classes, counts, strict=True) if count]
    if len(present) < 2:
        raise DataError(
            f"all {int(counts.sum())} training images are of class '{present[0]}'; at least 2 classes are needed"
        )
    absent = [f"{number} ('{name}')" for number, name in enumerate(classes) if not counts[number]]
    if absent:
        raise DataError(
            f"{len(absent)} of {len(classes)} classes have no training image: {', '.join(absent[:5])}"
            f"{' …' if len(absent) > 5 else ''}; {way}"
        )


def _listed(names: Sequence[object] | NDArray[np.int64]) -> str:
    return ", ".join(str(name) for name in names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")
