"""Encoded images to arrays, one image at a time and with everything an upload may hide."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

MAX_PIXELS = 4096 * 4096
"""Largest image accepted; a small file may unpack to any size."""

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
_GREY_MODES = ("1", "L", "LA")


def decode(encoded: bytes) -> NDArray[np.uint8]:
    """Decode one image.

    Grey images keep one channel (16-bit ones are reduced to 8 bits), all others become RGB;
    transparency is dropped and the orientation of a photograph applied.

    Args:
        encoded: a PNG, JPEG, WebP, BMP, GIF (first frame), TIFF or PPM file.

    Returns:
        uint8 of shape (1, H, W) or (3, H, W).

    Raises:
        ValueError: not such a file, damaged, or larger than :data:`MAX_PIXELS`.
    """
    try:
        with Image.open(io.BytesIO(encoded), formats=_FORMATS) as image:
            width, height = image.size
            if width * height <= MAX_PIXELS:
                return _pixels(image)
    except Exception as error:  # decoders of damaged files raise whatever their parsing runs into
        raise ValueError(f"not a readable image ({_brief(error)})") from error
    raise ValueError(f"{width} x {height} pixels, more than the {MAX_PIXELS:,} allowed")


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    upright: Image.Image = ImageOps.exif_transpose(image) if "exif" in image.info else image
    if upright.mode.startswith("I;16"):
        return (np.asarray(upright) >> 8).astype(np.uint8)[None]
    if upright.mode in ("I", "F"):
        raise ValueError("32-bit pixels; store 8 or 16 bits a channel")
    if upright.mode in _GREY_MODES:
        return np.asarray(upright.convert("L"))[None]
    if "transparency" in upright.info:
        upright = upright.convert("RGBA")
    return np.asarray(upright.convert("RGB")).transpose(2, 0, 1)


def _brief(error: Exception) -> str:
    text = str(error).split("<")[0].strip()
    return text or type(error).__name__
