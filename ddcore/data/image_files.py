"""Encoded images to arrays, one image at a time and with everything an upload may hide."""

from __future__ import annotations

import io
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

MAX_PIXELS = 4096 * 4096
"""Largest image that is decoded; a small file may unpack to any size."""

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
_WHERE_INSTALLED = ("AVIF", "HEIF")
_GREY_MODES = ("1", "L", "LA", "La")
_DEEP = "16 bits a channel in colour or beside transparency; convert it to 8 bits a channel"
_COLOUR_MODES = ("RGB", "RGBA", "LA")
_LFS = b"version https://git-lfs"
_PHONE_BRANDS = (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftyphevc")
_ORIENTATION = 274
_TURNED = frozenset((5, 6, 7, 8))
"""EXIF orientations that lay an image on its side."""

Pixels = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True)
class Fit:
    """How an image is brought to a size.

    Attributes:
        height: in pixels.
        width: in pixels.
        how: its middle is cut out (``crop``), black bars are added (``pad``), or it is stretched.
    """

    height: int
    width: int
    how: Literal["crop", "pad", "stretch"] = "crop"

    def apply(self, image: Image.Image) -> Image.Image:
        """The image at that size, by Lanczos filtering over all pixels that it is made of."""
        size, method = (self.width, self.height), Image.Resampling.LANCZOS
        if image.size == size:
            return image
        if self.how == "crop":
            return ImageOps.fit(image, size, method)
        if self.how == "pad":
            return ImageOps.pad(image, size, method, color=0)
        return image.resize(size, method)


@dataclass(frozen=True)
class Picture:
    """One decoded image.

    Attributes:
        pixels: (1, H, W) or (3, H, W), uint8; uint16 with its own values where the file has 16 bits a pixel.
        see_through: whether a part of it was transparent; it lies on white here.
        size: (width, height) as a viewer shows it, before it was fitted.
        mode: how its pixels are stored, in Pillow's words.
    """

    pixels: Pixels
    see_through: bool = False
    size: tuple[int, int] = (0, 0)
    mode: str = ""


def decode(encoded: bytes | str | Path, fit: Fit | None = None) -> Picture:
    """Decode one image as a viewer shows it.

    Grey images keep one channel, all others become RGB. What is transparent is laid on white, and the orientation of a
    photograph is applied.

    Args:
        encoded: a PNG, JPEG, WebP, BMP, GIF (first frame), TIFF, PPM or AVIF file, or its path; HEIC with the extra
            ``heic``.
        fit: the size that it is brought to. A JPEG far above it is decoded at a fraction of its size.

    Raises:
        ValueError: not such a file, damaged, of more bits than can be kept, or larger than :data:`MAX_PIXELS`.
    """
    try:
        with _opened(encoded) as image:
            size, mode = _upright_size(image), image.mode
            deep_colour = image.mode in _COLOUR_MODES and any(";16" in str(tile[3]) for tile in image.tile)
            if fit is not None:
                image.draft(None, (2 * max(fit.width, fit.height),) * 2)
            width, height = image.size
            if width * height <= MAX_PIXELS and not deep_colour:
                pixels, see_through = _pixels(image, fit)
                return Picture(pixels, see_through, size, mode)
    except Exception as error:  # decoders of damaged files raise whatever their parsing runs into
        raise ValueError(_unreadable(encoded, error)) from error
    if deep_colour:
        raise ValueError(_DEEP)
    raise ValueError(f"{width} x {height} pixels, more than the {MAX_PIXELS:,} allowed")


def measure(encoded: bytes | str | Path) -> tuple[int, int]:
    """(width, height) of an image as a viewer shows it, from its head alone.

    Raises:
        ValueError: not an image.
    """
    try:
        with _opened(encoded) as image:
            return _upright_size(image)
    except Exception as error:
        raise ValueError(_unreadable(encoded, error)) from error


def of_array(values: NDArray[Any], fit: Fit | None = None) -> Picture:
    """An image that is stored as numbers.

    Args:
        values: (H, W), or (H, W, C) with 1, 3 or 4 channels, the fourth being opacity. uint8; uint16; bool; or floating
            point from 0 to 1.
        fit: the size that it is brought to.

    Raises:
        ValueError: another shape or type, or numbers outside 0 to 1.
    """
    if values.ndim == 2:
        values = values[:, :, None]
    if values.ndim != 3 or values.shape[2] not in (1, 3, 4):
        raise ValueError(f"an array of shape {values.shape}; images are (H, W) or (H, W, C) with 1, 3 or 4 channels")
    stored = _eight_or_sixteen(values)
    height, width, channels = stored.shape
    mode = f"{channels} x {values.dtype}"
    if channels == 4 and stored.dtype != np.uint8:
        raise ValueError(_DEEP)
    if channels == 4 or (fit is not None and (height, width) != (fit.height, fit.width)):
        pixels, see_through = _fitted_array(stored, fit)
        return Picture(pixels, see_through, (width, height), mode)
    return Picture(stored.transpose(2, 0, 1), False, (width, height), mode)


def _eight_or_sixteen(values: NDArray[Any]) -> Pixels:
    if values.dtype in (np.uint8, np.uint16):
        return values
    if values.dtype == np.bool_:
        whole: NDArray[np.uint8] = values.astype(np.uint8) * np.uint8(255)
        return whole
    if values.dtype.kind != "f":
        raise ValueError(f"pixels of type {values.dtype}; store uint8, uint16, or floating point from 0 to 1")
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):
        raise ValueError(f"floating-point pixels from {low:g} to {high:g}; they run from 0 to 1, or store uint8")
    scaled: NDArray[np.uint8] = np.rint(values.astype(np.float64) * 255).astype(np.uint8)
    return scaled


def _fitted_array(stored: Pixels, fit: Fit | None) -> tuple[Pixels, bool]:
    if stored.dtype == np.uint8 or fit is None:
        return _pixels(Image.fromarray(stored[:, :, 0] if stored.shape[2] == 1 else np.ascontiguousarray(stored)), fit)
    planes = [
        fit.apply(Image.fromarray(stored[:, :, channel].astype(np.float32))) for channel in range(stored.shape[2])
    ]
    deep: NDArray[np.uint16] = (
        np.rint(np.stack([np.asarray(plane) for plane in planes])).clip(0, 65535).astype(np.uint16)
    )
    return deep, False


def _pixels(image: Image.Image, fit: Fit | None) -> tuple[Pixels, bool]:
    upright: Image.Image = ImageOps.exif_transpose(image) if _orientation(image) else image
    if upright.mode.startswith("I;16"):
        if "transparency" in upright.info:
            raise ValueError(_DEEP)
        deep = np.asarray(upright).astype(np.uint16)
        return (deep[None], False) if fit is None else _fitted_array(deep[:, :, None], fit)
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
    wanted = "L" if grey else "RGB"
    if upright.mode != wanted:
        upright = upright.convert(wanted)
    if fit is not None:
        upright = fit.apply(upright)
    array = np.asarray(upright)
    return (array[None] if grey else array.transpose(2, 0, 1)), see_through


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation; 0 where there is none, and for TIFF, which Pillow turns upright by itself."""
    return int(image.getexif().get(_ORIENTATION, 0) or 0) if "exif" in image.info else 0


def _upright_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    return (height, width) if _orientation(image) in _TURNED else (width, height)


def _opened(encoded: bytes | str | Path) -> ImageFile.ImageFile:
    return Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded, formats=_formats())


@cache
def _formats() -> tuple[str, ...]:
    """What can be read here: Pillow may be built without AVIF, and HEIC needs the extra of that name."""
    with suppress(ImportError):
        import_module("pillow_heif").register_heif_opener()
    Image.init()
    return (*_FORMATS, *(name for name in _WHERE_INSTALLED if name in Image.OPEN))


def _unreadable(encoded: bytes | str | Path, error: Exception) -> str:
    """What is wrong with a file that Pillow cannot read; often it is not an image at all, and says so in its head."""
    if isinstance(error, OSError) and error.errno is not None:
        return f"cannot be read ({error.strerror})"
    head = encoded[:64] if isinstance(encoded, bytes) else _head(encoded)
    if not head:
        return "an empty file"
    if head.startswith(_LFS):
        return "a pointer of git-lfs, not the image itself; fetch it with `git lfs pull`"
    if any(brand in head for brand in _PHONE_BRANDS) and "HEIF" not in _formats():
        return "a HEIC image; install the extra that reads it, pip install 'ddservice[heic]', or convert it to JPEG"
    return f"not a readable image ({_brief(error)})"


def _head(path: str | Path) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(64)


def _brief(error: Exception) -> str:
    """What Pillow says, without the file or the object that it says it of: whoever reports it names the file."""
    text = re.sub(r"\s*('[^']*/[^']*'|<.*)$", "", str(error)).strip()
    return text or type(error).__name__
