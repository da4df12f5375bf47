"""What is looked at in every set of a user's own, however it was stored: equal images, leaks, empty classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ddcore.data.dataset import ImageSet
from ddcore.data.ingest.hashes import Keys
from ddcore.errors import DataError
from ddcore.spec.ingest import Duplicates

_BLOCK = 4 * 1024 * 1024
_NEAR = 0.03
"""Mean squared difference of two images, as a share of the variance of one, up to which it is taken for a copy of the
other: about what a second compression as JPEG, of quality 70, changes. The variance makes digits on black as hard to
confuse as photographs."""
_BITS = 4
"""Bits of 64 in which the rough hashes of near copies may differ."""
_NEIGHBOURS = 8
_EXAMPLES = 20


def keys_of(images: Tensor) -> Keys:
    """Hash every image, a block at a time.

    Args:
        images: uint8 (N, C, H, W).
    """
    with ThreadPoolExecutor(2) as pool:
        return Keys.joined(list(pool.map(Keys.of_block, _blocks(images.numpy()))))


def _blocks(images: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    at_once = max(1, _BLOCK // max(1, images[0].size)) if len(images) else 1
    for start in range(0, len(images), at_once):
        yield images[start : start + at_once]


def leaks(train: Keys, test: Keys) -> NDArray[np.bool_]:
    """Which test images are training images too, pixel by pixel."""
    found: NDArray[np.bool_] = np.isin(test.exact, train.exact)
    return found


def duplicates(train: ImageSet, test: ImageSet, keys: tuple[Keys, Keys], place: Callable[[int], str]) -> Duplicates:
    """Count images that occur more than once.

    Args:
        train: images to learn from.
        test: images that score.
        keys: of both.
        place: says where an image lies, by its number counted through both splits.
    """
    labels = np.concatenate([train.labels.numpy(), test.labels.numpy()])
    exact = np.concatenate([keys[0].exact, keys[1].exact])
    _, occurrences = np.unique(_distinct(exact, labels), return_counts=True)
    near = _near_pairs(train, test, keys)
    learned = len(train)
    same = labels[near[0]] == labels[near[1]]
    both_learned, across = near[1] < learned, (near[0] < learned) & (near[1] >= learned)
    return Duplicates(
        within_classes=learned - len(_distinct(keys[0].exact, train.labels.numpy())),
        contradictory=int((occurrences > 1).sum()),
        leaked=int(leaks(*keys).sum()),
        near_within_classes=len(np.unique(near[1][both_learned & same])),
        near_contradictory=len(np.unique(near[1][both_learned & ~same])),
        near_leaked=len(np.unique(near[1][across])),
        examples=[(place(first), place(second)) for first, second in near.T[:_EXAMPLES].tolist()],
    )


def _distinct(hashes: NDArray[np.uint64], labels: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Each image once for each label that it occurs with, by its hash."""
    order = np.lexsort((labels, hashes))
    image, label = hashes[order], labels[order]
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = (image[1:] != image[:-1]) | (label[1:] != label[:-1])
    return image[first]


def _near_pairs(train: ImageSet, test: ImageSet, keys: tuple[Keys, Keys]) -> NDArray[np.int64]:
    """Pairs (2, P) of different images that nearly agree, by their numbers in both splits, the smaller first.

    Rough hashes that differ in a few bits share a long run of them, so that they are neighbours once all are sorted
    from the bit where the run begins: each image is compared with a few neighbours in four such orders. More would not
    do where plain images (digits on black) agree by the thousand.
    """
    rough = np.concatenate([keys[0].rough, keys[1].rough])
    exact = np.concatenate([keys[0].exact, keys[1].exact])
    pairs = [np.zeros((2, 0), dtype=np.int64)]
    for turn in range(0, 64, 16):
        order = np.argsort(np.bitwise_or(rough << np.uint64(turn), rough >> np.uint64(-turn % 64)), kind="stable")
        for lag in range(1, min(_NEIGHBOURS, len(order) - 1) + 1):
            first, second = order[:-lag], order[lag:]
            alike = (np.bitwise_count(rough[first] ^ rough[second]) <= _BITS) & (exact[first] != exact[second])
            pairs.append(np.sort(np.stack([first[alike], second[alike]]), axis=0))
    candidates = np.unique(np.concatenate(pairs, axis=1), axis=1)
    return candidates[:, _differences(train, test, candidates) <= _NEAR]


def _differences(train: ImageSet, test: ImageSet, pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean squared difference of each pair, as a share of the variance of its first image."""
    found = np.empty(pairs.shape[1])
    at_once = max(1, _BLOCK // (4 * train.images[0].numel()))
    for start in range(0, pairs.shape[1], at_once):
        first, second = (_rows(train, test, rows).flatten(1) for rows in pairs[:, start : start + at_once])
        spread = first.var(dim=1, correction=0).clamp(min=1.0)
        found[start : start + at_once] = ((first - second).square().mean(dim=1) / spread).numpy()
    return found


def _rows(train: ImageSet, test: ImageSet, rows: NDArray[np.int64]) -> Tensor:
    """Images of both splits by their numbers, as float32."""
    images = torch.empty((len(rows), *train.shape))
    learned = rows < len(train)
    images[torch.from_numpy(learned)] = train.images[torch.from_numpy(rows[learned])].float()
    images[torch.from_numpy(~learned)] = test.images[torch.from_numpy(rows[~learned] - len(train))].float()
    return images


def check_differ(train: ImageSet, keys: Keys) -> None:
    """Refuse a set whose training images are all equal.

    Raises:
        DataError: they are.
    """
    if (keys.exact == keys.exact[0]).all():
        raise DataError(
            f"all {len(train)} training images are equal, pixel by pixel, so there is nothing to learn; "
            "look at how they were stored"
        )


def remarks(train: ImageSet, test: ImageSet, found: Duplicates) -> list[str]:
    """What makes a score doubtful, in sentences."""
    return [*_untested(train, test), *_repeated(test, found)]


def _untested(train: ImageSet, test: ImageSet) -> Iterator[str]:
    absent = [f"'{name}'" for name, count in zip(train.classes, test.class_counts, strict=True) if not count]
    if absent:
        shown = ", ".join(absent[:5]) + (" …" if len(absent) > 5 else "")
        yield f"{len(absent)} of {len(train.classes)} classes have no test image ({shown}), so no score speaks of them"


def _repeated(test: ImageSet, found: Duplicates) -> Iterator[str]:
    if found.leaked:
        yield f"{found.leaked} of {len(test)} test images are training images too, which flatters every score"
    if found.near_leaked:
        yield f"{found.near_leaked} of {len(test)} test images nearly equal a training image"
    if found.contradictory:
        yield f"{found.contradictory} images occur with more than one label"
