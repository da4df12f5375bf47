import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ddcore.data.image_files import decode

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (4, 6, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (4, 6), dtype=np.uint8)


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_keep_every_pixel(form: str) -> None:
    assert np.array_equal(decode(encoded(Image.fromarray(RGB), form)), RGB.transpose(2, 0, 1))
    assert np.array_equal(decode(encoded(Image.fromarray(GREY), form)), GREY[None])


def test_transparency_is_dropped() -> None:
    alpha = np.full((4, 6, 1), 100, dtype=np.uint8)
    rgba = Image.fromarray(np.concatenate([RGB, alpha], axis=2))
    assert np.array_equal(decode(encoded(rgba)), RGB.transpose(2, 0, 1))
    grey_alpha = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(alpha[:, :, 0])])
    assert np.array_equal(decode(encoded(grey_alpha)), GREY[None])


@pytest.mark.parametrize("options", [{}, {"transparency": 0}, {"transparency": b"\x10\x80"}])
def test_palettes_become_rgb(options: dict[str, Any]) -> None:
    image = Image.fromarray(np.array([[0, 1], [1, 0]], dtype=np.uint8), "L").convert("P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    expected = np.array([[[10, 200], [200, 10]], [[20, 100], [100, 20]], [[30, 50], [50, 30]]])
    assert np.array_equal(decode(encoded(image, **options)), expected)


def test_black_and_white_becomes_grey() -> None:
    bits = Image.fromarray(np.array([[0, 255]], dtype=np.uint8)).convert("1")
    assert decode(encoded(bits)).tolist() == [[[0, 255]]]


def test_sixteen_bits_are_reduced_to_eight() -> None:
    deep = Image.fromarray(np.array([[0, 256, 65535]], dtype=np.uint16))
    assert decode(encoded(deep)).tolist() == [[[0, 1, 255]]]


def test_photographs_are_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    data = encoded(Image.fromarray(RGB), "TIFF", exif=exif)
    assert np.array_equal(decode(data), np.rot90(RGB, -1).transpose(2, 0, 1))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bomb(side: int) -> bytes:
    """A tiny PNG file that claims to be a huge white square."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b"")
    )


def flip_a_bit(data: bytes) -> bytes:
    return data[:60] + bytes([data[60] ^ 0xFF]) + data[61:]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: data[:40], "not a readable image"),
        (flip_a_bit, "not a readable image"),
        (lambda data: b"GARBAGE" * 20, "cannot identify image file"),
        (lambda data: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 5\n", "cannot identify image file"),
        (lambda data: bomb(5000), "5000 x 5000 pixels, more than the 16,777,216 allowed"),
        (lambda data: bomb(60000), "not a readable image|60000 x 60000"),
        (lambda data: encoded(Image.fromarray(GREY.astype(np.float32)), "TIFF"), "32-bit pixels"),
    ],
)
def test_unfit_files_are_refused(spoil: Callable[[bytes], bytes], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode(spoil(encoded(Image.fromarray(RGB))))
