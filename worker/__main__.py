"""``python -m worker``: one Celery worker with one pool process, and what keeps it honest."""

from __future__ import annotations

import gc
import logging
import os
import socket
import sys
import threading
from typing import Any

from ddcore.machine.imports import uncollected

with uncollected():
    from celery import Celery, signals
    from pydantic import ValidationError

    from app import migrate
    from app.core import broker
    from app.core import logging as log
    from app.core.database import Database
    from app.core.filesystems import write_privately
    from app.core.ids import new_id
    from app.core.security import Signer, load_signer
    from app.core.settings import Settings, explain
    from app.core.storage import open_store
    from app.migrate import SchemaError
    from app.queue import outbox
    from worker import celery_app, sweep
    from worker.attendance import Attendance, detect_device_class
    from worker.data_root import DataRootWatch
    from worker.database_gate import await_database
    from worker.draining import Drain
    from worker.reconciler import Reconciler
    from worker.tasks import CLASS_VARIABLE, WORKER_VARIABLE
    from worker.webhooks import Sender

_log = logging.getLogger("worker")


class Main:
    """The main process: Celery's consumer, and beside it the threads for heartbeat, reconciler and webhooks.

    Args:
        settings: the service's settings.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.worker_id = new_id("wrk")
        self.device_class = detect_device_class(settings)
        self.name = f"{self.device_class}-{os.getpid()}@{socket.gethostname()}"
        self.database = Database(settings)
        self.drain = Drain(settings.home, self.worker_id)
        self.ended = threading.Event()
        self.attendance = Attendance(settings, self.database, self.worker_id, self.name, self.device_class)
        self._signer: Signer | None = None
        """Of webhooks, where the reconciler runs in this process."""

    def run(self) -> int:
        """Work until SIGTERM; returns the exit code."""
        await_database(self._enter, self.ended)
        # The pool process is forked from this one and must not inherit an open connection.
        self.database.dispose()
        os.environ |= {WORKER_VARIABLE: self.worker_id, CLASS_VARIABLE: self.device_class}
        app = celery_app.make(self.settings)
        signals.worker_ready.connect(self._on_ready)
        signals.worker_shutting_down.connect(self._on_shutting_down)
        try:
            return self._consume(app)
        finally:
            self.ended.set()
            self.attendance.say("stopped")
            self.drain.end()

    def _enter(self) -> None:
        migrate.check(self.database)
        if self.settings.reconciler == "embedded":
            self._signer = load_signer(self.settings)
        sweep.remove_finished(self.settings.runs_dir, self.database)
        self.attendance.register()

    def _consume(self, app: Celery) -> int:
        worker = app.Worker(
            hostname=self.name,
            pool_cls="prefork",
            concurrency=1,
            queues=[broker.queue_of(self.device_class)],
            without_gossip=True,
            without_mingle=True,
            loglevel=self.settings.log_level.upper(),
            quiet=True,
        )
        worker.start()
        return int(worker.exitcode or 0)

    def _on_ready(self, **_: Any) -> None:
        threading.Thread(target=self.attendance.run, args=(self.ended,), name="attendance", daemon=True).start()
        watch = DataRootWatch(self.settings, self.database)
        threading.Thread(target=watch.run, args=(self.ended,), name="data-root", daemon=True).start()
        if self._signer is not None:
            reconciler = Reconciler(self.settings, self.database, open_store(self.settings))
            threading.Thread(target=reconciler.run, args=(self.ended,), name="reconciler", daemon=True).start()
            sender = Sender(self.settings, self.database, self._signer)
            threading.Thread(target=sender.run, args=(self.ended,), name="webhooks", daemon=True).start()
        # Whatever was queued while nobody was there rang at no door.
        outbox.ring(self.settings, [self.device_class])
        _log.info("worker %s is ready for %s jobs", self.worker_id, self.device_class)

    def _on_shutting_down(self, **_: Any) -> None:
        self.drain.begin()
        self.attendance.say("draining")


def main() -> int:
    """Start the worker that the settings describe."""
    write_privately()
    try:
        settings = Settings()
        log.configure(settings)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        log.warn_of_broken_offers()
        return Main(settings).run()
    except ValidationError as error:
        sys.stderr.write(f"{explain(error)}\n")
        return 2
    except (SchemaError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2


if __name__ == "__main__":
    gc.freeze()  # All that is imported stays; the pool process shares its memory unless it is looked through.
    sys.exit(main())
