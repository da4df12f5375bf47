"""Whether the service can do its work: each part that it needs, how it is, and what it means where that is bad."""

from __future__ import annotations

import shutil
import threading
import time
from dataclasses import dataclass, field

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app import migrate
from app.core import broker
from app.core.database import Database
from app.core.settings import Settings
from app.system import repository
from app.system.schemas import Readiness

PATIENCE_S = 1.0
REMEMBER_S = 5.0
"""How long the broker's answer is remembered, so that a check every second opens no connection each time."""
LEAST_FREE = 100 * 2**20
"""Bytes of disk below which submissions begin to fail."""

log = structlog.get_logger(__name__)


@dataclass
class BrokerProbe:
    """Asks whether the broker answers, once in a while."""

    settings: Settings
    _answers: bool = True
    _until: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answers(self) -> bool:
        """Whether it does, as of the last :data:`REMEMBER_S` seconds."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._answers = broker.answers(self.settings, PATIENCE_S)
                self._until = time.monotonic() + REMEMBER_S
            return self._answers


def judge(database: Database, settings: Settings, probe: BrokerProbe) -> Readiness:
    """The state of the service: ``unavailable`` where nothing can be submitted or read."""
    try:
        migrate.check(database)
        with database.read() as session:
            workers = len(repository.workers(session, settings.lease_s))
            owed = repository.owed_messages(session)
            reconciled = repository.is_reconciled(session)
    except (DBAPIError, PoolTimeoutError, migrate.SchemaError) as error:
        log.warning("not ready", reason=str(error))
        why = str(error) if isinstance(error, migrate.SchemaError) else "cannot be reached"
        return Readiness(status="unavailable", checks={"database": why})
    free = shutil.disk_usage(settings.home).free
    checks = {"database": "ok", "workers": f"{workers} alive", "broker": f"{owed} messages waiting", "reconciler": "ok"}
    checks["disk"] = f"{free / 1e9:.1f} GB free"
    bad: dict[str, str] = {}
    if not workers:
        bad["workers"] = "0 alive: jobs stay queued until one starts"
    if not probe.answers():
        bad["broker"] = f"does not answer: jobs are taken, and start once it is back ({owed} messages waiting)"
    if not reconciled:
        bad["reconciler"] = "not running: jobs of workers that died stay as they are, and studies do not go on"
    if free < LEAST_FREE:
        bad["disk"] = f"{free / 1e6:.0f} MB free: submissions and results fail once nothing is left"
    return Readiness(status="degraded" if bad else "ready", checks=checks | bad)
