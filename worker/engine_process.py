"""The engine as its supervisor sees it: a process with a clean environment, a pipe and a few signals."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time

from worker import engine_guard
from worker.launching import Launcher
from worker.log_book import LogBook
from worker.protocol import Decoder, ProtocolError
from worker.run_folder import RunFolder
from worker.spool import SpooledQueue

_CHUNK = 1 << 16
_PIPE_ENDS_S = 5.0

_log = logging.getLogger(__name__)


class EngineProcess:
    """A running engine, whose frames arrive in ``frames``.

    The process is killed with the thread that makes this object, so make it in one that stays.

    Args:
        launcher: starts it.
        folder: the attempt's folder.
        book: where what it says and prints is written down.
        module: what to run.

    Raises:
        OSError: the system starts no process now.
    """

    def __init__(self, launcher: Launcher, folder: RunFolder, book: LogBook, module: str) -> None:
        self.frames = SpooledQueue(folder.path / "spool.frames")
        self.heard_at = time.monotonic()
        self._book = book
        self._closed = False
        frames, pipe = os.pipe()
        printed, output = os.pipe()
        try:
            self._process = launcher.launch(module, folder.path, pipe, output)
        except OSError:
            os.close(frames)
            os.close(printed)
            raise
        finally:
            os.close(pipe)
            os.close(output)
        self._readers = (
            threading.Thread(target=self._read, args=(frames,), name="engine-pipe", daemon=True),
            threading.Thread(target=self._read_output, args=(printed,), name="engine-output", daemon=True),
        )
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """Process id, also of the group and session of everything the engine starts."""
        return self._process.pid

    def poll(self) -> int | None:
        """The exit code (negative: the signal that killed it), or ``None`` while it runs."""
        return self._process.poll()

    def save(self) -> None:
        """Ask it to save its state and end."""
        self._signal(signal.SIGTERM)

    def finalize(self) -> None:
        """Ask it to write the bundle of what it has and end."""
        self._signal(signal.SIGUSR1)

    def kill(self) -> None:
        """End it and everything it has started, now."""
        # Once it is waited for, its number may belong to another group.
        if not self._closed:
            engine_guard.kill_all(self.pid)

    def close(self) -> None:
        """Wait for the last frames and lines of an engine that has ended; what it has started is killed."""
        self.kill()
        self._closed = True
        self._process.wait()
        for reader in self._readers:
            reader.join(_PIPE_ENDS_S)

    def _signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)  # does nothing once it has ended

    def _read(self, descriptor: int) -> None:
        decoder = Decoder()
        try:
            with os.fdopen(descriptor, "rb", buffering=0) as pipe:
                while data := pipe.read(_CHUNK):
                    self.heard_at = time.monotonic()
                    for frame in decoder.feed(data):
                        self._book.add_frame(frame)
                        self.frames.put(frame)
            decoder.close()
        except ProtocolError as error:
            # A killed engine may leave half a frame; a living one that sends nonsense cannot be supervised.
            _log.warning("the engine's pipe broke: %s", error)
            if self.poll() is None:
                self.kill()

    def _read_output(self, descriptor: int) -> None:
        # Always emptied: a process whose output nobody reads would stand still.
        with os.fdopen(descriptor, "rb", buffering=0) as pipe:
            while data := pipe.read(_CHUNK):
                self._book.add_output(data)
        self._book.end_output()
