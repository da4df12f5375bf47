"""Where an engine's frames go: files into the store, then everything else in one fenced transaction."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.artifacts import service as artifacts
from app.core.database import Database
from app.core.storage import ArtifactStore, Blob, StorageError
from app.costs import forecasts, plans
from app.events import alerts
from app.events import repository as events
from app.logs import repository as logs
from app.logs.service import move_to_store
from app.metrics import repository as metrics
from app.queue import checkpoints, leases
from app.queue.checkpoints import SavedCheckpoint
from app.queue.leases import Claim
from ddcore.spec import parse
from worker import protocol
from worker.faults import fault_point
from worker.log_book import LogBook
from worker.protocol import CheckpointSaved, Frame, Snapshot
from worker.run_folder import RunFolder, pin
from worker.watchdog import Alert, Watchdog

_SPEED_WINDOW_S = 10.0

_log = logging.getLogger(__name__)


class LeaseLostError(Exception):
    """Somebody else has the job; nothing of this attempt may be written any more."""


@dataclass(frozen=True)
class _Stored:
    """A file of a frame, and its content in the store."""

    path: Path
    blob: Blob


class Sink:
    """Writes what an engine reports, in the order in which it reports it.

    Args:
        database: where to write.
        store: where files go.
        claimed: the job, whose fence every transaction checks.
        folder: where the engine leaves its files.
        book: lines of the job's log, which are stored along with the frames.
    """

    def __init__(
        self, database: Database, store: ArtifactStore, claimed: Claim, folder: RunFolder, book: LogBook
    ) -> None:
        self._database = database
        self._store = store
        self._claim = claimed
        self._folder = folder
        self._book = book
        self._log_is_large = False
        self._watchdog = Watchdog()
        self._alerts: list[Alert] = []
        self._speed = _Speed()
        self._position = _Position()
        self._readings: dict[str, float | None] = {}

    def write(self, frames: Sequence[Frame]) -> None:
        """Record frames and some lines of the log; after an error nothing is, and the same may be given again.

        Raises:
            LeaseLostError: the fence no longer holds.
            SQLAlchemyError: the database cannot be written now.
            StorageError: the store cannot be written now.
        """
        lines = self._book.next()
        if not frames and not lines:
            return
        stored = self._upload(frames)
        self._alerts += self._watchdog.look(frames)
        with self._database.write() as session:
            position, columns = self._advance(frames)
            if not leases.hold(session, self._claim.job_id, self._claim.fence, columns):
                raise LeaseLostError(self._claim.job_id)
            fault_point("sink.write")
            for frame in frames:
                if isinstance(frame, protocol.Resumed):
                    metrics.truncate_after(session, self._claim.job_id, frame.step)
            self._record_points(session, frames)
            for index, frame in enumerate(frames):
                self._record(session, frame, stored.get(index))
            self._report_progress(session, frames, position)
            for alert in self._alerts:
                alerts.record(session, self._claim.job_id, alert.rule, alert.message, alert.numbers)
            self.write_log(session, lines)
        self._position = position
        self._alerts.clear()
        self._book.stored(len(lines))
        self._move_log()
        for path in (item.path for item in stored.values()):
            path.unlink(missing_ok=True)

    def write_log(self, session: Session, lines: bytes) -> None:
        """Add whole lines to the job's log, in a transaction that has checked the fence."""
        if lines:
            self._log_is_large |= logs.append(session, self._claim.job_id, lines)

    def start_from(self, step: int | None) -> None:
        """Forget the readings beyond the checkpoint that the attempt starts from, ``None`` for none.

        The log goes on where it is.

        Raises:
            LeaseLostError: the fence no longer holds.
        """
        with self._database.write() as session:
            if not leases.hold(session, self._claim.job_id, self._claim.fence, {"step": step or 0}):
                raise LeaseLostError(self._claim.job_id)
            metrics.truncate_after(session, self._claim.job_id, -1 if step is None else step)
            self._book.begin(logs.length(session, self._claim.job_id))

    def warn(self, messages: Iterable[str]) -> None:
        """Tell the user something that the engine does not know.

        Raises:
            LeaseLostError: the fence no longer holds.
        """
        warnings = [protocol.Log(level="warning", message=message) for message in messages]
        for warning in warnings:
            self._book.add_frame(warning)
        self.write(warnings)

    def _move_log(self) -> None:
        if not self._log_is_large:
            return
        try:
            move_to_store(self._database, self._store, self._claim.job_id)
        except (StorageError, OSError, SQLAlchemyError) as error:
            # The lines are safe where they are; they are moved after a later write.
            _log.warning("the log of %s stays in the database: %s", self._claim.job_id, type(error).__name__)
        else:
            self._log_is_large = False

    def _advance(self, frames: Sequence[Frame]) -> tuple[_Position, dict[str, Any]]:
        """Where the engine is after these frames, and the columns of the job that show it."""
        position, columns = self._position, dict[str, Any]()
        for frame in frames:
            position = position.after(frame)
            # Of every position on the way: the last step of one phase may come together with the next phase.
            columns |= position.columns()
        position = replace(position, per_s=self._speed.at(position))
        return position, columns | position.columns()

    def _upload(self, frames: Sequence[Frame]) -> dict[int, _Stored]:
        """Store the files that frames name, by the frame's place; of several checkpoints only the last counts."""
        last = max((i for i, frame in enumerate(frames) if isinstance(frame, CheckpointSaved)), default=-1)
        pins = self._folder.path / "uploads"
        stored = {}
        for index, frame in enumerate(frames):
            if isinstance(frame, Snapshot):
                source = pin(self._folder.snapshot(frame.name), pins)
            elif isinstance(frame, CheckpointSaved) and index == last:
                source = pin(self._folder.checkpoint(frame.name), pins)
            else:
                continue
            if source is not None:
                stored[index] = _Stored(source, self._store.put_file(source))
        return stored

    def _record_points(self, session: Session, frames: Sequence[Frame]) -> None:
        readings = [frame for frame in frames if isinstance(frame, protocol.Metrics)]
        points = [(f.step, f.wall_ms, name, value) for f in readings for name, value in f.values.items()]
        metrics.ingest(session, self._claim.job_id, self._claim.tenant_id, points)

    def _record(self, session: Session, frame: Frame, stored: _Stored | None) -> None:
        match frame:
            case protocol.Metrics():
                self._readings |= {name: v if math.isfinite(v) else None for name, v in frame.values.items()}
            case protocol.Resumed():
                self._event(session, "job.log", f"goes on after step {frame.step}", {"step": frame.step})
                if not frame.exact:
                    inexact = "other device or library versions than before: the result may differ in its last digits"
                    self._event(session, "job.warning", inexact, {"code": "resume.not_bit_exact"})
            case protocol.Planned():
                predicted = forecasts.predict_run(session, parse(self._folder.spec()), frame.workload)
                plan = plans.plan_of(predicted, frame.workload)
                leases.hold(session, self._claim.job_id, self._claim.fence, {"plan": plan})
            case protocol.Log():
                self._event(session, "job.warning" if frame.level == "warning" else "job.log", frame.message, {})
            case Snapshot() if stored is not None:
                self._publish(session, "snapshot", "image/png", frame.step, stored)
            case CheckpointSaved() if stored is not None:
                self._record_checkpoint(session, frame, stored)

    def _record_checkpoint(self, session: Session, frame: CheckpointSaved, stored: _Stored) -> None:
        if stored.blob.sha256 != frame.sha256:
            damaged = f"the checkpoint of step {frame.step} was damaged on its way to disk; the one before is kept"
            self._event(session, "job.warning", damaged, {"step": frame.step})
            return
        if checkpoints.known(session, self._claim.job_id, frame.sha256):
            return
        artifact = self._publish(session, "checkpoint", "application/octet-stream", frame.step, stored)
        saved = SavedCheckpoint(frame.step, frame.sha256, stored.blob.size)
        leases.record_checkpoint(session, self._claim, saved, artifact, self._readings)

    def _publish(self, session: Session, kind: artifacts.Kind, media_type: str, step: int, stored: _Stored) -> str:
        claimed = self._claim
        output = artifacts.Output(kind, stored.path, media_type, step=step, attempt=claimed.attempt, blob=stored.blob)
        return artifacts.publish(session, self._store, claimed.job_id, claimed.fence, output)

    def _event(self, session: Session, kind: str, message: str, data: dict[str, Any]) -> None:
        level: events.Level = "warning" if kind == "job.warning" else "info"
        events.append(session, self._claim.job_id, kind, level, message, data)

    def _report_progress(self, session: Session, frames: Sequence[Frame], at: _Position) -> None:
        if any(isinstance(frame, protocol.PhaseStarted | protocol.Progress) for frame in frames):
            of = f" {at.done} of {at.total}" if at.total else ""
            self._event(session, events.PROGRESS, f"{at.phase}{of}", at.describe())


@dataclass(frozen=True)
class _Position:
    """How far the engine is: units of work of a phase, and speed in units a second."""

    phase: str | None = None
    done: int = 0
    total: int | None = None
    per_s: float | None = None
    pretrained: int = 0
    """Epochs of networks in all groups of them that are announced; a job counts them together."""

    def after(self, frame: Frame) -> _Position:
        """The position once a frame is taken in."""
        match frame:
            case protocol.PhaseStarted(phase="pretraining", total=int(total)):
                return _Position(frame.phase, self.pretrained, self.pretrained + total, None, self.pretrained + total)
            case protocol.PhaseStarted():
                return _Position(frame.phase, 0, frame.total, None, self.pretrained)
            case protocol.Progress() if self.phase == "pretraining" and frame.total <= self.pretrained:
                return replace(self, done=self.pretrained - frame.total + frame.done)
            case protocol.Progress():
                return replace(self, done=frame.done, total=frame.total)
        return self

    def columns(self) -> dict[str, Any]:
        """The job's columns that show it."""
        columns = {
            "phase": self.phase, "phase_done": self.done, "phase_total": self.total, "steps_per_s": self.per_s,
        }  # fmt: skip
        return columns | ({"step": self.done} if self.phase == "distilling" else {})

    def describe(self) -> dict[str, Any]:
        """The data of a progress event."""
        return {"phase": self.phase, "done": self.done, "total": self.total, "per_s": self.per_s}


class _Speed:
    """Units of work a second, over the last seconds of one phase."""

    def __init__(self) -> None:
        self._phase: str | None = None
        self._marks: deque[tuple[float, int]] = deque()

    def at(self, position: _Position) -> float | None:
        """Take in a position and return the speed, ``None`` until two different moments are known."""
        now = time.monotonic()
        if position.phase != self._phase or (self._marks and position.done < self._marks[-1][1]):
            self._phase = position.phase
            self._marks.clear()
        self._marks.append((now, position.done))
        while len(self._marks) > 2 and self._marks[1][0] < now - _SPEED_WINDOW_S:
            self._marks.popleft()
        (since, first), (until, last) = self._marks[0], self._marks[-1]
        return (last - first) / (until - since) if last > first and until > since else None
