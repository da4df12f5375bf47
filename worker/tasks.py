"""The one task: somebody rang, so look whether there is a job to run."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass

from celery import shared_task
from sqlalchemy.exc import SQLAlchemyError

from app.core import broker
from app.core.database import Database
from app.core.settings import Settings
from app.core.storage import ArtifactStore, open_store
from app.queue import fleet, leases, outbox
from app.queue.leases import Claim
from worker import sweep
from worker.draining import Asked, Drain
from worker.faults import fault_point
from worker.launching import Launcher
from worker.supervisor import Supervisor

WORKER_VARIABLE = "DD_WORKER_ID"
"""By which a pool process knows whose it is."""
CLASS_VARIABLE = "DD_WORKER_CLASS"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Post:
    """What a pool process works with."""

    settings: Settings
    database: Database
    store: ArtifactStore
    worker_id: str
    device_class: str
    drain: Drain
    launcher: Launcher

    def answer(self) -> bool:
        """Claim the next job and run it; ``False`` if there is none or the worker takes no more."""
        fault_point("task.entry")
        if self.drain():
            return False
        claimed = self._claim()
        if claimed is None:
            return False
        fault_point("claim.after")
        _log.info("attempt %s of %s begins", claimed.attempt, claimed.job_id)
        try:
            with self.drain.heeding_sigterm():
                draining = Asked(self.drain, self._is_told_to_drain)
                Supervisor(self.settings, self.database, self.store, self.worker_id, draining, self.launcher).supervise(
                    claimed
                )
                self._rest()
                outbox.publish_pending(self.database, self.settings)
                self._make_room()
        finally:
            _log.info("attempt %s of %s is over", claimed.attempt, claimed.job_id)
        return True

    def _claim(self) -> Claim | None:
        try:
            with self.database.write() as session:
                if not fleet.may_claim(session, self.worker_id):
                    return None
                claimed = leases.claim(session, self.worker_id, self.device_class, self.settings.lease_s)
                if claimed is None:
                    fleet.set_state(session, self.worker_id, "idle")
                else:
                    fleet.set_state(session, self.worker_id, "busy", claimed.job_id)
                return claimed
        except SQLAlchemyError as error:
            # Whatever waits is rung for again.
            _log.warning("no job can be claimed: the database does not answer (%s)", type(error).__name__)
            return None

    def _is_told_to_drain(self) -> bool:
        try:
            with self.database.read() as session:
                return fleet.wanted_of(session, self.worker_id) == "drain"
        except SQLAlchemyError:
            # The lease tells soon enough that the database is away.
            return False

    def _rest(self) -> None:
        try:
            with self.database.write() as session:
                fleet.set_state(session, self.worker_id, "idle")
        except SQLAlchemyError as error:
            _log.warning("the worker cannot say that it is idle (%s)", type(error).__name__)

    def _make_room(self) -> None:
        try:
            sweep.trim_cache(self.settings.cache_dir, self.settings.cache_limit_gb * 1e9)
        except OSError as error:
            _log.warning("the cache cannot be cut down to its limit (%s)", error)


_posts: dict[int, Post] = {}


def post() -> Post:
    """The post of this process; connections are never shared with the process that forked it."""
    if os.getpid() not in _posts:
        settings = Settings()
        worker_id = os.environ[WORKER_VARIABLE]
        _posts[os.getpid()] = Post(
            settings=settings,
            database=Database(settings),
            store=open_store(settings),
            worker_id=worker_id,
            device_class=os.environ[CLASS_VARIABLE],
            drain=Drain(settings.home, worker_id),
            launcher=Launcher(settings),
        )
    return _posts[os.getpid()]


@shared_task(name=broker.DOORBELL)  # type: ignore[untyped-decorator]
def doorbell(version: int = 1) -> bool:
    """Answer one ring; ``version`` is that of the message."""
    if version != 1:
        _log.warning("a doorbell of version %s is answered like any other", version)
    return post().answer()
