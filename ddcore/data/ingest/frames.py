"""Objects on a pipe between two processes of ours, with arrays sent as they lie in memory."""

from __future__ import annotations

import pickle
from typing import Any, BinaryIO

import numpy as np

_LENGTH = 8


def send(pipe: BinaryIO, value: object) -> None:
    """Write an object.

    Raises:
        BrokenPipeError: nobody reads any more.
    """
    arrays: list[pickle.PickleBuffer] = []
    body = pickle.dumps(value, protocol=5, buffer_callback=arrays.append)
    views = [memoryview(body), *(array.raw() for array in arrays)]
    pipe.write(len(views).to_bytes(_LENGTH, "big"))
    for view in views:
        pipe.write(view.nbytes.to_bytes(_LENGTH, "big"))
        pipe.write(view)
    pipe.flush()


def receive(pipe: BinaryIO) -> Any:
    """Read an object that :func:`send` has written.

    Raises:
        EOFError: the other side has ended.
    """
    count = int.from_bytes(_filled(pipe, np.empty(_LENGTH, dtype=np.uint8)).tobytes(), "big")
    body, *arrays = [_next(pipe) for _ in range(count)]
    return pickle.loads(body.data, buffers=arrays)  # noqa: S301 - of a process that runs our own code


def _next(pipe: BinaryIO) -> np.ndarray[Any, np.dtype[np.uint8]]:
    length = int.from_bytes(_filled(pipe, np.empty(_LENGTH, dtype=np.uint8)).tobytes(), "big")
    return _filled(pipe, np.empty(length, dtype=np.uint8))


def _filled(pipe: BinaryIO, array: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    left = array.data
    while left.nbytes:
        count = pipe.readinto(left)  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        left = left[count:]
    return array
