"""The whole service on one machine: an API and a worker as two children of one launcher."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import IO, NoReturn

import httpx

from ddclient.discovery import SERVICE_FILE, read_key, running_service
from ddclient.errors import BadInputError, ClientError
from ddcore.version import __version__

LOCK_FILE = "up.lock"
READY_S = 60.0
"""Time the API gets to answer; a first start creates the database."""
GRACE_S = 30.0
"""Time the children get to stop by themselves."""
LOG_LINES = 15
PARTS = {"api": "app", "worker": "worker"}
NEEDS = {"server": ("fastapi", "sqlalchemy", "celery"), "worker": ("fastapi", "sqlalchemy", "celery", "torch")}
"""Extras of the package, and what tells whether they are installed."""
PR_SET_PDEATHSIG = 1


class Service:
    """A running embedded service.

    Args:
        home: state folder.
        host: address to bind.
        port: port to bind; 0 takes a free one.
        data_root: where named datasets are looked for. Default: the environment's, else in ``home``.
        isolated: whether the service ignores the settings of the environment (database, broker, …).
        settings: of the service, by the names of their variables (`{"DD_POLL_S": "0.1"}`); they go before those of the
            environment.

    Attributes:
        url: address of the API.
    """

    def __init__(
        self,
        home: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        data_root: Path | None = None,
        isolated: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.home = home.expanduser().resolve()
        self.port = free_port(host, port)
        self.host = host
        self.url = f"http://{'127.0.0.1' if host in {'0.0.0.0', '::'} else host}:{self.port}"  # noqa: S104
        self._data_root = data_root
        self._isolated = isolated
        self._settings = dict(settings or {})
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._lock: IO[bytes] | None = None

    @property
    def api_key(self) -> str | None:
        """The key that the first start of the API left in the state folder; ``None`` where it asks for none."""
        return read_key(self.home)

    def start(self) -> None:
        """Start both children and return once the API is ready.

        Raises:
            ClientError: something is not installed, another launcher uses the folder, a child died, or
                the API is not ready in time.
        """
        require("worker")
        for folder in (self.home, self.home / "logs"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._take_lock()
        self._spawn("api")
        self._await_ready()
        self._spawn("worker")
        self._announce()

    def check(self) -> None:
        """Notice a child that has died.

        Raises:
            ClientError: with the child's exit status and the last lines of its log.
        """
        for name, child in self._children.items():
            status = child.poll()
            if status is not None:
                how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
                raise ClientError(f"the {name} process {how}; the end of {self._log(name)}:\n{self._tail(name)}")

    def stop(self) -> None:
        """Stop both children, politely first (a second Ctrl-C hurries), and forget the address."""
        for child in self._children.values():
            if child.poll() is None:
                child.terminate()
        deadline = time.monotonic() + GRACE_S
        with contextlib.suppress(KeyboardInterrupt, subprocess.TimeoutExpired):
            for child in self._children.values():
                child.wait(max(0.0, deadline - time.monotonic()))
        for child in self._children.values():
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        self._children.clear()
        if self._lock is not None:
            (self.home / SERVICE_FILE).unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def _take_lock(self) -> None:
        lock = (self.home / LOCK_FILE).open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            running = running_service(self.home)
            where = f" at {running['url']} (process {running['pid']})" if running else ""
            raise ClientError(f"a service already runs{where} with the state folder {self.home}") from None
        self._lock = lock

    def _spawn(self, name: str) -> None:
        dropped = "DD_" if self._isolated else ()
        environment = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
        environment |= {**self._settings, "DD_HOME": str(self.home), "DD_HOST": self.host, "DD_PORT": str(self.port)}
        if self._data_root is not None:
            environment["DD_DATA_ROOT"] = str(self._data_root.resolve())
        with self._log(name).open("ab") as log:
            self._children[name] = subprocess.Popen(  # noqa: S603 - our own modules
                [sys.executable, "-m", PARTS[name]],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent(),
            )

    def _await_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        with httpx.Client(base_url=self.url, timeout=2.0, trust_env=False) as http:
            while time.monotonic() < deadline:
                self.check()
                with contextlib.suppress(httpx.TransportError):
                    if http.get("/readyz").status_code == httpx.codes.OK:
                        return
                time.sleep(0.1)
        raise ClientError(
            f"the API at {self.url} was not ready within {READY_S:g} seconds; the end of {self._log('api')}:\n"
            + self._tail("api")
        )

    def _announce(self) -> None:
        document = {"url": self.url, "pid": os.getpid(), "version": __version__}
        path = self.home / SERVICE_FILE
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(document), "utf-8")
        temporary.replace(path)

    def _log(self, name: str) -> Path:
        return self.home / "logs" / f"{name}.log"

    def _tail(self, name: str) -> str:
        lines = self._log(name).read_text("utf-8", errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-LOG_LINES:]) or "  (empty)"


@contextlib.contextmanager
def running(service: Service) -> Iterator[Service]:
    """Start a service, stop it in the end, whatever happens; SIGTERM counts as Ctrl-C meanwhile."""
    with interrupt_on(signal.SIGTERM):
        try:
            service.start()
            yield service
        finally:
            service.stop()


@contextlib.contextmanager
def interrupt_on(number: signal.Signals) -> Iterator[None]:
    """Turn a signal into ``KeyboardInterrupt`` inside the block."""

    def interrupt(_received: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(number, interrupt)
    try:
        yield
    finally:
        signal.signal(number, before)


def free_port(host: str, port: int) -> int:
    """``port`` if it can be bound, or any free one for 0.

    Raises:
        BadInputError: the port is taken, or the address is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else "must be 0 to 65535"
            raise BadInputError(
                f"cannot bind {host}:{port} ({reason}); choose another with --port, or 0 for any free one"
            ) from error
        return int(probe.getsockname()[1])


def is_free(host: str, port: int) -> bool:
    """Whether a port can be bound."""
    try:
        free_port(host, port)
    except BadInputError:
        return False
    return True


def require(extra: str) -> None:
    """Refuse to go on without an extra of the package; nothing is imported to find out.

    Raises:
        ClientError: it is not installed.
    """
    missing = [name for name in NEEDS[extra] if importlib.util.find_spec(name) is None]
    if missing:
        raise ClientError(f"this needs `pip install 'ddservice[{extra}]'` (missing: {', '.join(missing)})")


def become(module: str, environment: Mapping[str, str], *, extra: str) -> NoReturn:
    """Turn this process into one part of the service, which needs an extra of the package.

    Raises:
        ClientError: the extra is not installed.
    """
    require(extra)
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", module], {**os.environ, **environment})  # noqa: S606 - ours


def _die_with_parent() -> Callable[[], None] | None:
    """On Linux, have a child terminated when its launcher is killed and cannot do it itself."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
