"""What the job page and the report show of the finished images beside the real ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from pydantic import ValidationError

from app.artifacts.service import content_of
from app.core.storage import ArtifactStore, StorageError, read_verified
from app.dashboard.gallery import Gallery
from app.dashboard.mapping import Map, drawn
from app.jobs.schemas import JobDocument
from app.models.artifacts import Artifact
from ddcore.spec.audit import AuditDocument, AuditedImage
from ddcore.spec.results import Audit

LIMIT = 8 << 20
"""Bytes of an ``audit.json`` that a page reads."""
CLOSEST = 10
"""Images in the table of the closest."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Closest:
    """An image and the real one that it is closest to in pixels."""

    index: int
    name: str
    row: int
    real_name: str
    distance: float
    rank: float
    near_copy: bool


@dataclass(frozen=True)
class Beside:
    """What stands beside an enlarged image: the real one that is nearest to it in pixels."""

    row: int
    name: str
    distance: float
    near_copy: bool


@dataclass(frozen=True)
class Likeness:
    """How alike a class is in the synthetic and in the real images, -1 to 1."""

    name: str
    cosine: float | None


@dataclass(frozen=True)
class AuditView:
    """Everything of an audit that is shown; ``document`` is there where one was made and can be read."""

    summary: Audit
    document: AuditDocument | None
    picture: Artifact | None
    nearest: Artifact | None
    """A sheet like the preview, with the nearest real image at the place of each."""

    def beside(self, gallery: Gallery) -> Sequence[Beside]:
        """The neighbours of the images of a gallery, in their order; empty where they cannot be told."""
        if self.document is None:
            return ()
        of_class: dict[int, list[AuditedImage]] = {}
        for image in self.document.images:
            of_class.setdefault(image.label, []).append(image)
        rows = [of_class.get(label, [])[: len(row.boxes)] for label, row in enumerate(gallery.rows)]
        if [len(row) for row in rows] != [len(row.boxes) for row in gallery.rows]:
            return ()
        names = self.document.classes
        found = [(image.pixels, image.near_copy) for row in rows for image in row]
        return [Beside(near.row, names[near.label], near.distance, copy) for near, copy in found]

    @property
    def closest(self) -> Sequence[Closest]:
        """The images nearest to a real one, the nearest first."""
        document = self.document
        if document is None:
            return ()
        order = sorted(range(len(document.images)), key=lambda index: document.images[index].pixels.distance)
        return [_closest(document, index) for index in order[:CLOSEST]]

    @property
    def classes(self) -> Sequence[Likeness]:
        """The classes, in the order of the labels."""
        if self.document is None:
            return ()
        named = zip(self.document.classes, self.document.similarity.by_class, strict=True)
        return [Likeness(name, cosine) for name, cosine in named]

    @property
    def map(self) -> Map | None:
        """Real and synthetic images on a plane."""
        return None if self.document is None else drawn(self.document)


def of_job(store: ArtifactStore, job: JobDocument, files: Sequence[Artifact]) -> AuditView | None:
    """The audit of a job; ``None`` while there are no results, or where they say nothing of it.

    Args:
        store: where contents live.
        job: with its results.
        files: artifacts of the job.
    """
    if job.results is None or job.results.audit is None:
        return None
    by_kind = {file.kind: file for file in files}
    document = _document(store, by_kind.get("audit"))
    return AuditView(job.results.audit, document, by_kind.get("neighbours"), by_kind.get("nearest"))


def _document(store: ArtifactStore, file: Artifact | None) -> AuditDocument | None:
    if file is None or (file.size or 0) > LIMIT:
        return None
    try:
        return AuditDocument.model_validate_json(read_verified(store, content_of(file)))
    except (StorageError, ValidationError) as error:
        log.warning("audit cannot be shown", artifact=file.id, reason=str(error))
        return None


def _closest(document: AuditDocument, index: int) -> Closest:
    image = document.images[index]
    near = image.pixels
    names = document.classes
    return Closest(
        index, names[image.label], near.row, names[near.label], near.distance, near.rank, image.near_copy
    )  # fmt: skip
