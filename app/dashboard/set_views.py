"""What the pages show of a dataset, worked out from its document."""

from __future__ import annotations

from dataclasses import dataclass

from app.dashboard.wording import size
from app.datasets.schemas import DatasetDocument, DatasetState
from app.models.states import TERMINAL

_WORDS = {
    DatasetState.RECEIVING: "Receiving its files",
    DatasetState.QUEUED: "Waiting for a worker",
    DatasetState.PAUSED: "Paused",
    DatasetState.READY: "Ready",
    DatasetState.FAILED: "It could not be taken in",
    DatasetState.CANCELLING: "Stopping",
    DatasetState.UNFIT: "No job can use it",
    DatasetState.CANCELLED: "Taking it in was cancelled",
}
_PHASES = {"reading": "Reading its files", "decoding": "Decoding its images"}
_BUSY = (DatasetState.RECEIVING, DatasetState.QUEUED, DatasetState.INGESTING, DatasetState.CANCELLING)


@dataclass(frozen=True)
class SetView:
    """A dataset as the pages show it."""

    document: DatasetDocument

    @property
    def busy(self) -> bool:
        """Whether something happens to it by itself."""
        return self.document.state in _BUSY

    @property
    def open(self) -> bool:
        """Whether it may become something else while it is looked at."""
        job = self.document.job
        return self.document.state is DatasetState.RECEIVING or (job is not None and job.status not in TERMINAL)

    @property
    def said(self) -> str:
        """What a screen reader says of it: not every image counts."""
        return self.activity if self.share is None else f"{self.activity}, {int(10 * self.share) * 10} %"

    @property
    def activity(self) -> str:
        """What happens to it, in one line."""
        job = self.document.job
        if self.document.state is DatasetState.INGESTING and job is not None:
            return _PHASES.get(job.phase or "", "Starting")
        return _WORDS[self.document.state]

    @property
    def share(self) -> float | None:
        """Finished share of its upload or its ingest; ``None`` where that is not known."""
        document = self.document
        if document.state is DatasetState.RECEIVING and document.upload is not None and document.upload.size:
            return min(document.upload.received / document.upload.size, 1.0)
        if document.state is DatasetState.INGESTING and document.job is not None and document.job.total:
            return min(document.job.done / document.job.total, 1.0)
        return None

    @property
    def progress(self) -> str:
        """How far its upload or its ingest is, in words; empty where there is nothing to say."""
        document = self.document
        if document.state is DatasetState.RECEIVING and document.upload is not None:
            come = size(document.upload.received)
            return f"{come} of {size(document.upload.size)}" if document.upload.size else come
        if document.state is DatasetState.INGESTING and document.job is not None and document.job.total:
            return f"{document.job.done:,} of {document.job.total:,} images"
        return ""

    @property
    def shape(self) -> str:
        """Size and kind of its images, such as ``32 × 32 colour``."""
        return shape_words(self.document.shape) if self.document.shape else "–"

    @property
    def images(self) -> str:
        """Numbers of its images, such as ``1,437 + 360``."""
        document = self.document
        if document.train_size is None:
            return "–"
        return f"{document.train_size:,}" + (f" + {document.test_size:,}" if document.test_size else "")


def shape_words(shape: list[int] | tuple[int, int, int]) -> str:
    """Width, height and kind of images of a shape (channels, height, width).

    >>> shape_words((3, 48, 64)), shape_words([1, 8, 8])
    ('64 × 48 colour', '8 × 8 grey')
    """
    channels, height, width = shape
    return f"{width} × {height} {'grey' if channels == 1 else 'colour'}"
