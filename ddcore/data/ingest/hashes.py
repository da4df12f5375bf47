"""Two hashes of an image, by which equal images and near copies are found; needs no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_DOWN, _ACROSS = 8, 9
"""Fields that an image is divided into for its rough hash."""


@dataclass(frozen=True)
class Keys:
    """Two hashes of each image: one of its pixels, and one that survives small changes (a difference hash, dHash)."""

    exact: NDArray[np.uint64]
    rough: NDArray[np.uint64]

    @classmethod
    def of_block(cls, images: NDArray[np.uint8]) -> Keys:
        """Of a few images (n, C, H, W)."""
        return cls(_exact_hashes(images), _difference_hashes(images))

    @classmethod
    def joined(cls, blocks: Sequence[Keys]) -> Keys:
        """Of blocks that follow each other, at least one."""
        return cls(np.concatenate([block.exact for block in blocks]), np.concatenate([block.rough for block in blocks]))

    def __getitem__(self, chosen: NDArray[np.bool_]) -> Keys:
        return Keys(self.exact[chosen], self.rough[chosen])


def _exact_hashes(images: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """64 bits tell two of a million images apart but for odds of one in 40 million."""
    hashes = (hashlib.sha256(np.ascontiguousarray(image).data).digest()[:8] for image in images)
    return np.frombuffer(b"".join(hashes), dtype="<u8")


def _difference_hashes(images: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Whether brightness rises from each of 8 x 9 fields of an image to the next one on its right."""
    grey = images.sum(axis=1, dtype=np.float32)
    count, height, width = grey.shape
    down, across = _members(height, _DOWN), _members(width, _ACROSS)
    columns = (grey.reshape(count * height, width) @ across).reshape(count, height, _ACROSS)
    # Divided, not multiplied by a reciprocal: fields of one brightness then agree exactly, whatever their sizes.
    fields = np.matmul(down.T, columns) / np.outer(down.sum(axis=0), across.sum(axis=0))
    rises = (fields[:, :, 1:] > fields[:, :, :-1]).reshape(count, _DOWN * (_ACROSS - 1))
    hashes: NDArray[np.uint64] = np.packbits(rises, axis=1).view("<u8")[:, 0]
    return hashes


def _members(length: int, fields: int) -> NDArray[np.float32]:
    """Which of so many pixels in a row lie in which field, (length, fields): 1 or 0; fields overlap where they must."""
    field = np.arange(fields)
    first, end = field * length // fields, -(-(field + 1) * length // fields)
    pixel = np.arange(length)[:, None]
    return ((pixel >= first) & (pixel < end)).astype(np.float32)
