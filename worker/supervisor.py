"""One attempt at one job: start the engine, pass on what it says, steer it, and record how it ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from app.artifacts.service import StaleFenceError
from app.core.database import Database
from app.core.settings import Settings
from app.core.storage import ArtifactStore, StorageError
from app.queue import checkpoints, endings, fleet, leases
from app.queue.leases import Claim
from app.queue.retries import Failure
from ddcore.machine import space
from worker.engine_process import EngineProcess
from worker.faults import fault_point
from worker.kinds import work_of
from worker.launching import Launcher
from worker.lease import LeaseKeeper
from worker.log_book import LogBook
from worker.outcome import Finished, Outcome, Reason, Stopped, outcome
from worker.protocol import Frame, Last, PhaseStarted
from worker.run_folder import RunFolder
from worker.sink import LeaseLostError, Sink
from worker.work import Ending, UnfitError

BATCH = 500
"""Frames written in one transaction at most."""
_HOPELESS = 12
"""Warnings' worth of silence after which an engine is ended: an epoch on a slow machine may take most of an hour."""
_TICK_S = 0.05
_DRAIN_LOOK_S = 0.2
_RETRY_S = 1.0
_PREPARE_PATIENCE_S = 30.0

PATIENCE_S = 600.0
"""Seconds for which a store or a disk that does not work is waited for; a database is, as long as it takes."""

DATABASE_ERRORS = (OperationalError, InterfaceError, PoolTimeoutError)
TRANSIENT = (*DATABASE_ERRORS, StorageError, OSError)
"""Errors that may be gone in a moment; anything else is a fault of ours."""

_log = logging.getLogger(__name__)


class Supervisor:
    """Runs claimed jobs, one after the other.

    Args:
        settings: the service's settings.
        database: where jobs are recorded.
        store: where files go.
        worker_id: this worker.
        draining: whether the worker is about to shut down.
        launcher: starts their processes.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        store: ArtifactStore,
        worker_id: str,
        draining: Callable[[], bool],
        launcher: Launcher,
    ) -> None:
        self.settings = settings
        self.database = database
        self.store = store
        self.worker_id = worker_id
        self.draining = draining
        self.launcher = launcher

    def supervise(self, claimed: Claim) -> None:
        """Run a job until it ends, is handed back, or is somebody else's."""
        folder = RunFolder(self.settings.runs_dir, claimed.job_id, claimed.fence)
        keeper = LeaseKeeper(self.database, self.settings, claimed)
        keeper.start()
        try:
            _Attempt(self, claimed, folder, keeper).run()
        except (LeaseLostError, StaleFenceError):
            _log.warning("attempt %s of %s was taken over; nothing of it counts", claimed.attempt, claimed.job_id)
        finally:
            keeper.stop()
            folder.remove()


class _AskedToStop(Exception):  # noqa: N818 - a wish, not an error
    """The user or the worker wants an end before the child process has begun."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class _Attempt:
    """State of one attempt."""

    def __init__(self, supervisor: Supervisor, claimed: Claim, folder: RunFolder, keeper: LeaseKeeper) -> None:
        self._settings = supervisor.settings
        self._database = supervisor.database
        self._store = supervisor.store
        self._worker_id = supervisor.worker_id
        self._draining = supervisor.draining
        self._launcher = supervisor.launcher
        self._claim = claimed
        self._folder = folder
        self._keeper = keeper
        self._work = work_of(claimed, supervisor.settings, supervisor.database, supervisor.store)
        self._book = LogBook(claimed.attempt, int(supervisor.settings.log_limit_mb * 1e6))
        self._sink = Sink(supervisor.database, supervisor.store, claimed, folder, self._book)
        self._reason: Reason | None = None
        self._kill_at: float | None = None
        self._runtime_over_at = time.monotonic() + claimed.runtime_left_s
        self._drain_look_at = 0.0
        self._write_at = 0.0
        self._unwritten: list[Frame] = []
        self._last: Last | None = None
        self._warned_of_silence = False
        self._restored = 0
        """Bytes of the state that is brought back."""
        self._reads_images = False
        """Whether there are images of an earlier attempt that the engine has yet to read."""

    def run(self) -> None:
        """From the folder to the end of the job.

        Raises:
            LeaseLostError, StaleFenceError: somebody else has the job.
        """
        self._book.add("worker", f"attempt {self._claim.attempt} begins on {self._worker_id}")
        try:
            self._persist(self._prepare, patience_s=_PREPARE_PATIENCE_S)
            ended = self._run_engine()
            if self._owes_images(ended) and self._can_go_on():
                self._book.add("worker", "the images of the last checkpoint are the result")
                ended = self._run_engine()
        except (LeaseLostError, StaleFenceError):
            raise
        except UnfitError as error:
            ended = error.failure
        except _AskedToStop as stop:
            ended = Stopped(stop.reason)
        except Exception as error:
            _log.exception("supervising %s failed", self._claim.job_id)
            message = f"the worker failed to run the job ({type(error).__name__}); its own log has the details"
            ended = self._no_space() if space.is_full(error) else Failure("supervisor_error", message, retryable=True)
        self._book.add("worker", f"attempt {self._claim.attempt} is over: {_told(ended)}")
        fault_point("finish.before")
        try:
            self._persist(lambda: self._conclude(ended))
        except (StorageError, OSError) as error:
            _log.warning("the files of %s cannot be stored: %s", self._claim.job_id, _name(error))
            lost = Failure("storage_failed", "the result could not be stored; it is made again", retryable=True)
            unstored = self._no_space() if space.is_full(error) else lost
            self._persist(lambda: self._conclude(unstored))
        fault_point("finish.after")

    def _no_space(self) -> Failure:
        """A full disk, with what there is to be kept and what is free."""
        made = sum(path.stat().st_size for path in self._folder.path.rglob("*") if path.is_file())
        disks = {"worker": self._settings.runs_dir}
        if "://" not in self._settings.storage_url:
            disks["store"] = Path(self._settings.storage_url)
        free = " and ".join(f"{space.free(folder):,} on that of the {of}" for of, folder in disks.items())
        needed = max(made, self._restored)
        message = f"a disk is full: the job needs {needed:,} bytes, and {free} are free; it is tried again"
        return Failure("no_space", message, retryable=True)

    def _prepare(self) -> None:
        self._folder.create(self._work.spec(), self._claim.hold_at)
        with self._database.read() as session:
            saved = checkpoints.newest_first(session, self._claim.job_id)
        self._restored = max((one.size for one in saved), default=0)
        step, complaints = self._folder.restore(self._store, saved)
        self._reads_images = step is not None
        self._sink.start_from(step)
        self._sink.warn(complaints)
        self._folder.forget_earlier()
        self._work.fetch(self._folder, self._proceed)

    def _owes_images(self, ended: Outcome) -> bool:
        """Whether a job that was cancelled with its images ended without them."""
        return self._finalizes and not isinstance(ended, Finished) and not self._keeper.over

    def _can_go_on(self) -> bool:
        """Make ready to write the images of the last checkpoint; whether there is one."""
        self._reason = self._kill_at = self._last = None
        self._persist(self._prepare, patience_s=_PREPARE_PATIENCE_S)
        if not self._reads_images:
            self._reason = Reason.CANCEL
        return self._reads_images

    @property
    def _finalizes(self) -> bool:
        """Whether the engine was told to write the images that it has."""
        return self._reason is Reason.CANCEL and self._keeper.wish.keep_result

    def _proceed(self) -> None:
        """Whether what takes long may go on.

        Raises:
            LeaseLostError: somebody else has the job.
            _AskedToStop: the user or the worker wants an end, or somebody else may have the job by now.
        """
        if self._keeper.lost:
            raise LeaseLostError(self._claim.job_id)
        reason = Reason.LEASE if self._keeper.over else self._wanted(time.monotonic())
        if reason is not None:
            raise _AskedToStop(reason)

    def _run_engine(self) -> Outcome:
        fault_point("spawn.before")
        engine = EngineProcess(self._launcher, self._folder, self._book, self._work.module)
        self._keeper.guard(engine.save, engine.kill)
        try:
            exit_code = self._accompany(engine)
            self._book.add("worker", f"the process ended with code {exit_code}")
            self._persist(lambda: self._drain(engine))
        finally:
            engine.close()
            engine.frames.close()
        return outcome(exit_code, self._last, self._reason or (Reason.LEASE if self._keeper.faded else None))

    def _accompany(self, engine: EngineProcess) -> int:
        """Pass frames on and steer until the engine has ended; returns its exit code."""
        while (exit_code := engine.poll()) is None:
            if self._keeper.lost:
                engine.kill()
                raise LeaseLostError(self._claim.job_id)
            self._steer(engine)
            self._pass_on(engine)
            time.sleep(_TICK_S)
        engine.close()
        return exit_code

    def _steer(self, engine: EngineProcess) -> None:
        now = time.monotonic()
        reason = self._wanted(now) or self._silence(engine, now)
        if reason is not None and reason is not self._reason:
            self._stop(engine, reason, now)
        elif self._kill_at is not None and now >= self._kill_at and not self._is_writing(engine, now):
            _log.warning("the engine of %s did not end in time and is killed", self._claim.job_id)
            self._kill_at = None
            engine.kill()

    def _is_writing(self, engine: EngineProcess, now: float) -> bool:
        """Whether an engine that finalises may go on: on a busy machine that takes longer than saving its state."""
        return self._finalizes and now - engine.heard_at < self._settings.stall_s

    def _stop(self, engine: EngineProcess, reason: Reason, now: float) -> None:
        if self._kill_at is None:
            self._kill_at = now + self._settings.stop_grace_s
        self._reason = reason
        self._book.add("worker", f"the process is told to stop: {reason.value}")
        if reason is Reason.STALL:
            engine.kill()
        elif reason is Reason.CANCEL and self._keeper.wish.keep_result:
            engine.finalize()
        else:
            engine.save()

    def _wanted(self, now: float) -> Reason | None:
        """Why the engine should stop, the user's wish first."""
        wish = self._keeper.wish
        if wish.desired == "cancel" and not (wish.keep_result and self._reads_images):
            return Reason.CANCEL
        if self._reason is Reason.STALL:
            return None
        if wish.desired == "pause":
            return Reason.PAUSE
        if self._keeper.faded:
            return Reason.LEASE
        if now >= self._runtime_over_at:
            return Reason.RUNTIME
        if self._reason is Reason.DRAIN or self._asked_to_drain(now):
            return Reason.DRAIN
        return None

    def _asked_to_drain(self, now: float) -> bool:
        if now < self._drain_look_at:
            return False
        self._drain_look_at = now + _DRAIN_LOOK_S
        return self._draining()

    def _silence(self, engine: EngineProcess, now: float) -> Reason | None:
        silent_s = now - engine.heard_at
        if silent_s < self._settings.stall_s:
            self._warned_of_silence = False
            return None
        if not self._warned_of_silence:
            self._warned_of_silence = True
            with suppress(*TRANSIENT):
                self._sink.warn([f"stalled: the engine has said nothing for {silent_s:.0f} s"])
        return Reason.STALL if silent_s >= _HOPELESS * self._settings.stall_s else None

    def _pass_on(self, engine: EngineProcess) -> None:
        """Write what has come in, every second or when there is much; what cannot be written now is kept."""
        now = time.monotonic()
        if now < self._write_at and len(engine.frames) < BATCH:
            return
        self._write_at = now + min(1.0, self._settings.poll_s)
        try:
            self._write_frames(engine)
        except TRANSIENT as error:
            _log.warning("frames of %s wait: %s", self._claim.job_id, _name(error))
            self._write_at = now + _RETRY_S

    def _drain(self, engine: EngineProcess) -> None:
        """Write everything that is left of a process that has ended."""
        while self._unwritten or len(engine.frames) or len(self._book):
            self._write_frames(engine)

    def _write_frames(self, engine: EngineProcess) -> None:
        """Write all frames that have come, and some lines of the log with each transaction.

        A process that prints more than it should so neither fills the database in no time nor keeps this thread.
        """
        wrote = False
        while not wrote or self._unwritten or len(engine.frames):
            wrote = True
            self._unwritten = self._unwritten or engine.frames.take(BATCH)
            for frame in self._unwritten:
                if isinstance(frame, Last):
                    self._last = frame
                elif isinstance(frame, PhaseStarted) and frame.phase == "distilling":
                    self._reads_images = False
            self._sink.write(self._unwritten)
            self._unwritten = []

    def _conclude(self, ended: Outcome) -> None:
        """Store what is left behind and end the attempt, in one fenced transaction."""
        if isinstance(ended, Finished):
            try:
                ending = self._work.collect(self._folder, ended.done, cancelled=self._reason is Reason.CANCEL)
            except UnfitError as error:
                ended = error.failure
                self._book.add("error", f"{ended.message} ({ended.code})")
            else:
                self._end(ending)
                self._after_success()
                return
        stop_or_failure = ended
        self._end(lambda session: self._give_up(session, stop_or_failure))

    def _end(self, ending: Ending) -> None:
        fault_point("finish.stored")
        with self._database.write() as session:
            if not leases.hold(session, self._claim.job_id, self._claim.fence, {}):
                raise LeaseLostError(self._claim.job_id)
            self._sink.write_log(session, self._book.next())
            if not ending(session):
                raise LeaseLostError(self._claim.job_id)

    def _after_success(self) -> None:
        try:
            self._work.afterwards(self._folder)
        except OSError as error:
            _log.warning("%s has succeeded, but not what was to follow: %s", self._claim.job_id, _name(error))

    def _give_up(self, session: Session, ended: Stopped | Failure) -> bool:
        if isinstance(ended, Stopped):
            if ended.reason is Reason.RUNTIME:
                return endings.expire(session, self._claim)
            return endings.release(session, self._claim, ended.message, held=ended.reason is Reason.HOLD)
        if ended.lost and fleet.record_loss(session, self._worker_id, self._claim.job_id):
            _log.error("this worker lost too many different jobs and claims no more; check its device")
        return endings.fail(session, self._claim, ended, self._settings.backoff_s) is not None

    def _persist(self, act: Callable[[], None], patience_s: float | None = None) -> None:
        """Do something that needs database and store, again and again until it works.

        The database is waited for beyond the lease: what is written carries the fence, so that it counts only where
        nobody has taken the job away meanwhile, and nobody could while the database was away or its disk full.

        Raises:
            LeaseLostError: somebody else has the job; or may have it, and the worker is to shut down.
            StorageError, OSError: it did not work for ``patience_s`` (default: ``PATIENCE_S``) seconds.
        """
        impatient_at = time.monotonic() + (PATIENCE_S if patience_s is None else patience_s)
        while True:
            try:
                act()
                return
            except TRANSIENT as error:
                if self._keeper.lost or (self._keeper.over and self._draining()):
                    raise LeaseLostError(self._claim.job_id) from error
                if not isinstance(error, DATABASE_ERRORS) and time.monotonic() >= impatient_at:
                    raise
                _log.warning("%s waits: %s", self._claim.job_id, _name(error))
            time.sleep(min(_RETRY_S, self._settings.lease_s / 20))


def _told(ended: Outcome) -> str:
    """How an attempt ended, for its log."""
    if isinstance(ended, Finished):
        return "done; its result is being stored"
    return ended.message if isinstance(ended, Stopped) else f"{ended.message} ({ended.code})"


def _name(error: Exception) -> str:
    # The text of a database error quotes statements and values, which belong in nobody's log.
    return type(error).__name__
