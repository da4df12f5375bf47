"""Pictures of a distilled set: single 8-bit images, and one sheet with a row for each class."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from ddcore.bundle import lettering
from ddcore.data.dataset import to_uint8 as to_uint8
from ddcore.spec.sheets import LAYOUT_CHUNK, LONGEST_NAME, SheetLayout, SheetRow

MOST_OF_CLASS = 10
"""Images of a class on a sheet."""

_TILE = 48
"""Tiles are enlarged by whole factors to at least this many pixels …"""
_DENSE_TILE = 24
"""… or this many, on a sheet of more than :data:`_DENSE` images."""
_DENSE = 500
_GAP = 2
_MARGIN = 12
_COLUMN_GAP = 24
_FONT_SIZE = 13
_LABEL_WIDTH = 110
_LABEL_GAP = 8
_PAPER = (255, 255, 255)
_INK = (70, 70, 70)


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """PNG file of one image (1, H, W) or (3, H, W)."""
    buffer = io.BytesIO()
    picture(image).save(buffer, "PNG")
    return buffer.getvalue()


def preview_png(images: Tensor, labels: Tensor, classes: Sequence[str], max_per_class: int = MOST_OF_CLASS) -> bytes:
    """A sheet of the first images of each class, one labelled row a class.

    Many classes are laid out in several columns. Pixels are enlarged without smoothing; values are
    clamped for this display only.

    Args:
        images: floating point (N, C, H, W) in pixel units, C = 1 or 3.
        labels: int64 (N,).
        classes: names of the classes, in the order of the labels; see :func:`ddcore.bundle.lettering.label`.
        max_per_class: images shown of each class.

    Returns:
        A PNG file. A text chunk says where the images are (:mod:`ddcore.spec.sheets`).
    """
    pixels = to_uint8(images).numpy()
    rows = [np.flatnonzero(labels.cpu().numpy() == number)[:max_per_class] for number in range(len(classes))]
    names = [lettering.label(name, number) for number, name in enumerate(classes)]
    sheet = _Sheet.plan(pixels.shape[2], pixels.shape[3], rows, names)
    canvas = Image.new("RGB", sheet.canvas_size, _PAPER)
    pen = ImageDraw.Draw(canvas)
    for number, (name, members) in enumerate(zip(names, rows, strict=True)):
        left, top = sheet.corner(number)
        middle = (left + sheet.label_width - _LABEL_GAP, top + sheet.tile[1] / 2)
        pen.text(middle, sheet.fit(name), fill=_INK, font=lettering.font(_FONT_SIZE), anchor="rm")
        for position, index in enumerate(members):
            tile = picture(pixels[index]).convert("RGB").resize(sheet.tile, Image.Resampling.NEAREST)
            canvas.paste(tile, (left + sheet.label_width + position * (sheet.tile[0] + _GAP), top))
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG", pnginfo=_layout(sheet, rows, classes))
    return buffer.getvalue()


def _layout(sheet: _Sheet, rows: Sequence[NDArray[np.intp]], classes: Sequence[str]) -> PngInfo:
    """Where the images are on the sheet, for who wants to show one of them alone."""
    places = [sheet.corner(number) for number in range(len(classes))]
    found = [
        SheetRow(name=name[:LONGEST_NAME], left=left + sheet.label_width, top=top, images=len(row))
        for name, row, (left, top) in zip(classes, rows, places, strict=True)
    ]
    layout = SheetLayout(tile=sheet.tile, stride=sheet.tile[0] + _GAP, rows=tuple(found))
    chunks = PngInfo()
    chunks.add_itxt(LAYOUT_CHUNK, layout.model_dump_json(), zip=True)
    return chunks


@dataclass(frozen=True)
class _Sheet:
    """Where things go, in pixels: ``columns`` columns of ``depth`` rows."""

    tile: tuple[int, int]
    per_row: int
    label_width: int
    columns: int
    depth: int

    @staticmethod
    def plan(height: int, width: int, rows: Sequence[NDArray[np.intp]], names: Sequence[str]) -> _Sheet:
        """Choose the enlargement and the number of columns that make the sheet closest to 3 : 2."""
        least = _TILE if sum(map(len, rows)) <= _DENSE else _DENSE_TILE
        factor = max(1, math.ceil(least / max(height, width)))
        tile = (width * factor, height * factor)
        per_row = max(map(len, rows))
        widest = max(lettering.width(name, _FONT_SIZE) for name in names)
        label_width = math.ceil(min(widest, _LABEL_WIDTH)) + _LABEL_GAP
        sheets = [
            _Sheet(tile, per_row, label_width, columns, math.ceil(len(names) / columns))
            for columns in range(1, len(names) + 1)
        ]
        return min(sheets, key=lambda sheet: abs(math.log(sheet.canvas_size[0] / sheet.canvas_size[1] / 1.5)))

    @property
    def row_height(self) -> int:
        return max(self.tile[1], _FONT_SIZE + 2) + _GAP

    @property
    def column_width(self) -> int:
        return self.label_width + self.per_row * (self.tile[0] + _GAP) - _GAP

    @property
    def canvas_size(self) -> tuple[int, int]:
        width = self.columns * (self.column_width + _COLUMN_GAP) - _COLUMN_GAP
        return width + 2 * _MARGIN, self.depth * self.row_height - _GAP + 2 * _MARGIN

    def corner(self, number: int) -> tuple[int, int]:
        """Top left of the row of a class; classes run down the columns."""
        column, row = divmod(number, self.depth)
        return _MARGIN + column * (self.column_width + _COLUMN_GAP), _MARGIN + row * self.row_height

    def fit(self, name: str) -> str:
        """The name, shortened to the width of a label."""
        return lettering.shortened(name, self.label_width - _LABEL_GAP, _FONT_SIZE)


def picture(image: NDArray[np.uint8]) -> Image.Image:
    """An image (1, H, W) or (3, H, W) for Pillow."""
    return Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))
