"""Processes of the service, forked from one that has imported what they need.

Each is what ``python -m MODULE`` would be: it has a session, an environment, an output and an end of its own. But
importing takes most of the two seconds in which a worker starts, and the tests here start more than a hundred. With
``DD_TEST_FORKS=off`` they start the commands themselves, as ``tests/contract/test_compose.py`` always does.

Neither server at hand would do. That of :mod:`worker.fork_server` forks one process at a time, and takes it along when
it ends; that of ``multiprocessing`` ends processes without what they do at exit.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).resolve().parents[2]
IMPORTED = ("app.__main__", "worker.__main__", "worker.reconciler")
"""What is forked has what these modules import, and imports the rest itself."""
LONGEST_MESSAGE = 1 << 17
POLL_S, ENDS_WITHIN_S = 0.01, 60.0
_MAKING = threading.Lock()


class Process(Protocol):
    """What the tests ask of a process, as of :class:`subprocess.Popen`."""

    pid: int

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, sig: int) -> None: ...

    def kill(self) -> None: ...


def start(module: str, environment: Mapping[str, str], log: Path) -> Process:
    """Start a module of the service in a session of its own, with its output in a file."""
    with log.open("wb") as output:
        if os.environ.get("DD_TEST_FORKS") == "off":
            return subprocess.Popen(
                [sys.executable, "-m", module], env=environment, cwd=ROOT, stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        return _forks().start(module, environment, output.fileno())


@dataclass
class Fork:
    """A process that is forked.

    Attributes:
        pid: its number, and that of its group.
        returncode: once it is known to have ended; negative: the signal that killed it.
    """

    pid: int
    returncode: int | None = field(default=None, init=False)

    def poll(self) -> int | None:
        _forks().listen()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        give_up_at = time.monotonic() + (float("inf") if timeout is None else timeout)
        while (code := self.poll()) is None:
            if time.monotonic() > give_up_at:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            time.sleep(POLL_S)
        return code

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Forks:
    """This side of the process that forks. It ends with this one, what it has forked does not."""

    def __init__(self) -> None:
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", __name__, "--socket-fd", str(theirs.fileno())]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DD_")}
        environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        with theirs:
            self._process = subprocess.Popen(command, env=environment, cwd=ROOT, pass_fds=[theirs.fileno()])
        self._lock = threading.Lock()
        self._running: dict[int, Fork] = {}

    def start(self, module: str, environment: Mapping[str, str], output: int) -> Fork:
        """Fork a process that runs a module; it writes to a descriptor."""
        message = json.dumps({"module": module, "environment": dict(environment)}).encode()
        with self._lock:
            socket.send_fds(self._connection, [message], [output])
            while (started := self._hear()) is None:
                pass
            return started

    def listen(self) -> None:
        """Note all ends that there is word of."""
        with self._lock:
            while select.select([self._connection], [], [], 0)[0]:
                self._hear()

    def end(self) -> None:
        """Let the process that forks end."""
        self._connection.close()
        self._process.wait(ENDS_WITHIN_S)

    def _hear(self) -> Fork | None:
        """Take the next word; the process, where one has begun."""
        said = self._connection.recv(LONGEST_MESSAGE)
        if not said:
            raise AssertionError(f"the process that forks has ended with {self._process.wait()}")
        pid, code = json.loads(said)
        if code is None:
            self._running[pid] = Fork(pid)
            return self._running[pid]
        self._running.pop(pid).returncode = code
        return None


@cache
def _made() -> Forks:
    forks = Forks()
    atexit.register(forks.end)
    return forks


def _forks() -> Forks:
    """The one of this process."""
    with _MAKING:
        return _made()


def _serve(connection: socket.socket) -> str | None:
    """Fork as asked. Returns the name of its module in each new process, and nothing at the end."""
    woken, waking = socket.socketpair()
    waking.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(waking.fileno())
    while True:
        ready, _, _ = select.select([connection, woken], [], [])
        if woken in ready:
            woken.recv(LONGEST_MESSAGE)
            _tell_of_ends(connection)
        if connection in ready:
            message, descriptors, _, _ = socket.recv_fds(connection, LONGEST_MESSAGE, 1)
            if not message:
                return None
            (output,) = descriptors
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for end in (connection, woken, waking):
                    end.close()
                return _become(json.loads(message), output)
            os.close(output)
            connection.send(json.dumps([pid, None]).encode())


def _tell_of_ends(connection: socket.socket) -> None:
    """One signal may stand for several ends."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        connection.send(json.dumps([pid, os.waitstatus_to_exitcode(status)]).encode())


def _become(wanted: Mapping[str, object], output: int) -> str:
    """Be a process of its own to the system."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, descriptor in enumerate((nothing, output, output)):
        os.dup2(descriptor, number)
    os.close(nothing)
    os.close(output)
    environment, module = wanted["environment"], wanted["module"]
    assert isinstance(environment, dict)
    assert isinstance(module, str)
    os.environ.clear()
    os.environ.update(environment)
    # It reads when it is imported what is to fail.
    importlib.reload(importlib.import_module("worker.faults"))
    sys.argv = [module]
    return module


def main() -> None:
    """Import, and fork until nobody asks any more."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket-fd", type=int, required=True)
    connection = socket.socket(fileno=parser.parse_args().socket_fd)
    for name in IMPORTED:
        importlib.import_module(name)
    if threading.active_count() > 1:
        raise SystemExit("importing the service has started threads, which no fork survives")
    gc.freeze()
    module = _serve(connection)
    if module is not None:
        # What is run becomes `__main__`: it is none of the modules that were imported.
        sys.modules.pop(f"{module}.__main__" if f"{module}.__main__" in sys.modules else module)
        runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
