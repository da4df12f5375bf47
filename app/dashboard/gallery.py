"""The synthetic images one by one, each cut out of the sheet that the engine has drawn."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from PIL import Image, UnidentifiedImageError
from pydantic import ValidationError

from app.artifacts.service import content_of
from app.core.storage import ArtifactStore, StorageError, read_verified
from app.models.artifacts import Artifact
from ddcore.spec.sheets import LAYOUT_CHUNK, SheetLayout, SheetRow

MOST_ROWS = 100
"""Classes that a page shows one by one; the sheet has them all."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class GalleryRow:
    """The images of one class; ``boxes`` are their places on the sheet as SVG view boxes."""

    name: str
    boxes: Sequence[str]


@dataclass(frozen=True)
class Gallery:
    """The images of a sheet of ``width`` by ``height`` pixels; ``hidden`` classes are not shown one by one."""

    width: int
    height: int
    rows: Sequence[GalleryRow]
    hidden: int


def of_sheet(store: ArtifactStore, sheet: Artifact | None) -> Gallery | None:
    """The images of a sheet; ``None`` where it does not say where they are, as those of older versions."""
    if sheet is None:
        return None
    try:
        with Image.open(io.BytesIO(read_verified(store, content_of(sheet)))) as picture:
            width, height = picture.size
            text = picture.info.get(LAYOUT_CHUNK)
        layout = None if text is None else SheetLayout.model_validate_json(text)
    except (StorageError, UnidentifiedImageError, ValidationError) as error:
        log.warning("picture cannot be cut up", artifact=sheet.id, reason=str(error))
        return None
    if layout is None:
        return None
    rows = [GalleryRow(row.name, _boxes(layout, row)) for row in layout.rows[:MOST_ROWS]]
    return Gallery(width, height, rows, max(len(layout.rows) - MOST_ROWS, 0))


def _boxes(layout: SheetLayout, row: SheetRow) -> list[str]:
    width, height = layout.tile
    return [f"{row.left + n * layout.stride} {row.top} {width} {height}" for n in range(row.images)]
