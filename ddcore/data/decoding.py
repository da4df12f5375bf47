"""Images of a part, decoded by several threads and given in their order."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ddcore.data import image_files
from ddcore.data.image_files import Fit, Picture, Pixels
from ddcore.data.source import Part, RawImage

_IMAGES_A_TASK = 128
_BYTES_A_TASK = 4 * 1024 * 1024
_TASKS_AHEAD = 2
"""Tasks that wait for each thread: enough to keep it busy, few enough to hold little in memory."""

Size = tuple[int, int]
"""(width, height)."""


@dataclass
class Decoded:
    """Some consecutive images of a part.

    Attributes:
        first: the place of the first one in its part.
        pictures: by place, of those that could be decoded and are wanted.
        sizes: (width, height) as they are stored, by place.
        modes: how many have which kind of pixels.
        unreadable: what is wrong with the others, by place.
    """

    first: int
    pictures: dict[int, Picture] = field(default_factory=dict)
    sizes: dict[int, Size] = field(default_factory=dict)
    modes: Counter[str] = field(default_factory=Counter)
    unreadable: dict[int, str] = field(default_factory=dict)


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
        largest = max((picture.pixels.nbytes for picture in decoded.pictures.values()), default=0)
        if largest:
            self._images_a_task = max(1, min(_IMAGES_A_TASK, _BYTES_A_TASK // largest))
        return decoded

    def _piece(self, first: int, images: Sequence[RawImage], wanted: NDArray[np.bool_]) -> Decoded:
        done = Decoded(first)
        for place, (image, is_wanted) in enumerate(zip(images, wanted, strict=True), start=first):
            if not is_wanted:
                continue
            try:
                self._one(done, place, image)
            except ValueError as error:
                done.unreadable[place] = str(error)
        return done

    def _one(self, done: Decoded, place: int, image: RawImage) -> None:
        if image is None:
            raise ValueError("no image bytes; images must lie in the file, or beside it where its path says")
        if isinstance(image, np.ndarray):
            picture = image_files.of_array(image, self._fit)
        elif self.measure_only:
            done.sizes[place] = image_files.measure(image)
            return
        else:
            picture = image_files.decode(image, self._fit)
        done.pictures[place] = picture
        done.sizes[place] = picture.size
        done.modes[picture.mode] += 1


def stacked(pictures: Sequence[Picture]) -> Pixels:
    """Pictures of one size and type as an array (n, C, H, W); grey ones beside coloured ones get three channels."""
    channels = max(len(picture.pixels) for picture in pictures)
    repeated = [picture.pixels.repeat(channels // len(picture.pixels), axis=0) for picture in pictures]
    return np.stack(repeated)  # type: ignore[return-value]
