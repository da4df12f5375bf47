"""Where the images are on a sheet of them: what the engine writes into the PNG, and the dashboard reads from it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

LAYOUT_CHUNK = "ddservice layout"
"""Keyword of the text chunk (iTXt) of the PNG that holds a :class:`SheetLayout` as JSON."""
LONGEST_NAME = 300
"""Letters of a name that are kept."""


class SheetRow(BaseModel):
    """The images of one class, from left to right; positions in pixels of the sheet."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(description="Of the class.")
    left: int = Field(ge=0)
    top: int = Field(ge=0)
    images: int = Field(ge=0, description="On the sheet; the class may have more.")


class SheetLayout(BaseModel):
    """A sheet: one row a class, tiles of one size.

    >>> layout = SheetLayout(tile=(32, 32), stride=34, rows=(SheetRow(name="cat", left=80, top=12, images=2),))
    >>> SheetLayout.model_validate_json(layout.model_dump_json()) == layout
    True
    """

    model_config = ConfigDict(frozen=True)

    tile: tuple[int, int] = Field(description="Width and height.")
    stride: int = Field(gt=0, description="Pixels from one image to the next.")
    rows: tuple[SheetRow, ...]
