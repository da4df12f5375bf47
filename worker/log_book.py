"""The log of a job as one attempt writes it: lines with time and attempt, waiting to be stored."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Literal

from ddcore.spec.printable import printable
from worker import protocol
from worker.protocol import Frame

Source = Literal["worker", "phase", "info", "warning", "error", "output"]

WAITING = 4 << 20
"""Bytes that may wait to be stored; output beyond them is left out, until most of them are."""
WRITTEN = 256 << 10
"""Bytes that are stored at a time, at most."""
LAST = 16 << 10
"""Bytes of the output that was left out which still come, at the end of the attempt."""
LONGEST_LINE = 4 << 10

_BREAK = re.compile(rb"[\r\n]+")


class LogBook:
    """Lines of one attempt, from the threads that hear the child process to the one that stores them.

    Of output there may be more than fits, or more than can be stored in time. It is then left out, which the log says,
    but for the last of it, which is what tells why a process died. The worker's own lines always fit.

    Args:
        attempt: 1, 2, …
        limit: bytes that the job's log may have.
        now: the time, aware of its zone; for tests.
    """

    def __init__(self, attempt: int, limit: int, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._attempt = attempt
        self._limit = self._room = limit
        self._now = now
        self._lock = threading.Lock()
        self._waiting = bytearray()
        self._unended = b""
        self._left_out = 0
        self._behind = False
        self._last = b""

    def begin(self, length: int) -> None:
        """Count what earlier attempts have written, in bytes."""
        self._room = self._limit - length

    def add(self, source: Source, text: str) -> None:
        """Add a line, or several, which always fit."""
        with self._lock:
            self._waiting += self._lines(source, text.splitlines())

    def add_frame(self, frame: Frame) -> None:
        """Add what a frame says to a reader, if anything."""
        match frame:
            case protocol.PhaseStarted():
                self.add("phase", frame.phase + ("" if frame.total is None else f", 0 of {frame.total}"))
            case protocol.Resumed():
                self.add("info", f"goes on after step {frame.step}")
            case protocol.Failed():
                self.add("error", f"{frame.message} ({frame.code})")
            case protocol.CheckpointSaved():
                self._add_if_it_fits("info", [f"state after step {frame.step} saved"])
            case protocol.Log():
                self._add_if_it_fits(frame.level, frame.message.splitlines())

    def add_output(self, data: bytes) -> None:
        """Add some of what the process prints; a line appears once it is complete, or long."""
        *lines, self._unended = _BREAK.split(self._unended + data)
        if len(self._unended) > LONGEST_LINE:
            lines, self._unended = [*lines, self._unended], b""
        if texts := [line.decode("utf-8", "backslashreplace") for line in lines if line]:
            self._add_if_it_fits("output", texts)

    def end_output(self) -> None:
        """Nothing is printed any more: add the line that has not ended, and the last of what was left out."""
        self.add_output(b"\n")
        with self._lock:
            if self._left_out:
                self._left_out -= len(self._last)
                self._note_gap()
                self._waiting += self._last
                self._last = b""

    def __len__(self) -> int:
        with self._lock:
            return len(self._waiting)

    def next(self) -> bytes:
        """The whole lines to store next; they stay until they are :meth:`stored`."""
        with self._lock:
            if len(self._waiting) <= WRITTEN:
                return bytes(self._waiting)
            return bytes(self._waiting[: self._waiting.rindex(b"\n", 0, WRITTEN) + 1])

    def stored(self, count: int) -> None:
        """Forget that many bytes, which are stored."""
        with self._lock:
            del self._waiting[:count]

    def _add_if_it_fits(self, source: Source, texts: Sequence[str]) -> None:
        with self._lock:
            lines = self._lines(source, texts)
            if len(lines) > self._room:
                self._room = 0
            most = WAITING // 4 if self._behind else WAITING
            self._behind = len(self._waiting) + len(lines) > most
            if len(lines) > self._room or self._behind:
                self._left_out += len(lines)
                self._last = _last_lines(self._last + lines)
                return
            if self._left_out:
                self._note_gap()
                self._last = b""
            self._room -= len(lines)
            self._waiting += lines

    def _note_gap(self) -> None:
        """Say how much is missing here."""
        why = "it came faster than it could be stored" if self._room else f"the log may have {self._limit:,} bytes"
        self._waiting += self._lines("worker", [f"{self._left_out:,} bytes are left out here: {why}"])
        self._left_out = 0

    def _lines(self, source: Source, texts: Sequence[str]) -> bytes:
        at = self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
        head = f"{at}Z #{self._attempt} {source:<7} "
        return "".join(f"{head}{printable(piece)}\n" for text in texts for piece in _pieces(text)).encode()


def _pieces(line: str) -> Iterator[str]:
    """A line in pieces that are not too long to read."""
    for start in range(0, max(len(line), 1), LONGEST_LINE):
        yield line[start : start + LONGEST_LINE]


def _last_lines(lines: bytes) -> bytes:
    """The whole lines among the last bytes."""
    return lines if len(lines) <= LAST else lines[lines.index(b"\n", len(lines) - LAST) + 1 :]
