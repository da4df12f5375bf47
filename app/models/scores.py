"""Sets that others made, sent to be scored."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.core.tables import Base, Id, Json
from app.models.uploads import Part, Upload


class Score(Upload, Base):
    """A set of others: its upload, by what it is to be scored, and what the worker found in it.

    Accuracies are the ``results`` of its job.
    """

    __tablename__ = "scores"
    __table_args__ = (Index("ix_scores_listing", "tenant_id", "created_at", "id"), Index(None, "job_id"))

    name: Mapped[str | None] = mapped_column(String(200))
    dataset: Mapped[str] = mapped_column(String(200))
    """What it stands for, with its version where that is a user's own set."""
    dataset_id: Mapped[str | None] = mapped_column(Id)
    """The user's own set; ``None`` for one that workers know by its name."""
    request: Mapped[dict[str, Any]] = mapped_column(Json)
    """``recipe``, ``values`` and ``ipc`` as they were asked for, and the labels, priority and limits of the job."""
    ipc: Mapped[int | None]
    """Images of each class, once it is scored."""
    spec: Mapped[dict[str, Any] | None] = mapped_column(Json)
    """The normalised :class:`ddcore.spec.JobSpec` that scores alike, once it is scored."""
    key_id: Mapped[str | None] = mapped_column(Id)
    """The API key that announced it."""


class ScorePart(Part, Base):
    """A piece of the file of a set that is to be scored; kept until it is."""

    __tablename__ = "score_parts"
    __table_args__ = (Index(None, "sha256"),)

    owner_id: Mapped[str] = mapped_column("score_id", Id, ForeignKey(Score.id, ondelete="CASCADE"), primary_key=True)
