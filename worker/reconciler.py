"""Puts right what processes that died have left: leases, messages, waiting jobs, unused files.

Runs as a thread of the embedded worker, or alone as ``python -m worker.reconciler``. Every step is
idempotent and its own short transaction, so two may run; a lease keeps it to one at a time.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType

from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from app import migrate
from app.artifacts import service as artifacts
from app.core import logging as log
from app.core.database import Database
from app.core.filesystems import write_privately
from app.core.ids import new_id
from app.core.security import Signer, load_signer
from app.core.settings import Settings, explain
from app.core.storage import ArtifactStore, StorageError, open_store
from app.datasets import ingests
from app.events import repository as events
from app.metrics import thinning
from app.migrate import SchemaError
from app.models.fleet import RECONCILING
from app.queue import endings, fleet, leases, outbox, purging
from app.scores import repository as scores
from app.studies import repository as studies
from app.studies.progress import advance
from app.webhooks.deliveries import drop_old as drop_old_messages
from worker.database_gate import await_database
from worker.faults import fault_point
from worker.outages import Outages
from worker.webhooks import Sender

_PUBLISH_S = 2.0
_COLLECT_S = 60.0
_PRUNE_S = 600.0
_PURGED_JOBS = 100
"""Deleted jobs that one round removes at most; a large one takes several rounds."""
_DROPPED = 500
"""Old checkpoints, pictures or jobs that one collection lets go of at most, of each."""
_CROWDED_JOBS = 100
_PRUNED_EVENTS = 1000
"""Events that one transaction removes at most."""
_PRUNINGS = 50
"""Such transactions of one round at most; what is left waits for a later one."""
_THINNINGS = 100
"""Transactions of one round that remove details of old jobs."""
_MISSED_ROUNDS = 3
"""Rounds after which another process may take the duty over."""

_log = logging.getLogger(__name__)


class Reconciler:
    """One candidate for the duty.

    Args:
        settings: how often, and where the broker is.
        database: what to put right.
        store: whose unused files to delete.
    """

    def __init__(self, settings: Settings, database: Database, store: ArtifactStore) -> None:
        self._settings = settings
        self._database = database
        self._store = store
        self._id = new_id("rec")
        self._outages = Outages(settings)
        self._collect_at = time.monotonic() + _COLLECT_S
        self._prune_at = time.monotonic() + _PRUNE_S
        self._thinning = self._thinnings(settings.keep_details_days)

    def run(self, ended: threading.Event) -> None:
        """Go round until ``ended``."""
        while not ended.is_set():
            self.round()
            ended.wait(self._settings.reconcile_s)

    def round(self) -> bool:
        """Do everything once; ``False`` if it is another's duty now, or the database is away."""
        try:
            if not self._leads():
                return False
        except SQLAlchemyError as error:
            _log.warning("the reconciler waits for the database (%s)", type(error).__name__)
            return False
        fault_point("reconcile")
        for step in (
            self._recover, self._expire, self._studies, self._relay, self._ring, self._purge, self._collect,
            self._prune, self._thin,
        ):  # fmt: skip
            self._attempt(step)
        return True

    def _attempt(self, step: Callable[[], None]) -> None:
        # One thing that cannot be put right must not keep the others from it.
        try:
            step()
        except (SQLAlchemyError, StorageError, OSError) as error:
            _log.warning("reconciling: %s failed (%s)", step.__name__.strip("_"), type(error).__name__)

    def _leads(self) -> bool:
        lease_s = max(self._settings.reconcile_s * _MISSED_ROUNDS, 1.0)
        with self._outages.watch(), self._database.write() as session:
            return fleet.lead(session, RECONCILING, self._id, lease_s)

    def _recover(self) -> None:
        """Take jobs away from workers that are gone."""
        with self._database.read() as session:
            lapsed = endings.lapsed(session)
        if lapsed and self._outages.excuse:
            _log.info("%s leases are over that nobody could renew; their workers have time to do so", len(lapsed))
            return
        for job_id, fence in lapsed:
            with self._database.write() as session:
                verdict = endings.recover(session, job_id, fence)
            if verdict is not None:
                _log.warning("%s lost its worker: %s", job_id, verdict.failure.code)

    def _expire(self) -> None:
        with self._database.read() as session:
            overdue = endings.overdue(session)
        for job_id in overdue:
            with self._database.write() as session:
                endings.expire_queued(session, job_id)

    def _studies(self) -> None:
        """Let studies go on: decide rungs that are scored, and carry out what is asked of them."""
        with self._database.read() as session:
            unfinished = studies.unfinished(session)
        for study_id in unfinished:
            try:
                with self._database.write() as session:
                    decided = advance(session, study_id, self._settings)
                    if decided:
                        fault_point("study.decided")
            except SQLAlchemyError as error:
                # One that waits for a lock must not keep the others from going on.
                _log.warning("%s does not go on yet (%s)", study_id, type(error).__name__)
                continue
            if decided:
                fault_point("study.committed")

    def _relay(self) -> None:
        outbox.publish_pending(self._database, self._settings, limit_s=_PUBLISH_S)

    def _ring(self) -> None:
        """Wake idle workers where work waits: their doorbell may have been lost."""
        with self._database.read() as session:
            idle = fleet.idle_workers(session, self._settings.lease_s)
            hungry = [name for name in idle if leases.runnable(session, name)]
        if hungry:
            outbox.ring(self._settings, hungry, limit_s=_PUBLISH_S)

    def _purge(self) -> None:
        """Remove for good what was deleted."""
        with self._database.read() as session:
            hidden = purging.deleted_jobs(session, _PURGED_JOBS)
        for job_id in hidden:
            with self._database.write() as session:
                purging.purge(session, job_id)
        if hidden:
            with self._database.write() as session:
                purging.purge_studies(session)

    def _collect(self) -> None:
        if time.monotonic() < self._collect_at:
            return
        self._collect_at = time.monotonic() + _COLLECT_S
        with self._database.write() as session:
            expired = ingests.expire_uploads(session, self._settings.upload_keep_s)
            expired += scores.expire_uploads(session, self._settings.upload_keep_s)
        self._let_go()
        with self._database.write() as session:
            deleted = artifacts.collect(session, self._store)
        deleted += self._store.remove_abandoned()
        if deleted or expired:
            _log.info("%s unused files deleted, %s uploads given up", deleted, expired)

    def _let_go(self) -> None:
        """Let go of what has been kept for as long as the settings say."""
        settings = self._settings
        for days, drop in (
            (settings.keep_checkpoints_days, purging.drop_old_checkpoints),
            (settings.keep_snapshots_days, purging.drop_old_snapshots),
            (settings.keep_jobs_days, purging.bury_old_jobs),
            (settings.webhook_keep_days, drop_old_messages),
        ):
            if days:
                with self._database.write() as session:
                    dropped = drop(session, days, _DROPPED)
                if dropped:
                    _log.info("%s: %s, after %g days", drop.__name__.replace("_", " "), dropped, days)

    def _prune(self) -> None:
        """Remove old events about progress."""
        if time.monotonic() < self._prune_at:
            return
        self._prune_at = time.monotonic() + _PRUNE_S
        with self._database.read() as session:
            waiting = deque(events.crowded(session, _CROWDED_JOBS))
        for _ in range(_PRUNINGS):
            if not waiting:
                return
            with self._database.write() as session:
                if events.prune(session, waiting[0], _PRUNED_EVENTS) < _PRUNED_EVENTS:
                    waiting.popleft()

    def _thin(self) -> None:
        """Go on removing what old jobs said on their way."""
        days = self._settings.keep_details_days
        for _ in range(_THINNINGS if days else 0):
            if next(self._thinning, None) is None:
                self._thinning = self._thinnings(days)
                return

    def _thinnings(self, days: float) -> Iterator[str]:
        """The identifier of a job after each transaction that removed a piece of what it said."""
        with self._database.read() as session:
            jobs = purging.wordy(session, days, _DROPPED)
        for job_id, number in jobs:
            with self._database.read() as session:
                found = thinning.long_series(session, number)
            for series in found:
                for low in series.windows():
                    with self._database.write() as session:
                        thinning.thin(session, series, low)
                    yield job_id
            while True:
                with self._database.write() as session:
                    removed = purging.drop_details(session, job_id, _PRUNED_EVENTS)
                yield job_id
                if removed < _PRUNED_EVENTS:
                    break
            with self._database.write() as session:
                purging.mark_thinned(session, job_id)
            yield job_id


def main() -> int:
    """Run alone until SIGTERM or SIGINT."""
    write_privately()
    ended = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    try:
        settings = Settings()
        log.configure(settings)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        database = Database(settings)
        signer = await_database(partial(_enter, settings, database), ended)
        if signer is None:
            return 0
        sending = threading.Thread(target=Sender(settings, database, signer).run, args=(ended,))
        sending.start()
        Reconciler(settings, database, open_store(settings)).run(ended)
        sending.join()
    except ValidationError as error:
        sys.stderr.write(f"{explain(error)}\n")
        return 2
    except (SchemaError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _enter(settings: Settings, database: Database) -> Signer:
    migrate.check(database)
    return load_signer(settings)


if __name__ == "__main__":
    sys.exit(main())
