"""A queue of frames that never blocks the engine: what does not fit in memory waits in a file."""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path
from typing import IO

from worker.protocol import HEADER, Frame, decode, encode


class SpooledQueue:
    """First in, first out, between the thread that reads the pipe and the one that writes the database.

    The engine must not stand still because the database does: beyond ``limit`` frames the queue goes on in
    a file, which is emptied in order and then started afresh.

    Args:
        path: the file, created only when needed.
        limit: frames kept in memory.
    """

    def __init__(self, path: Path, limit: int = 10_000) -> None:
        self._path = path
        self._limit = limit
        self._memory: deque[Frame] = deque()
        self._file: IO[bytes] | None = None
        self._spooled = 0
        self._read_at = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        with self._lock:
            return len(self._memory) + self._spooled

    def put(self, frame: Frame) -> None:
        """Append a frame."""
        with self._lock:
            if self._spooled == 0 and len(self._memory) < self._limit:
                self._memory.append(frame)
                return
            if self._file is None:
                self._file = self._path.open("w+b")
            self._file.seek(0, 2)
            self._file.write(encode(frame))
            self._spooled += 1

    def take(self, count: int) -> list[Frame]:
        """Remove and return up to ``count`` of the oldest frames; none if there are none."""
        with self._lock:
            if not self._memory and self._spooled:
                self._refill()
            return [self._memory.popleft() for _ in range(min(count, len(self._memory)))]

    def close(self) -> None:
        """Forget everything and remove the file."""
        with self._lock:
            self._memory.clear()
            self._spooled = 0
            self._drop_file()

    def _refill(self) -> None:
        file = self._file
        if file is None:
            raise RuntimeError("frames are counted as spooled, but there is no spool file")
        file.seek(self._read_at)
        for _ in range(min(self._limit, self._spooled)):
            length = int.from_bytes(file.read(HEADER), "big")
            self._memory.append(decode(file.read(length)))
            self._spooled -= 1
        self._read_at = file.tell()
        if self._spooled == 0:
            self._drop_file()

    def _drop_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self._read_at = 0
        self._path.unlink(missing_ok=True)
