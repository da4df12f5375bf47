"""Numbers that a job reports: every point, and summaries that lists and long charts read instead."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Integer, SmallInteger, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.core.tables import Base, Id
from app.models.jobs import Job
from app.models.keys import Tenant


class MetricKey(Base):
    """Name of a metric within a tenant, behind a small number."""

    __tablename__ = "metric_key"
    __table_args__ = (UniqueConstraint("tenant_id", "name"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Id, ForeignKey(Tenant.id))
    name: Mapped[str] = mapped_column(String(200))


class MetricPoint(Base):
    """One reading; a reading that is not finite has no ``value`` but a kind in ``nf``."""

    __tablename__ = "metric_point"
    __table_args__ = ({"sqlite_with_rowid": False},)

    job_number: Mapped[int] = mapped_column(BigInteger, ForeignKey(Job.number, ondelete="CASCADE"), primary_key=True)
    key_id: Mapped[int] = mapped_column(ForeignKey(MetricKey.id), primary_key=True)
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    wall_ms: Mapped[int] = mapped_column(BigInteger)
    """Milliseconds since 1970 by the clock of the worker, for charts only."""
    value: Mapped[float | None]
    nf: Mapped[int] = mapped_column(SmallInteger)
    """0 finite, 1 NaN, 2 infinity, 3 minus infinity."""


class MetricRollup(Base):
    """Summary of the points of ``2 ** level`` consecutive steps, numbered ``step >> level``."""

    __tablename__ = "metric_rollup"
    __table_args__ = ({"sqlite_with_rowid": False},)

    job_number: Mapped[int] = mapped_column(BigInteger, ForeignKey(Job.number, ondelete="CASCADE"), primary_key=True)
    key_id: Mapped[int] = mapped_column(ForeignKey(MetricKey.id), primary_key=True)
    level: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    bucket: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    n: Mapped[int]
    """Finite readings."""
    nf: Mapped[int]
    """Readings that are not finite."""
    vmin: Mapped[float | None]
    step_min: Mapped[int] = mapped_column(BigInteger)
    """First step with a reading."""
    vmax: Mapped[float | None]
    step_max: Mapped[int] = mapped_column(BigInteger)
    """Last step with a reading."""
    vsum: Mapped[float]
    vlast: Mapped[float | None]
    """Reading at ``step_max``."""


class MetricLast(Base):
    """Summary of a whole series, so that lists of jobs never touch points."""

    __tablename__ = "metric_last"
    __table_args__ = ({"sqlite_with_rowid": False},)

    job_number: Mapped[int] = mapped_column(BigInteger, ForeignKey(Job.number, ondelete="CASCADE"), primary_key=True)
    key_id: Mapped[int] = mapped_column(ForeignKey(MetricKey.id), primary_key=True)
    first_step: Mapped[int] = mapped_column(BigInteger)
    step: Mapped[int] = mapped_column(BigInteger)
    """Last step with a reading."""
    value: Mapped[float | None]
    n: Mapped[int] = mapped_column(BigInteger)
    """Finite readings."""
    nf: Mapped[int] = mapped_column(BigInteger)
    """Readings that are not finite."""
    vmin: Mapped[float | None]
    vmax: Mapped[float | None]
