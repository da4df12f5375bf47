"""A queue of frames that never blocks the engine: what should not be in memory waits in a file."""

from __future__ import annotations

import os
import threading
from collections import deque
from io import FileIO
from pathlib import Path

from ddcore.machine.space import is_full
from worker.protocol import HEADER, Frame, decode, encode


class SpooledQueue:
    """First in, first out, between the thread that reads the pipe and the one that writes the database.

    The engine must not stand still because the database does: beyond ``limit`` frames the queue goes on in
    a file, which is emptied in order and then started afresh. While the disk of that is full it goes on in memory after
    all, which is not for long: an engine that cannot write either ends by itself, or is ended with its lease.

    Args:
        path: the file, created only when needed.
        limit: frames kept in memory.
    """

    def __init__(self, path: Path, limit: int = 10_000) -> None:
        self._path = path
        self._limit = limit
        self._memory: deque[Frame] = deque()
        self._beyond: deque[Frame] = deque()
        """What came after all that is in the file, and found no room there."""
        self._file: FileIO | None = None
        self._spooled = 0
        self._read_at = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        with self._lock:
            return len(self._memory) + self._spooled + len(self._beyond)

    def put(self, frame: Frame) -> None:
        """Append a frame."""
        with self._lock:
            if not self._spooled and not self._beyond and len(self._memory) < self._limit:
                self._memory.append(frame)
            elif self._beyond or not self._spool(encode(frame)):
                self._beyond.append(frame)

    def take(self, count: int) -> list[Frame]:
        """Remove and return up to ``count`` of the oldest frames; none if there are none."""
        with self._lock:
            if not self._memory and self._spooled:
                self._refill()
            if not self._spooled:
                self._memory += self._beyond
                self._beyond.clear()
            return [self._memory.popleft() for _ in range(min(count, len(self._memory)))]

    def close(self) -> None:
        """Forget everything and remove the file."""
        with self._lock:
            self._memory.clear()
            self._beyond.clear()
            self._spooled = 0
            self._drop_file()

    def _spool(self, data: bytes) -> bool:
        """Append to the file; ``False``, and nothing is, where its disk is full."""
        try:
            if self._file is None:
                self._file = self._path.open("w+b", buffering=0)
            end = self._file.seek(0, os.SEEK_END)
            if self._file.write(data) == len(data):
                self._spooled += 1
                return True
            self._file.truncate(end)
        except OSError as error:
            if not is_full(error):
                raise
        return False

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
