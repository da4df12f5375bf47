import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ddcore.data.image_files import decode as decode_picture

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (4, 6, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (4, 6), dtype=np.uint8)


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def decode(data: bytes) -> Any:
    return decode_picture(data).pixels


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_keep_every_pixel(form: str) -> None:
    assert np.array_equal(decode(encoded(Image.fromarray(RGB), form)), RGB.transpose(2, 0, 1))
    assert np.array_equal(decode(encoded(Image.fromarray(GREY), form)), GREY[None])


def on_white(colour: Any, alpha: float) -> Any:
    return np.asarray(colour) * alpha + 255 * (1 - alpha)


def test_what_is_transparent_lies_on_white() -> None:
    """In every way in which a file can say it; the colours beneath alpha 0 are nobody's to see."""
    alpha = np.zeros((4, 6), dtype=np.uint8)
    alpha[:, 3:], alpha[:, 5:] = 102, 255
    for base, mode in ((RGB, "RGB"), (GREY, "L")):
        image = Image.fromarray(base)
        image.putalpha(Image.fromarray(alpha))
        picture = decode_picture(encoded(image))
        expected = base.transpose(2, 0, 1) if mode == "RGB" else base[None]
        assert picture.see_through
        assert (picture.pixels[:, :, :3] == 255).all()
        assert np.abs(picture.pixels[:, :, 3:5] - on_white(expected[:, :, 3:5], 0.4)).max() <= 1
        assert np.array_equal(picture.pixels[:, :, 5:], expected[:, :, 5:])


def test_a_picture_that_is_in_its_transparency_alone_is_seen() -> None:
    shape = np.zeros((4, 6), dtype=np.uint8)
    shape[1:3, 2:4] = 255
    black = Image.new("RGB", (6, 4))
    black.putalpha(Image.fromarray(shape))
    assert np.array_equal(decode(encoded(black))[0], 255 - shape)


def test_opaque_images_are_what_they_were() -> None:
    image = Image.fromarray(RGB)
    image.putalpha(255)
    picture = decode_picture(encoded(image))
    assert not picture.see_through
    assert np.array_equal(picture.pixels, RGB.transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("options", "first"),
    [
        ({}, (10, 20, 30)),
        ({"transparency": 0}, (255, 255, 255)),
        ({"transparency": b"\x33\xff"}, tuple(on_white((10, 20, 30), 0.2))),
    ],
)
def test_palettes_become_rgb(options: dict[str, Any], first: tuple[float, float, float]) -> None:
    image = Image.fromarray(np.array([[0, 1], [1, 0]], dtype=np.uint8), "L").convert("P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    expected = np.array([[[a, b], [b, a]] for a, b in zip(first, (200, 100, 50), strict=True)])
    assert np.abs(decode(encoded(image, **options)) - expected).max() <= 0.5


def test_black_and_white_becomes_grey() -> None:
    bits = Image.fromarray(np.array([[0, 255]], dtype=np.uint8)).convert("1")
    assert decode(encoded(bits)).tolist() == [[[0, 255]]]


def test_sixteen_bits_are_kept_until_the_range_of_the_set_is_known() -> None:
    deep = np.array([[0, 256, 65535]], dtype=np.uint16)
    picture = decode_picture(encoded(Image.fromarray(deep)))
    assert picture.pixels.dtype == np.uint16
    assert np.array_equal(picture.pixels, deep[None])


def test_sixteen_bits_in_colour_are_refused_instead_of_halved() -> None:
    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" + b"\x12\x34" * 3)) + chunk(b"IEND", b"")
    with pytest.raises(ValueError, match="16 bits a channel in colour"):
        decode_picture(b"\x89PNG\r\n\x1a\n" + body)


def test_sixteen_bits_beside_transparency_are_refused() -> None:
    deep = Image.fromarray(np.array([[0, 256, 65535]], dtype=np.uint16))
    with pytest.raises(ValueError, match="beside transparency"):
        decode_picture(encoded(deep, transparency=256))


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
