"""The engine as its supervisor sees it: a process with a clean environment, a pipe and a few signals."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress

from app.core.settings import Settings
from worker.attendance import machine_memory
from worker.engine_guard import MEMORY_VARIABLE, PARENT_VARIABLE
from worker.log_book import LogBook
from worker.protocol import Decoder, ProtocolError
from worker.run_folder import RunFolder
from worker.spool import SpooledQueue

PASSED_ON = (
    "CC",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_VISIBLE_DEVICES",
    "CXX",
    "DD_FAULT",
    "HF_HUB_OFFLINE",
    "HOME",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "LOGNAME",
    "MKL_NUM_THREADS",
    "NVIDIA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "PATH",
    "PYTHONPATH",
    "SSL_CERT_FILE",
    "TMPDIR",
    "TZ",
    "USER",
    "VIRTUAL_ENV",
)
"""Variables that an engine inherits; nothing else, so no database, no broker, no secret."""
SHARE_OF_MEMORY = 0.9
"""Of the machine's memory, that an engine may take where the settings do not say."""
_CHUNK = 1 << 16
_PIPE_ENDS_S = 5.0

_log = logging.getLogger(__name__)


def environment(settings: Settings, inherited: Mapping[str, str]) -> dict[str, str]:
    """Environment of an engine: what it may inherit, and where its data and caches are."""
    variables = {name: inherited[name] for name in PASSED_ON if name in inherited}
    variables |= {
        "DD_DATA_ROOT": str(settings.data_root),
        "DD_CACHE_DIR": str(settings.cache_dir),
        "DD_BACKBONES_DIR": str(settings.backbones_dir),
        "PYTHONUNBUFFERED": "1",
        PARENT_VARIABLE: str(os.getpid()),
    }
    allowed = settings.engine_memory_gb
    memory = int(allowed * 1e9) if allowed is not None else int(SHARE_OF_MEMORY * machine_memory())
    variables[MEMORY_VARIABLE] = str(memory)
    if settings.engine_threads is not None:
        variables["OMP_NUM_THREADS"] = str(settings.engine_threads)
    return variables


class EngineProcess:
    """A running engine, whose frames arrive in ``frames``.

    The process is killed with the thread that makes this object, so make it in one that stays.

    Args:
        settings: what to run, and where its data are.
        folder: the attempt's folder.
        book: where what it says and prints is written down.
        module: what to run. Default: the engine that the settings name.
    """

    def __init__(self, settings: Settings, folder: RunFolder, book: LogBook, module: str | None = None) -> None:
        self.frames = SpooledQueue(folder.path / "spool.frames")
        self.heard_at = time.monotonic()
        self._book = book
        self._closed = False
        reading, writing = os.pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", module or settings.engine_module, "--run-dir", str(folder.path),
                 "--pipe-fd", str(writing)],
                pass_fds=(writing,), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                bufsize=0, start_new_session=True, env=environment(settings, os.environ),
            )  # fmt: skip
        except OSError:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        self._readers = (
            threading.Thread(target=self._read, args=(reading,), name="engine-pipe", daemon=True),
            threading.Thread(target=self._read_output, name="engine-output", daemon=True),
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
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

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

    def _read_output(self) -> None:
        # Always emptied: a process whose output nobody reads would stand still.
        pipe = self._process.stdout
        if pipe is None:
            raise RuntimeError("the process was started without a pipe for its output")
        with pipe:
            while data := pipe.read(_CHUNK):
                self._book.add_output(data)
        self._book.end_output()
