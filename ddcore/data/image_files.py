"""Encoded images to arrays, one image at a time and with everything an upload may hide."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

MAX_PIXELS = 4096 * 4096
"""Largest image accepted; a small file may unpack to any size."""

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
_GREY_MODES = ("1", "L", "LA", "La")
_DEEP = "16 bits a channel in colour or beside transparency; convert it to 8 bits a channel"
_COLOUR_MODES = ("RGB", "RGBA", "LA")


@dataclass(frozen=True)
class Picture:
    """One decoded image.

    Attributes:
        pixels: (1, H, W) or (3, H, W), uint8; uint16 with its own values where the file has 16 bits a pixel.
        see_through: whether a part of it was transparent; it lies on white here.
    """

    pixels: NDArray[np.uint8] | NDArray[np.uint16]
    see_through: bool = False


def decode(encoded: bytes) -> Picture:
    """Decode one image as a viewer shows it.

    Grey images keep one channel, all others become RGB. What is transparent is laid on white, and the orientation of a
    photograph is applied.

    Args:
        encoded: a PNG, JPEG, WebP, BMP, GIF (first frame), TIFF or PPM file.

    Raises:
        ValueError: not such a file, damaged, of more bits than can be kept, or larger than :data:`MAX_PIXELS`.
    """
    try:
        with Image.open(io.BytesIO(encoded), formats=_FORMATS) as image:
            width, height = image.size
            deep_colour = image.mode in _COLOUR_MODES and any(";16" in str(tile[3]) for tile in image.tile)
            if width * height <= MAX_PIXELS and not deep_colour:
                return _picture(image)
    except Exception as error:  # decoders of damaged files raise whatever their parsing runs into
        raise ValueError(f"not a readable image ({_brief(error)})") from error
    if deep_colour:
        raise ValueError(_DEEP)
    raise ValueError(f"{width} x {height} pixels, more than the {MAX_PIXELS:,} allowed")


def _picture(image: Image.Image) -> Picture:
    upright: Image.Image = ImageOps.exif_transpose(image) if "exif" in image.info else image
    if upright.mode.startswith("I;16"):
        if "transparency" in upright.info:
            raise ValueError(_DEEP)
        return Picture(np.asarray(upright).astype(np.uint16)[None])
    if upright.mode in ("I", "F"):
        raise ValueError("32-bit pixels; store 8 or 16 bits a channel")
    grey = upright.mode in _GREY_MODES
    see_through = False
    if "A" in upright.mode or "a" in upright.mode or "transparency" in upright.info:
        upright = upright.convert("RGBA")
        see_through = upright.getchannel("A").getextrema() != (255, 255)
        if see_through:
            upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
        upright = upright.convert("RGB")
    if grey:
        return Picture(np.asarray(upright.convert("L"))[None], see_through)
    return Picture(np.asarray(upright.convert("RGB")).transpose(2, 0, 1), see_through)


def _brief(error: Exception) -> str:
    text = str(error).split("<")[0].strip()
    return text or type(error).__name__
