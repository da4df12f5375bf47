"""A worker's row in the database: it says who is there, and that it is alive; and the dog that watches it."""

from __future__ import annotations

import logging
import os
import platform
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, Literal

from sqlalchemy.exc import SQLAlchemyError

from app.core.database import Database
from app.core.settings import Settings
from app.models.fleet import Worker
from app.queue import fleet, leases
from ddcore.version import __version__
from worker.measuring import processor

DeviceClass = Literal["cpu", "cuda"]

_IDLE_BESIDE_WORK_S = 60.0
_DETECT_S = 10.0

_log = logging.getLogger(__name__)


def detect_device_class(settings: Settings) -> DeviceClass:
    """What this machine offers, unless the settings say it; found out without importing torch."""
    if settings.device_class != "auto":
        return settings.device_class
    return "cuda" if gpus() else "cpu"


def gpus() -> list[str]:
    """Names of the GPUs that a job here would see."""
    return _query_gpus("name")


def gpu_memory() -> list[int]:
    """Bytes that each of them has."""
    return [int(mebibytes) * 2**20 for mebibytes in _query_gpus("memory.total") if mebibytes.strip().isdecimal()]


def machine_memory(root: Path = Path("/")) -> int:
    """Bytes of memory that jobs here can take: those of the machine, or less where a control group allows less.

    Args:
        root: where ``sys`` is mounted.
    """
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = root / "sys/fs/cgroup/memory.max"
    allowed = limit.read_text().strip() if limit.is_file() else ""
    return min(whole, int(allowed)) if allowed.isdecimal() else whole


def _query_gpus(field: str) -> list[str]:
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return []
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    command = [tool, f"--query-gpu={field}", "--format=csv,noheader,nounits"]
    try:
        listed = subprocess.run(  # noqa: S603 - the driver's own tool
            command, capture_output=True, text=True, timeout=_DETECT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return listed.stdout.split("\n")[:-1] if listed.returncode == 0 else []


class Attendance:
    """Keeps the row of one worker while its main process lives.

    Args:
        settings: how often to beat.
        database: where the row is.
        worker_id: the row.
        name: Celery's node name.
        device_class: what the worker offers.
    """

    def __init__(
        self, settings: Settings, database: Database, worker_id: str, name: str, device_class: DeviceClass
    ) -> None:
        self._settings = settings
        self._database = database
        self._id = worker_id
        self._name = name
        self._class = device_class
        self._hungry_since: float | None = None

    def register(self) -> None:
        """Make the row."""
        facts: dict[str, Any] = {
            "version": __version__,
            "python": platform.python_version(),
            "cpus": os.cpu_count(),
            "processor": processor(),
            "memory_bytes": machine_memory(),
            "gpus": gpus(),
            "gpu_memory_bytes": gpu_memory(),
        }
        row = Worker(
            id=self._id, name=self._name, host=socket.gethostname(), pid=os.getpid(), device_class=self._class,
            facts=facts, state="idle",
        )  # fmt: skip
        with self._database.write() as session:
            fleet.register(session, row)

    def say(self, state: fleet.WorkerState) -> None:
        """Write the state; a database that is away does not matter, since the heartbeat will be missed."""
        try:
            with self._database.write() as session:
                fleet.set_state(session, self._id, state)
        except SQLAlchemyError as error:
            _log.warning("the worker cannot say that it is %s (%s)", state, type(error).__name__)

    def run(self, ended: threading.Event) -> None:
        """Beat until ``ended``; end the process where it sits idle beside work."""
        while not ended.wait(self._settings.heartbeat_s):
            try:
                self._beat()
            except SQLAlchemyError as error:
                _log.warning("the worker's heartbeat fails (%s)", type(error).__name__)
                continue
            if self._hungry_since is not None and time.monotonic() - self._hungry_since > _IDLE_BESIDE_WORK_S:
                # Consumers have been seen to hang after a broker came back; nothing in them helps.
                _log.error("work waits, this worker is idle and no doorbell reaches it: it ends to be started anew")
                os._exit(1)

    def _beat(self) -> None:
        with self._database.write() as session:
            known = fleet.beat(session, self._id)
        if not known:
            self.register()
        with self._database.read() as session:
            hungry = fleet.is_idle(session, self._id) and leases.runnable(session, self._class)
        if not hungry:
            self._hungry_since = None
        elif self._hungry_since is None:
            self._hungry_since = time.monotonic()
