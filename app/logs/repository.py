"""SQL on the parts of logs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from app.artifacts.repository import keep
from app.core.storage import Blob
from app.models.logs import LogPart

PART = 64 << 10
"""Bytes from which a part is moved to the store, and the next one begins."""


@dataclass(frozen=True)
class Place:
    """Where a part is: bytes ``start`` to ``end`` (exclusive) of the log, and in the store once it is there."""

    start: int
    size: int
    sha256: str | None

    @property
    def end(self) -> int:
        """The byte after its last."""
        return self.start + self.size


def length(session: Session, job_id: str) -> int:
    """Bytes of a job's log; 0 where there is none."""
    end = func.max(LogPart.start + LogPart.size)
    return int(session.scalar(select(end).where(LogPart.job_id == job_id)) or 0)


def places(session: Session, job_id: str, start: int, end: int) -> Sequence[Place]:
    """The parts with any of the bytes ``start`` to ``end`` (exclusive), in order."""
    wanted = (LogPart.job_id == job_id, LogPart.start < end, LogPart.start + LogPart.size > start)
    rows = session.execute(select(LogPart.start, LogPart.size, LogPart.sha256).where(*wanted).order_by(LogPart.start))
    return [Place(row.start, row.size, row.sha256) for row in rows]


def content(session: Session, job_id: str, start: int) -> tuple[bytes | None, Blob | None]:
    """What a part holds, or where the store holds it; neither where the log is gone."""
    statement = select(LogPart.data, LogPart.sha256, LogPart.size)
    row = session.execute(statement.where(LogPart.job_id == job_id, LogPart.start == start)).one_or_none()
    if row is None:
        return None, None
    return row.data, None if row.sha256 is None else Blob(row.sha256, row.size)


def append(session: Session, job_id: str, data: bytes) -> bool:
    """Add whole lines at the end.

    Nobody else may do so at the same time: the caller has locked the job's row.

    Returns:
        Whether a part is large enough for the store now.
    """
    newest = select(LogPart).where(LogPart.job_id == job_id).order_by(LogPart.start.desc()).limit(1)
    part = session.scalars(newest).one_or_none()
    if part is None or part.data is None or part.size >= PART:
        start = 0 if part is None else part.start + part.size
        part = LogPart(job_id=job_id, start=start, size=0, data=b"")
        session.add(part)
    part.data = (part.data or b"") + data
    part.size = len(part.data)
    session.flush()
    return part.size >= PART


def large(session: Session, job_id: str) -> Sequence[tuple[int, bytes]]:
    """First byte and content of the parts that belong in the store and are not there yet."""
    waiting = (LogPart.job_id == job_id, LogPart.data.is_not(None), LogPart.size >= PART)
    rows = session.execute(select(LogPart.start, LogPart.data).where(*waiting).order_by(LogPart.start))
    return [(row.start, row.data) for row in rows]


def settle(session: Session, job_id: str, start: int, blob: Blob) -> None:
    """Let the store have a part that it holds by now; one that has gone or changed meanwhile stays as it is."""
    same = (LogPart.job_id == job_id, LogPart.start == start, LogPart.size == blob.size, LogPart.data.is_not(None))
    keep(session, blob.sha256, blob.size)
    moved = update(LogPart).where(*same).values(data=None, sha256=blob.sha256)
    session.execute(moved.execution_options(synchronize_session=False))


def forget(session: Session, job_id: str) -> None:
    """Remove a job's log; what the store has of it is collected later."""
    gone = delete(LogPart).where(LogPart.job_id == job_id)
    session.execute(gone.execution_options(synchronize_session=False))
