"""What jobs say: their logs, in parts."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from app.core.tables import Base, Id
from app.models.artifacts import Blob
from app.models.jobs import Job


class LogPart(Base):
    """A piece of a job's log, which ends with a line.

    Parts follow each other without gaps. The newest one grows here, in ``data``; a part that is large enough is moved
    to the store, and grows no more.
    """

    __tablename__ = "log_parts"
    __table_args__ = (Index(None, "sha256"),)

    job_id: Mapped[str] = mapped_column(Id, ForeignKey(Job.id, ondelete="CASCADE"), primary_key=True)
    start: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """Its first byte's place in the log."""
    size: Mapped[int] = mapped_column(BigInteger)
    data: Mapped[bytes | None] = mapped_column(LargeBinary)
    """Its bytes, as long as they are not in the store."""
    sha256: Mapped[str | None] = mapped_column(String(64), ForeignKey(Blob.sha256))
    """Where they are in the store."""
