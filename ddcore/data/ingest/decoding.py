"""Images of a part, decoded several at a time and given in their order."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from ddcore.data.image_files import Fit
from ddcore.data.ingest.decoding_process import DecodingProcess
from ddcore.data.ingest.piece import Decoded, Piece
from ddcore.data.source import Part

_IMAGES_A_TASK = 128
_BYTES_A_TASK = 4 * 1024 * 1024
_TASKS_AHEAD = 2
"""Tasks that wait for each thread: enough to keep it busy, few enough to hold little in memory."""
_MOST_PROCESSES = 8
_WORTHWHILE = 2e8
"""Pixels that have to be left for processes to be started, which takes as long as decoding some ten million of them."""
_PIXELS_OF_A_FILE = 4000
"""What opening an image costs, in pixels decoded meanwhile."""

_logger = logging.getLogger(__name__)


class Decoder:
    """Decodes parts; ``measure_only`` may be set on the way, and only heads are read from there on.

    Threads decode, and where much is left to decode each has a process that does it for it: Pillow holds Python's lock,
    so that threads alone decode no faster than one.

    Args:
        fit: the size that images are brought to; as they are stored where there is none.
        total: how many images will be wanted, over all parts.
    """

    def __init__(self, fit: Fit | None, total: int = 0) -> None:
        self.measure_only = False
        self._fit = fit
        self._left = total
        self._images_a_task = 1
        self._threads = os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self._threads)
        self._processes: list[DecodingProcess] = []
        self._idle = SimpleQueue[DecodingProcess]()
        self._may_start = self._threads > 1

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.end()
        self._pool.shutdown(cancel_futures=True)

    def decode(self, part: Part, wanted: NDArray[np.bool_]) -> Iterator[Decoded]:
        """Images of a part, in their order.

        Args:
            part: where they lie.
            wanted: (N,), which of them to decode.

        Raises:
            DecodingLostError: a process that decoded some of them has ended.
        """
        waiting: deque[Future[Decoded]] = deque()
        first = 0
        for batch in part.images():
            start = 0
            while start < len(batch):
                images = batch[start : start + self._images_a_task]
                places = range(first + start, first + start + len(images))
                piece = {place: image for place, image in zip(places, images, strict=True) if wanted[place]}
                waiting.append(self._pool.submit(self._decoded, Piece(piece, self._fit, self.measure_only)))
                start += len(images)
                if len(waiting) > _TASKS_AHEAD * self._threads:
                    yield self._done(waiting.popleft())
            first += len(batch)
        while waiting:
            yield self._done(waiting.popleft())

    def _decoded(self, piece: Piece) -> Decoded:
        if not self._processes or any(isinstance(image, np.ndarray) for image in piece.images.values()):
            return piece.decode()
        process = self._idle.get()
        try:
            return process.decode(piece)
        finally:
            self._idle.put(process)

    def _done(self, task: Future[Decoded]) -> Decoded:
        """What a task has decoded; tasks hold fewer images where these are large."""
        decoded = task.result()
        self._left -= len(decoded.sizes) + len(decoded.unreadable)
        if decoded.pixels is not None and len(decoded.pixels):
            self._images_a_task = max(1, min(_IMAGES_A_TASK, _BYTES_A_TASK // decoded.pixels[0].nbytes))
        if self._may_start and decoded.sizes:
            pixels = sum(width * height for width, height in decoded.sizes.values()) / len(decoded.sizes)
            if self._left * (pixels + _PIXELS_OF_A_FILE) >= _WORTHWHILE:
                self._start()
        return decoded

    def _start(self) -> None:
        self._may_start = False
        try:
            started = [DecodingProcess() for _ in range(min(self._threads, _MOST_PROCESSES))]
        except OSError as error:
            _logger.warning("no process can be started to decode images, which takes longer (%s)", error)
            return
        for process in started:
            self._idle.put(process)
        self._processes = started
