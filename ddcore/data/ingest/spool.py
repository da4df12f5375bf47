"""Decoded images on disk while a set is taken in: of one size, in blocks, never all in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ddcore.data.image_files import Pixels

_BLOCK = 16 * 1024 * 1024


class Spool:
    """An array of images in a ``.npy`` file that grows at its end.

    Grey images become three equal channels once a coloured one comes.

    Args:
        path: the file; it is made with the first images.

    Attributes:
        altered: whether images in it are not those that were appended: more channels, other values, or some left out.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.altered = False
        self._file: BinaryIO | None = None
        self._count = 0
        self._image: tuple[int, ...] = ()
        self._dtype: np.dtype[Any] = np.dtype(np.uint8)

    def __len__(self) -> int:
        return self._count

    @property
    def channels(self) -> int:
        """Of the images so far; 0 where there are none."""
        return self._image[0] if self._image else 0

    def append(self, images: Pixels) -> None:
        """Add images (n, C, H, W) of the size and type of those before them, with 1 or 3 channels."""
        if self._file is None:
            self._image, self._dtype = images.shape[1:], images.dtype
            self._file = self.path.open("w+b")
            self._write_head(self._file)
        if images.shape[1] > self.channels:
            self.widen(images.shape[1])
        elif images.shape[1] < self.channels:
            images = images.repeat(self.channels, axis=1)
            self.altered = True
        self._file.write(np.ascontiguousarray(images).data)
        self._count += len(images)

    def widen(self, channels: int) -> None:
        """Repeat grey images so that they have as many channels as coloured ones."""
        if self._file is not None and self.channels == 1 < channels:
            self.rewrite(lambda block, _: block.repeat(channels, axis=1))

    def rewrite(self, change: Callable[[Pixels, int], Pixels]) -> None:
        """Change the images in blocks; ``change`` gets a block and the number of its first image, and leaves some."""
        self.altered = True
        changed = Spool(self.path.with_name(self.path.name + ".new"))
        for start, block in self.blocks():
            images = change(block, start)
            if len(images):
                changed.append(images)
        if self._file is None or changed._file is None:
            return
        self._file.close()
        changed.path.replace(self.path)
        self._file, self._image, self._dtype, self._count = (
            changed._file,
            changed._image,
            changed._dtype,
            changed._count,
        )

    def blocks(self) -> Iterator[tuple[int, Pixels]]:
        """The images in blocks, each with the number of its first one."""
        if self._file is None:
            return
        self._file.flush()
        with self.path.open("rb") as file:
            np.lib.format.read_magic(file)
            np.lib.format.read_array_header_1_0(file)
            size = int(np.prod(self._image)) * self._dtype.itemsize
            at_once = max(1, _BLOCK // size)
            for start in range(0, self._count, at_once):
                count = min(at_once, self._count - start)
                block: Pixels = np.empty((count, *self._image), dtype=self._dtype)
                file.readinto(block.data.cast("B"))
                yield start, block

    def save(self) -> None:
        """Leave a whole ``.npy`` file, that more images can still be added to."""
        if self._file is not None:
            end = self._file.tell()
            self._file.seek(0)
            self._write_head(self._file)
            self._file.seek(end)
            self._file.flush()

    def sync(self) -> None:
        """Return when all that was saved is safe on disk."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()

    def _write_head(self, file: BinaryIO) -> None:
        # numpy leaves room in the head for the first number to grow, so that a later one has the same length.
        shape = (self._count, *self._image)
        head = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, head)
