"""SQL on things that are made of uploads. Statements for routes start from what the principal may see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, delete, func, insert, select, tuple_, update
from sqlalchemy.orm import Session

from app.artifacts.repository import keep
from app.core.pagination import Position
from app.core.security import Principal
from app.core.storage import Blob
from app.core.tables import clock
from app.models.jobs import Job
from app.models.states import TERMINAL, State
from app.models.uploads import Upload

Row = TypeVar("Row", bound=Upload)


@dataclass(frozen=True)
class StoredFile:
    """An upload that is complete.

    Attributes:
        file: its name.
        sha256: its digest, where it is known.
        parts: its pieces in the store, in their order; none where they were let go of.
    """

    file: str
    sha256: str | None
    parts: Sequence[Blob]


class UploadRepository(Generic[Row]):
    """The things of one kind that a principal may see."""

    row: ClassVar[type[Any]]
    """Their table, an :class:`~app.models.uploads.Upload`."""
    part: ClassVar[type[Any]]
    """That of the pieces of their uploads, a :class:`~app.models.uploads.Part`."""

    def __init__(self, session: Session, principal: Principal) -> None:
        self._session = session
        self._principal = principal

    @property
    def session(self) -> Session:
        """The transaction."""
        return self._session

    def get(self, identity: str, *, lock: bool = False) -> Row | None:
        """One of them, as it is in the database now.

        Args:
            identity: its identifier.
            lock: whether nobody else may change it until the transaction ends.
        """
        statement = self._visible().where(self.row.id == identity).execution_options(populate_existing=True)
        return self._session.scalars(statement.with_for_update() if lock else statement).one_or_none()

    def page(self, after: Position | None, limit: int, *conditions: ColumnElement[bool]) -> Sequence[Row]:
        """Those before a position that meet some conditions, newest first."""
        row, statement = self.row, self._visible().where(*conditions)
        if after is not None:
            last = tuple_(after.created_at, after.id, types=[row.created_at.type, row.id.type])
            statement = statement.where(tuple_(row.created_at, row.id) < last)
        return self._session.scalars(statement.order_by(row.created_at.desc(), row.id.desc()).limit(limit)).all()

    def add(self, row: Row) -> Row:
        """Insert one; its defaults are filled in."""
        self._session.add(row)
        self._session.flush()
        self._session.refresh(row)
        return row

    def change(self, identity: str, values: Mapping[str, Any]) -> None:
        """Set columns."""
        statement = update(self.row).where(*self._mine(), self.row.id == identity).values(**values)
        self._session.execute(statement.execution_options(synchronize_session=False))

    def add_part(self, identity: str, start: int, blob: Blob) -> bool:
        """Record a piece of an upload; ``False`` where it does not come next, or nothing is awaited any more."""
        row = self.row
        come = (
            update(row)
            .where(*self._mine(), row.id == identity, row.received == start, row.job_id.is_(None))
            .values(received=start + blob.size)
            .returning(row.id)
            .execution_options(synchronize_session=False)
        )
        if self._session.execute(come).first() is None:
            return False
        keep(self._session, blob.sha256, blob.size)
        piece = {"owner_id": identity, "start": start, "sha256": blob.sha256, "size": blob.size}
        self._session.execute(insert(self.part).values(piece))
        return True

    def forget_upload(self, identity: str) -> None:
        """Let go of what was received."""
        drop_parts(self._session, self.part, identity)
        self.change(identity, {"received": 0})

    def kept(self, rows: Sequence[Row]) -> Mapping[str, int]:
        """Bytes of the uploads that are kept, by identifier."""
        owner, ids = self.part.owner_id, [row.id for row in rows]
        sums = select(owner, func.sum(self.part.size)).where(owner.in_(ids)).group_by(owner)
        return {identity: int(size) for identity, size in self._session.execute(sums)}

    def jobs(self, rows: Sequence[Row]) -> Mapping[str, Job]:
        """The newest job of each that has one, by its identifier."""
        ids = [row.job_id for row in rows if row.job_id is not None]
        fresh = select(Job).where(Job.id.in_(ids)).execution_options(populate_existing=True)
        return {job.id: job for job in self._session.scalars(fresh)} if ids else {}

    def lock_job(self, row: Row) -> None:
        """Let nobody else change its newest job until the transaction ends."""
        if row.job_id is not None:
            self._session.execute(select(Job.id).where(Job.id == row.job_id).with_for_update())

    def _visible(self) -> Select[Any]:
        return select(self.row).where(*self._mine())

    def _mine(self) -> tuple[ColumnElement[bool], ...]:
        return self.row.tenant_id == self._principal.tenant_id, self.row.deleted_at.is_(None)


def stored(session: Session, row: Upload, part: type[Any]) -> StoredFile:
    """The file that a row is made of.

    Args:
        session: any session.
        row: what it is for.
        part: the table of its pieces.
    """
    found = session.scalars(select(part).where(part.owner_id == row.id).order_by(part.start))
    return StoredFile(row.file, row.sha256, [Blob(piece.sha256, piece.size) for piece in found])


def drop_parts(session: Session, part: type[Any], identity: str) -> None:
    """Let go of an upload's bytes; the collector removes them."""
    session.execute(delete(part).where(part.owner_id == identity).execution_options(synchronize_session=False))


def bury(session: Session, row: type[Any], part: type[Any], identity: str) -> None:
    """Hide one of them, and let go of its upload."""
    drop_parts(session, part, identity)
    gone = update(row).where(row.id == identity, row.deleted_at.is_(None)).values(deleted_at=clock())
    session.execute(gone.execution_options(synchronize_session=False))


def stale(session: Session, row: type[Any], age_s: float, limit: int = 100) -> Sequence[str]:
    """Those whose upload nobody has gone on with for ``age_s`` seconds, or whose job has ended without success."""
    failed = Job.status.in_(TERMINAL) & (Job.status != State.SUCCEEDED)
    statement = (
        select(row.id)
        .outerjoin(Job, Job.id == row.job_id)
        .where(row.deleted_at.is_(None), row.updated_at < clock(-age_s), row.job_id.is_(None) | failed)
        .order_by(row.updated_at)
        .limit(limit)
    )
    return session.scalars(statement).all()
