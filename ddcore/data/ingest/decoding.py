"""Images of a part, decoded by several threads and given in their order."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from ddcore.data import image_files
from ddcore.data.image_files import Fit, Picture, Pixels
from ddcore.data.ingest.examination import Keys
from ddcore.data.source import Part, RawImage

_IMAGES_A_TASK = 128
_BYTES_A_TASK = 4 * 1024 * 1024
_HASHED_BELOW = 1 << 16
"""Numbers of an image that is hashed where it is decoded."""
_TASKS_AHEAD = 2
"""Tasks that wait for each thread: enough to keep it busy, few enough to hold little in memory."""

Size = tuple[int, int]
"""(width, height)."""


@dataclass
class Decoded:
    """Some consecutive images of a part.

    Attributes:
        rows: int64 (n,), places in the part of those that could be decoded and are wanted.
        pixels: of these, (n, C, H, W); nothing where they differ in size, or only heads were read.
        keys: their hashes, made here because other threads are then decoding; only of small images of 8 bits.
        kinds: types of their pixels, with the first place of each.
        see_through: bool (n,), which were partly transparent.
        sizes: (width, height) as they are stored, by place.
        modes: how many have which kind of pixels.
        unreadable: what is wrong with the others, by place.
    """

    rows: NDArray[np.int64]
    pixels: Pixels | None
    keys: Keys | None
    kinds: dict[str, int]
    see_through: NDArray[np.bool_]
    sizes: dict[int, Size]
    modes: Counter[str]
    unreadable: dict[int, str]


class Decoder:
    """Decodes parts; ``measure_only`` may be set on the way, and only heads are read from there on.

    Args:
        fit: the size that images are brought to; as they are stored where there is none.
    """

    def __init__(self, fit: Fit | None) -> None:
        self.measure_only = False
        self._fit = fit
        self._images_a_task = 1
        self._threads = os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self._threads)

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def decode(self, part: Part, wanted: NDArray[np.bool_]) -> Iterator[Decoded]:
        """Images of a part, in their order.

        Args:
            part: where they lie.
            wanted: (N,), which of them to decode.
        """
        waiting: deque[Future[Decoded]] = deque()
        first = 0
        for batch in part.images():
            start = 0
            while start < len(batch):
                piece = batch[start : start + self._images_a_task]
                place = first + start
                waiting.append(self._pool.submit(self._piece, place, piece, wanted[place : place + len(piece)]))
                start += len(piece)
                if len(waiting) > _TASKS_AHEAD * self._threads:
                    yield self._done(waiting.popleft())
            first += len(batch)
        while waiting:
            yield self._done(waiting.popleft())

    def _done(self, task: Future[Decoded]) -> Decoded:
        """What a task has decoded; tasks hold fewer images where these are large."""
        decoded = task.result()
        if decoded.pixels is not None and len(decoded.pixels):
            self._images_a_task = max(1, min(_IMAGES_A_TASK, _BYTES_A_TASK // decoded.pixels[0].nbytes))
        return decoded

    def _piece(self, first: int, images: Sequence[RawImage], wanted: NDArray[np.bool_]) -> Decoded:
        pictures: dict[int, Picture] = {}
        sizes: dict[int, Size] = {}
        unreadable: dict[int, str] = {}
        for place, (image, is_wanted) in enumerate(zip(images, wanted.tolist(), strict=True), start=first):
            if not is_wanted:
                continue
            try:
                if self.measure_only and isinstance(image, bytes | str | Path):
                    sizes[place] = image_files.measure(image)
                else:
                    pictures[place] = picture = self._picture(image)
                    sizes[place] = picture.size
            except ValueError as error:
                unreadable[place] = str(error)
        kinds: dict[str, int] = {}
        for place, picture in pictures.items():
            kinds.setdefault(picture.pixels.dtype.name, place)
        pixels = stacked(list(pictures.values()))
        return Decoded(
            np.fromiter(pictures, dtype=np.int64),
            pixels,
            _keys_of(pixels),
            kinds,
            np.fromiter((picture.see_through for picture in pictures.values()), dtype=np.bool_),
            sizes,
            Counter(picture.mode for picture in pictures.values()),
            unreadable,
        )

    def _picture(self, image: RawImage) -> Picture:
        if image is None:
            raise ValueError("no image bytes; images must lie in the file, or beside it where its path says")
        if isinstance(image, np.ndarray):
            return image_files.of_array(image, self._fit)
        return image_files.decode(image, self._fit)


def _keys_of(pixels: Pixels | None) -> Keys | None:
    """Hashes of small images; large ones need more memory for it than several threads should take at once."""
    if pixels is None or pixels.dtype != np.uint8 or pixels[0].size > _HASHED_BELOW:
        return None
    return Keys.of_block(torch.from_numpy(pixels))


def stacked(pictures: Sequence[Picture]) -> Pixels | None:
    """Pictures as an array (n, C, H, W); grey ones beside coloured ones get three channels.

    Returns:
        Nothing where there are none, or they differ in size or type.
    """
    if len({(picture.pixels.shape[1:], picture.pixels.dtype) for picture in pictures}) != 1:
        return None
    channels = max(len(picture.pixels) for picture in pictures)
    if channels == 1 or any(len(picture.pixels) < channels for picture in pictures):
        pixels = np.stack([picture.pixels.repeat(channels // len(picture.pixels), axis=0) for picture in pictures])
    else:
        # Decoders give channels last: copied so, and turned all at once, they need a fraction of the time.
        last = np.stack([picture.pixels.transpose(1, 2, 0) for picture in pictures])
        pixels = np.ascontiguousarray(last.transpose(0, 3, 1, 2))
    return cast("Pixels", pixels)
