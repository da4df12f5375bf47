"""Users' own sets: what was uploaded, and what was made of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.tables import Base, Id, Json, Timestamp, clock
from app.models.artifacts import Blob
from app.models.uploads import Part, Upload


class Dataset(Upload, Base):
    """One version of a user's own set, from its announcement on.

    Where it is in its life is not kept here: bytes are missing until ``received`` reaches ``size``, its newest ingest
    is the job ``job_id``, and it can be distilled once it has a ``content_id``. The version of a deleted one stays
    taken.
    """

    __tablename__ = "datasets"
    __table_args__ = (
        Index("ix_datasets_listing", "tenant_id", "created_at", "id"),
        Index("ix_datasets_content", "tenant_id", "content_id"),
        Index(
            "uq_datasets_version",
            "tenant_id",
            "name",
            "version",
            unique=True,
            sqlite_where=text("version IS NOT NULL"),
            postgresql_where=text("version IS NOT NULL"),
        ),
    )

    name: Mapped[str] = mapped_column(String(100))
    version: Mapped[int | None]
    """1, 2, … among the sets of this name that were taken in; none is ever given twice."""
    options: Mapped[dict[str, Any]] = mapped_column(Json)
    """:class:`ddcore.spec.ingest.IngestOptions` as JSON."""
    content_id: Mapped[str | None] = mapped_column(String(40))
    """``ds_…``: identity of its content, as the engine knows it."""
    report: Mapped[dict[str, Any] | None] = mapped_column(Json, deferred=True)
    """:class:`ddcore.spec.ingest.DatasetReport` as JSON."""
    facts: Mapped[dict[str, Any] | None] = mapped_column(Json)
    """What lists, forms and estimates need of the report, so that a list need not read every report."""
    stored: Mapped[int] = mapped_column(BigInteger, default=0)
    """Bytes of its files."""
    ready_at: Mapped[datetime | None] = mapped_column(Timestamp)


class DatasetPart(Part, Base):
    """A piece of an upload; kept until the set is taken in, so that it can be taken in otherwise."""

    __tablename__ = "dataset_parts"
    __table_args__ = (Index(None, "sha256"),)

    owner_id: Mapped[str] = mapped_column(
        "dataset_id", Id, ForeignKey(Dataset.id, ondelete="CASCADE"), primary_key=True
    )


class DatasetFile(Base):
    """A file of a set that was taken in."""

    __tablename__ = "dataset_files"
    __table_args__ = (Index(None, "sha256"),)

    dataset_id: Mapped[str] = mapped_column(Id, ForeignKey(Dataset.id, ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), ForeignKey(Blob.sha256))
    size: Mapped[int] = mapped_column(BigInteger)


class FoundSet(Base):
    """What one data root holds under a name, and what a worker that sees it has found there.

    It is being looked at while ``looked_at`` is empty. Afterwards it has ``facts``, or an ``error``, or neither where
    nothing could be decided.
    """

    __tablename__ = "found_sets"

    root: Mapped[str] = mapped_column(String(300), primary_key=True)
    """The data root: its machine and its folder."""
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    """Changes with the files, see :func:`ddcore.spec.local_sets.fingerprint_of`."""
    facts: Mapped[dict[str, Any] | None] = mapped_column(Json)
    """:class:`ddcore.spec.DatasetFacts` as JSON."""
    error: Mapped[dict[str, Any] | None] = mapped_column(Json)
    """``code`` and ``message``: why no job can use it."""
    looked_at: Mapped[datetime | None] = mapped_column(Timestamp)
    seen_at: Mapped[datetime] = mapped_column(Timestamp, default=clock())
    """When a worker last saw the files so, or was still looking at them."""
