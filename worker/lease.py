"""Keeping a claim alive while its engine runs, and stopping the engine where that fails."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from app.core.database import Database
from app.core.settings import Settings
from app.queue import leases
from app.queue.leases import Claim, Wish
from worker.faults import fault_point

SAVE_AT = 45 / 60
"""Part of the lease without a renewal after which the engine is asked to save and end."""
KILL_AT = 55 / 60
"""Part of the lease without a renewal after which it is killed, before anyone else may claim the job."""
_LOOK_S = 0.2

_log = logging.getLogger(__name__)


class LeaseKeeper:
    """Renews a lease and learns what the user wants, in a thread of its own.

    Its clock is monotonic: a worker that was stopped for a while finds out at once that its lease is over.

    Args:
        database: where the lease is.
        settings: how often, and for how long.
        claimed: the claim, just made.

    Attributes:
        wish: what the user wants.
        lost: whether somebody else has the job.
        faded: whether the engine was stopped because the lease could not be renewed in time.
    """

    def __init__(self, database: Database, settings: Settings, claimed: Claim) -> None:
        self._database = database
        self._settings = settings
        self._claim = claimed
        self._renewed_at = time.monotonic()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._keep, name="lease-keeper", daemon=True)]
        self.wish = Wish("run", keep_result=False)
        self.lost = False
        self.faded = False

    @property
    def age_s(self) -> float:
        """Seconds since the last renewal was asked for that succeeded."""
        return time.monotonic() - self._renewed_at

    @property
    def over(self) -> bool:
        """Whether somebody else has the job, or may have it by now."""
        return self.lost or self.age_s >= self._settings.lease_s

    def start(self) -> None:
        """Begin renewing."""
        self._threads[0].start()

    def guard(self, save: Callable[[], None], kill: Callable[[], None]) -> None:
        """Watch over an engine: call ``save``, then ``kill``, when the lease can no longer be relied on.

        The watch has its own thread, since a database that does not answer blocks the one that renews.
        """
        watch = threading.Thread(target=self._watch, args=(save, kill), name="lease-guard", daemon=True)
        self._threads.append(watch)
        watch.start()

    def stop(self) -> None:
        """Renew no more."""
        self._ended.set()
        for thread in self._threads:
            thread.join(self._settings.heartbeat_s)

    def _keep(self) -> None:
        beat_at = time.monotonic() + self._settings.heartbeat_s
        pause = min(self._settings.poll_s, self._settings.heartbeat_s)
        while not self.lost and not self._ended.wait(pause):
            beats = time.monotonic() >= beat_at
            try:
                wish = self._renew() if beats else self._look()
            except SQLAlchemyError as error:
                _log.warning("the lease cannot be renewed, trying again: %s", type(error).__name__)
                continue
            if beats:
                beat_at = time.monotonic() + self._settings.heartbeat_s
            if wish is None:
                self.lost = True
            else:
                self.wish = wish

    def _renew(self) -> Wish | None:
        fault_point("heartbeat")
        asked_at = time.monotonic()
        with self._database.write() as session:
            wish = leases.heartbeat(session, self._claim.job_id, self._claim.fence, self._settings.lease_s)
        if wish is not None:
            self._renewed_at = asked_at
        return wish

    def _look(self) -> Wish | None:
        with self._database.read() as session:
            return leases.wish(session, self._claim.job_id, self._claim.fence)

    def _watch(self, save: Callable[[], None], kill: Callable[[], None]) -> None:
        while not self._ended.wait(min(_LOOK_S, self._settings.lease_s / 60)):
            if self.lost or self.age_s >= self._settings.lease_s * KILL_AT:
                self.faded = True
                kill()
                return
            if not self.faded and self.age_s >= self._settings.lease_s * SAVE_AT:
                self.faded = True
                save()
