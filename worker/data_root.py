"""Looks at what somebody puts into the data root by hand, so that a job on anything unfit is refused when it is sent.

The API must not load the engine, and may not see the data root. So a worker does: it reads files that are new or have
changed, and records what it found. Until then jobs on them are accepted with a warning.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Mapping

from pydantic import TypeAdapter
from sqlalchemy.exc import SQLAlchemyError

from app.core.database import Database
from app.core.ids import new_id
from app.core.settings import Settings
from app.datasets import found
from app.datasets.found import Found
from app.datasets.schemas import DatasetError
from ddcore.spec import DatasetFacts
from ddcore.spec.local_sets import fingerprint_of, names_in, report_in
from worker import protocol
from worker.engine_process import EngineProcess
from worker.launching import Launcher
from worker.log_book import LogBook
from worker.protocol import FACTS, Failed
from worker.run_folder import RunFolder

_MODULE = "worker.look_main"
_FACTS = TypeAdapter(DatasetFacts)
_SHARE = 20
"""The time between two rounds, in times of what a round takes: a data root may hold millions of files."""
_TICK_S = 0.1
_SAY_S = 10.0
_FRAMES = 1000
_LOG = 64 << 10
"""Bytes of what it prints that are held at a time; nobody reads them, but a full pipe would stop it."""

_log = logging.getLogger(__name__)


class DataRootWatch:
    """Looks at one worker's data root, again and again.

    Args:
        settings: where it is, and how much looking at it may cost.
        database: where the findings are kept.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._launcher = Launcher(settings, forks=False)
        self._folder = settings.data_root.resolve()
        self._root = f"{socket.gethostname()}:{self._folder}"[-300:]
        self._before: Mapping[str, str] | None = None

    def run(self, ended: threading.Event) -> None:
        """Go round until ``ended``."""
        while self._settings.data_root_s and not ended.is_set():
            began = time.monotonic()
            try:
                self.round(ended)
            except (SQLAlchemyError, OSError) as error:
                _log.warning("the data root cannot be looked at now (%s)", type(error).__name__)
            ended.wait(max(self._settings.data_root_s, _SHARE * (time.monotonic() - began)))

    def round(self, ended: threading.Event) -> None:
        """Look at everything that is new or has changed, and has stopped changing since the last round."""
        now = {name: fingerprint_of(name, self._folder) for name in names_in(self._folder)}
        settled = {name: each for name, each in now.items() if self._before is None or self._before.get(name) == each}
        self._before = now
        with self._database.write() as session:
            waiting = found.saw(session, self._root, settled)
        for name in waiting:
            if ended.is_set():
                return
            verdict = self._look(name, ended)
            if verdict is not None:
                with self._database.write() as session:
                    found.record(session, self._root, name, settled[name], verdict)

    def _look(self, name: str, ended: threading.Event) -> Found | None:
        """What is in the files of a name; nothing where the worker ends."""
        report = report_in(self._folder / name)
        if report is not None:
            return Found(facts=report.facts)
        folder = RunFolder(self._settings.runs_dir, new_id("look"), 0)
        folder.create({"dataset": name, "memory_bytes": int(self._settings.ingest_memory_gb * 1e9)})
        looking = EngineProcess(self._launcher, folder, LogBook(1, limit=_LOG), _MODULE)
        try:
            code = self._accompany(looking, name, ended)
            return None if code is None else _verdict(code, looking, folder, name)
        finally:
            looking.close()
            looking.frames.close()
            folder.remove()

    def _accompany(self, looking: EngineProcess, name: str, ended: threading.Event) -> int | None:
        over_at = time.monotonic() + self._settings.ingest_runtime_s
        say_at = time.monotonic() + _SAY_S
        while (code := looking.poll()) is None:
            if ended.wait(_TICK_S):
                return None
            if time.monotonic() >= over_at:
                _log.warning("reading the files of %s in the data root takes too long", name)
                looking.kill()
            if time.monotonic() >= say_at:
                say_at = time.monotonic() + _SAY_S
                with self._database.write() as session:
                    found.see(session, self._root, self._before or ())
        looking.close()
        return code


def _verdict(code: int, looking: EngineProcess, folder: RunFolder, name: str) -> Found:
    """What a process that has ended found; nothing certain where it failed by no fault of the files."""
    failed = [frame for frame in looking.frames.take(_FRAMES) if isinstance(frame, Failed)]
    if code == protocol.EXIT_DONE:
        return Found(facts=_FACTS.validate_json((folder.path / FACTS).read_bytes()))
    if failed and not failed[-1].retryable and code in (protocol.EXIT_DATA_ERROR, protocol.EXIT_OUT_OF_MEMORY):
        return Found(error=DatasetError(code=failed[-1].code, message=failed[-1].message))
    _log.warning("whether jobs can use the files of %s in the data root is not known (code %s)", name, code)
    return Found()
