"""What everything has in common that is made of a file which a client sends, a part at a time."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from app.core.tables import Id, Timestamp, clock
from app.models.artifacts import Blob
from app.models.keys import Tenant


class Upload:
    """A file from its announcement on, and the job that a worker does with it.

    Bytes are missing until there is a job; what became of it is said by that job.
    """

    __tablename__: str
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Id, ForeignKey(Tenant.id))
    file: Mapped[str] = mapped_column(String(255))
    """Name of the uploaded file, whose ending says what it is."""
    size: Mapped[int | None] = mapped_column(BigInteger)
    """Bytes of the upload, once they are known."""
    sha256: Mapped[str | None] = mapped_column(String(64))
    """Digest of the upload, where the client has told it."""
    received: Mapped[int] = mapped_column(BigInteger, default=0)
    """Bytes that are stored, from the first one on."""
    job_id: Mapped[str | None] = mapped_column(Id)
    """The newest job that a worker does with it."""
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=clock())
    updated_at: Mapped[datetime] = mapped_column(Timestamp, default=clock(), onupdate=clock())
    deleted_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """Tombstone: its content is collected later."""


class Part:
    """A piece of an upload, kept while it may still be read."""

    __tablename__: str
    owner_id: Mapped[str]
    """Whose upload it is a piece of."""
    start: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """Its first byte's place in the upload."""
    sha256: Mapped[str] = mapped_column(String(64), ForeignKey(Blob.sha256))
    size: Mapped[int] = mapped_column(BigInteger)
