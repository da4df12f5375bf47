"""A process that imports what engines need once, and is forked for each attempt.

Started by :class:`worker.launching.ForkServer` as ``python -m worker.fork_server MODULE --socket-fd N``, on Linux. A
request is a JSON object with the module to run and the run folder. It comes with two descriptors: for frames and for
output. Answered are the number of the new process and, when it has ended, its exit code. It stays a zombie until a byte
acknowledges that, so that its number is nobody else's while signals may be sent to it.

The server starts no threads and no CUDA, since neither survives a fork.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import select
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from setproctitle import setproctitle

from worker import engine_guard

PID = struct.Struct("!i")
CODE = struct.Struct("!i")
"""Answers: the number of a process, and its exit code (negative: the signal that killed it)."""
_LONGEST_REQUEST = 1 << 16

_log = logging.getLogger("worker.fork_server")


@dataclass(frozen=True)
class Request:
    """A process that is asked for."""

    module: str
    run_dir: Path
    pipe: int
    output: int

    @classmethod
    def receive(cls, connection: socket.socket) -> Request | None:
        """The next one; nothing once nobody asks any more."""
        payload, descriptors, _, _ = socket.recv_fds(connection, _LONGEST_REQUEST, 2)
        if not payload:
            return None
        wanted, (pipe, output) = json.loads(payload), descriptors
        return cls(wanted["module"], Path(wanted["run_dir"]), pipe, output)

    def close(self) -> None:
        """Close the server's copies of the descriptors: the worker is to see the end of both with the process."""
        os.close(self.pipe)
        os.close(self.output)


class Server:
    """Forks, and tells of ends.

    Args:
        connection: to the worker.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._woken, self._waking = socket.socketpair()
        self._waking.setblocking(False)

    def serve(self) -> Request | None:
        """Fork for each request. Returns in each new process with its request, and in the server at the end."""
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._waking.fileno())
        while (request := Request.receive(self._connection)) is not None:
            pid = os.fork()
            if pid == 0:
                self._leave()
                return request
            request.close()
            if not self._accompany(pid):
                break
        return None

    def _leave(self) -> None:
        """Drop, in a new process, what is the server's."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for end in (self._connection, self._woken, self._waking):
            end.close()

    def _accompany(self, pid: int) -> bool:
        """Tell of a process's begin and end; whether the worker is still there."""
        try:
            self._connection.sendall(PID.pack(pid))
            while (ended := os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is None:
                ready, _, _ = select.select([self._connection, self._woken], [], [])
                if self._connection in ready:
                    raise BrokenPipeError  # nothing is said while a process runs, so this is the end
                self._woken.recv(1024)
            exited = ended.si_code == os.CLD_EXITED
            self._connection.sendall(CODE.pack(ended.si_status if exited else -ended.si_status))
            there = bool(self._connection.recv(1))
        except ConnectionError:
            there = False
        if not there:
            engine_guard.kill_all(pid)
        os.waitpid(pid, 0)
        return there


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until the worker is gone; in a new process, its exit code."""
    parser = argparse.ArgumentParser(prog="python -m worker.fork_server")
    parser.add_argument("module", help="whose `preload` is called once")
    parser.add_argument("--socket-fd", type=int, required=True, help="descriptor of the connection to the worker")
    options = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    engine_guard.be_killed_with_parent()
    os.environ[engine_guard.PARENT_VARIABLE] = str(os.getpid())  # of all that is forked
    # They are blocked and not ignored, so that a new process misses none of them before it listens.
    signal.pthread_sigmask(signal.SIG_BLOCK, engine_guard.WISHES)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _preload(options.module)
    with socket.socket(fileno=options.socket_fd) as connection:
        request = Server(connection).serve()
    if request is None:
        return 0
    _become(request)
    module = importlib.import_module(request.module)
    return int(module.main(["--run-dir", str(request.run_dir), "--pipe-fd", str(request.pipe)]))


def _preload(name: str) -> None:
    """Import a module and what it needs; where that fails, each process tries again and says so in the job's log."""
    try:
        preload: Callable[[], None] | None = getattr(importlib.import_module(name), "preload", None)
        if preload is not None:
            preload()
    except Exception:
        _log.exception("what engines need cannot be imported before there is one")
    if threading.active_count() > 1:
        raise SystemExit(f"importing {name} has started threads, which no fork survives; set DD_ENGINE_PRELOAD=false")


def _become(request: Request) -> None:
    """Be a process of its own to the system: a session, a name, and the log of the job for what is printed."""
    os.setsid()
    os.dup2(request.output, sys.stdout.fileno())
    os.dup2(request.output, sys.stderr.fileno())
    os.close(request.output)
    logging.getLogger().handlers.clear()
    setproctitle(f"{request.module} --run-dir {request.run_dir}")


if __name__ == "__main__":
    sys.exit(main())
