"""How a worker starts its child processes: by forking one that has imported what they need, or each from nothing.

Importing the engine takes seconds, more than a short job does. On Linux a worker therefore keeps a process that has
done so and does nothing else, and forks the process of each attempt from that (:mod:`worker.fork_server`). That is as
much a process of its own as one that is started from nothing: it ends with its job, and shares nothing that it writes.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from app.core.settings import Settings
from worker.attendance import machine_memory
from worker.engine_guard import MEMORY_VARIABLE, PARENT_VARIABLE, kill_all
from worker.fork_server import CODE, PID

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
_PATIENCE_S = 120.0
"""For imports on a machine that is busy; a process is started from nothing where they take longer."""
_LOOK_S = 1.0

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


class Launched(Protocol):
    """A process that was started, in a session of its own."""

    @property
    def pid(self) -> int:
        """Its number, and that of its group; nobody else's until it is waited for."""
        ...

    def poll(self) -> int | None:
        """The exit code (negative: the signal that killed it), or ``None`` while it runs."""
        ...

    def wait(self) -> int:
        """The exit code, once it has ended; its number is free then."""
        ...

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        ...


class ForkServerError(Exception):
    """No process can be forked, for the reason that is said."""


class ForkServer:
    """The process that others are forked from, one at a time. It ends when this object or its process is gone.

    Args:
        preloaded: module whose ``preload`` imports what they need.
        variables: environment of all of them.
    """

    def __init__(self, preloaded: str, variables: Mapping[str, str]) -> None:
        self.served = False
        """Whether it has forked a process."""
        self._connection, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "worker.fork_server", preloaded, "--socket-fd", str(theirs.fileno())]
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                command, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, start_new_session=True, env=variables
            )

    def fork(self, module: str, run_dir: Path, pipe: int, output: int) -> Launched:
        """Start a process; the first one waits until the server has imported what it needs.

        Args:
            module: what it runs: a function ``main`` that takes the arguments of a command line.
            run_dir: of the attempt.
            pipe: descriptor for its frames.
            output: descriptor for what it prints.

        Raises:
            ForkServerError: the server has died, or does not answer.
        """
        request = json.dumps({"module": module, "run_dir": str(run_dir)}).encode()
        try:
            socket.send_fds(self._connection, [request], [pipe, output])
        except OSError as error:
            raise ForkServerError(f"it is gone ({error.strerror})") from error
        answer = _received(self._connection, PID.size, _PATIENCE_S)
        if answer is None:
            raise ForkServerError(f"it has not answered for {_PATIENCE_S:.0f} s")
        if not answer:
            raise ForkServerError("it has ended")
        self.served = True
        return _Forked(PID.unpack(answer)[0], self._connection)

    def close(self) -> None:
        """End the server, and the process that it may still have forked."""
        self._connection.close()
        self._process.kill()
        self._process.wait()


class _Forked:
    """A process whose parent is the fork server."""

    def __init__(self, pid: int, connection: socket.socket) -> None:
        self.pid = pid
        self._connection = connection
        self._code: int | None = None
        self._acknowledged = False
        self._reading = threading.Lock()

    def poll(self) -> int | None:
        with self._reading:
            if self._code is None:
                answer = _received(self._connection, CODE.size, 0)
                if answer:
                    self._code = CODE.unpack(answer)[0]
                elif answer is not None:
                    # The server has died, and the kernel has killed its child; what that had started is left.
                    self._code = -signal.SIGKILL
                    kill_all(self.pid)
            return self._code

    def wait(self) -> int:
        while (code := self.poll()) is None:
            select.select([self._connection], [], [], _LOOK_S)
        if not self._acknowledged:
            self._acknowledged = True
            with suppress(OSError):  # of a server that has died
                self._connection.sendall(b"\0")
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def _received(connection: socket.socket, size: int, patience_s: float) -> bytes | None:
    """An answer of the server; nothing yet (``None``) within some seconds, or empty where it has ended."""
    if not select.select([connection], [], [], patience_s)[0]:
        return None
    try:
        return connection.recv(size, socket.MSG_WAITALL)
    except ConnectionError:
        return b""


class Launcher:
    """Starts the processes of a worker, one at a time.

    They are killed with the thread that has started the first of them, so use it in one that stays.

    Args:
        settings: what they need, and where their data are.
        forks: whether they are forked, where the settings and the system allow it; for one that starts many.
    """

    def __init__(self, settings: Settings, *, forks: bool = True) -> None:
        self._settings = settings
        self._server: ForkServer | None = None
        self._forks = forks and settings.engine_preload and sys.platform == "linux"

    def launch(self, module: str, run_dir: Path, pipe: int, output: int) -> Launched:
        """Start a process on a run folder.

        Args:
            module: what it runs.
            run_dir: the attempt's folder.
            pipe: descriptor for its frames.
            output: descriptor for what it prints.

        Raises:
            OSError: the system starts no process now.
        """
        if self._forks:
            server = self._server = self._server or ForkServer(self._settings.engine_module, self._variables())
            try:
                return server.fork(module, run_dir, pipe, output)
            except ForkServerError as error:
                _log.warning("a process is started from nothing, since the fork server does not serve: %s", error)
                self._forks = server.served  # one that never could will not
                self.close()
        command = [sys.executable, "-m", module, "--run-dir", str(run_dir), "--pipe-fd", str(pipe)]
        return subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command, pass_fds=(pipe,), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True, env=self._variables(),
        )  # fmt: skip

    def _variables(self) -> dict[str, str]:
        return environment(self._settings, os.environ)

    def close(self) -> None:
        """End the process that others are forked from, where there is one."""
        if self._server is not None:
            self._server.close()
            self._server = None
