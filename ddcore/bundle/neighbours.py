"""``audit.json``, ``neighbours.png`` and ``nearest.png``: what the audit found, and what it looks like.

``neighbours.png`` has the closest synthetic and real images side by side. ``nearest.png`` has at the place of each
image of the preview the real image that is nearest to it in pixels. They lie beside the bundle and not in it: they show
real training images.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from ddcore.bundle import lettering
from ddcore.bundle.preview import MOST_OF_CLASS, picture, preview_png, to_uint8
from ddcore.data.dataset import ImageSet
from ddcore.machine.files import write_atomically
from ddcore.spec.audit import AuditDocument, AuditedImage, NearestReal

FOLDER = "audit"
DOCUMENT = "audit.json"
PICTURE = "neighbours.png"
NEAREST = "nearest.png"
ROWS = 20
"""Classes shown at most: those with the closest images."""

_TILE, _MARGIN, _GAP, _FONT = 48, 12, 8, 12
_WORDS = 130
"""Pixels beside a tile, for what it shows."""
_PAPER, _INK = (255, 255, 255), (70, 70, 70)
_HEADINGS = ("synthetic", "nearest by pixels", "nearest by features")


def write_audit(out: Path, document: AuditDocument, images: Tensor, train: ImageSet) -> None:
    """Write the three files into ``out / "audit"``.

    Args:
        out: folder of the bundle's files.
        document: what was found.
        images: (N, C, H, W) the finished images in pixel units.
        train: the real images.
    """
    folder = out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / DOCUMENT, document.model_dump_json().encode())
    write_atomically(folder / PICTURE, neighbours_png(document, images, train))
    write_atomically(folder / NEAREST, nearest_png(document, train))


def nearest_png(document: AuditDocument, train: ImageSet) -> bytes:
    """The sheet of :func:`ddcore.bundle.preview.preview_png` with real images: at each place the nearest in pixels.

    Args:
        document: what was found of the images of that sheet.
        train: the real images.

    Returns:
        A PNG file, laid out like the preview to the pixel.
    """
    shown: list[AuditedImage] = []
    of_class = [0] * len(document.classes)
    for image in document.images:
        of_class[image.label] += 1
        if of_class[image.label] <= MOST_OF_CLASS:
            shown.append(image)
    real = torch.stack([train.images[image.pixels.row] for image in shown]).float() / 255
    return preview_png(real, torch.tensor([image.label for image in shown]), document.classes)


def neighbours_png(document: AuditDocument, images: Tensor, train: ImageSet) -> bytes:
    """Of each class the image that is closest to a real one, beside its nearest real images, with the distances.

    Args:
        document: what was found; its images are ``images``.
        images: (N, C, H, W) in pixel units; clamped for this picture only.
        train: the real images.

    Returns:
        A PNG file.
    """
    shown = closest(document.images)
    factor = max(1, math.ceil(_TILE / max(train.shape[1:])))
    tile = (train.shape[2] * factor, train.shape[1] * factor)
    row_height, column = max(tile[1], 2 * (_FONT + 4)) + _GAP, tile[0] + _GAP + _WORDS
    canvas = Image.new("RGB", (2 * _MARGIN + 3 * column, 2 * _MARGIN + _FONT + _GAP + len(shown) * row_height), _PAPER)
    pen = ImageDraw.Draw(canvas)
    for number, heading in enumerate(_HEADINGS):
        pen.text((_MARGIN + number * column, _MARGIN), heading, fill=_INK, font=lettering.font(_FONT))
    pixels = to_uint8(images[list(shown)]).numpy()
    for row, (found, synthetic) in enumerate(zip(shown.values(), pixels, strict=True)):
        cells = [
            (synthetic, [_name(document, found.label)]),
            *((train.images[near.row].numpy(), _words(document, near)) for near in (found.pixels, found.features)),
        ]
        top = _MARGIN + _FONT + _GAP + row * row_height
        for number, (image, words) in enumerate(cells):
            _cell(canvas, pen, (_MARGIN + number * column, top), tile, image, words)
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()


def closest(images: Sequence[AuditedImage], rows: int = ROWS) -> Mapping[int, AuditedImage]:
    """Of each class the image that is closest to a real one in pixels, of the closest classes, by class.

    Args:
        images: in the order of the finished set.
        rows: classes at most.

    Returns:
        By the index of the image.
    """
    of_class: dict[int, int] = {}
    for index in sorted(range(len(images)), key=lambda index: images[index].pixels.distance):
        of_class.setdefault(images[index].label, index)
    chosen = sorted(list(of_class.items())[:rows])
    return {index: images[index] for _, index in chosen}


def _cell(
    canvas: Image.Image,
    pen: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    tile: tuple[int, int],
    image: NDArray[np.uint8],
    words: Sequence[str],
) -> None:
    canvas.paste(picture(image).convert("RGB").resize(tile, Image.Resampling.NEAREST), corner)
    for line, text in enumerate(words):
        where = (corner[0] + tile[0] + _GAP, corner[1] + 2 + line * (_FONT + 4))
        pen.text(where, lettering.shortened(text, _WORDS - 2 * _GAP, _FONT), fill=_INK, font=lettering.font(_FONT))


def _words(document: AuditDocument, near: NearestReal) -> list[str]:
    return [_name(document, near.label), f"{near.distance:.3f}"]


def _name(document: AuditDocument, label: int) -> str:
    return lettering.label(document.classes[label], label)
