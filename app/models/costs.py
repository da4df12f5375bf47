"""What finished jobs took: what estimates learn from."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.core.tables import Base, Json, Serial, Timestamp, clock


class MeasuredJob(Base):
    """What one job took on one machine. It names no tenant, no job and no set of a user's own."""

    __tablename__ = "measured_jobs"
    __table_args__ = (Index(None, "device_class", "number"), {"sqlite_autoincrement": True})

    number: Mapped[int] = mapped_column(Serial, primary_key=True)
    """Grows with time."""
    device_class: Mapped[str] = mapped_column(String(16))
    """``cpu`` or ``cuda``."""
    device: Mapped[str] = mapped_column(String(200))
    """Name of the processor with its threads, or of the accelerator."""
    precision: Mapped[str] = mapped_column(String(16))
    compiled: Mapped[bool]
    method: Mapped[str] = mapped_column(String(100))
    dataset: Mapped[str | None] = mapped_column(String(200))
    """Name of a published set; ``None`` for any other."""
    networks: Mapped[list[str]] = mapped_column(Json)
    """Digests of the networks that the cache has since."""
    kind: Mapped[str] = mapped_column(String(64))
    """Digest of all that the speed of its steps depends on; of each, the newest few are kept."""
    phases: Mapped[dict[str, Any]] = mapped_column(Json)
    """By name: ``seconds``, ``warm_up``, ``flop``, ``passes`` and ``keys``, which tell like phases."""
    model_bytes: Mapped[int] = mapped_column(BigInteger)
    """Most memory by the cost model."""
    peak_bytes: Mapped[int] = mapped_column(BigInteger)
    """Most memory as it was."""
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=clock())
