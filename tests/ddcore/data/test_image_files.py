import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ddcore.data import image_files
from ddcore.data.image_files import Fit
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


class TestFit:
    @pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "1", "CMYK", "I;16"])
    @pytest.mark.parametrize("how", ["crop", "pad", "stretch"])
    def test_images_of_every_kind_are_brought_to_a_size(self, mode: str, how: Any) -> None:
        image = Image.new("RGB", (31, 17), (200, 100, 50))
        image = Image.fromarray(np.full((17, 31), 4000, np.uint16)) if mode == "I;16" else image.convert(mode)
        buffer = io.BytesIO()
        image.save(buffer, "TIFF")
        picture = image_files.decode(buffer.getvalue(), Fit(8, 12, how))
        assert picture.pixels.shape[1:] == (8, 12)
        assert (picture.size, picture.mode) == ((31, 17), mode)
        assert picture.pixels.dtype == (np.uint16 if mode == "I;16" else np.uint8)
        if mode == "I;16" and how != "pad":
            assert (picture.pixels == 4000).all()

    def test_bars_are_black_and_lie_where_the_image_is_short(self) -> None:
        buffer = io.BytesIO()
        Image.new("RGB", (40, 20), "white").save(buffer, "PNG")
        pixels = image_files.decode(buffer.getvalue(), Fit(8, 8, "pad")).pixels
        assert (pixels[:, 2:6] == 255).all()
        assert not pixels[:, :2].any()
        assert not pixels[:, 6:].any()

    def test_an_image_of_the_size_is_not_touched(self) -> None:
        values = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(values).save(buffer, "PNG")
        assert np.array_equal(image_files.decode(buffer.getvalue(), Fit(6, 5)).pixels, values.transpose(2, 0, 1))
        assert np.array_equal(image_files.of_array(values, Fit(6, 5)).pixels, values.transpose(2, 0, 1))

    def test_the_size_is_that_of_the_upright_image(self) -> None:
        for kind, how in (("JPEG", {"exif": turned()}), ("PNG", {"exif": turned()}), ("TIFF", {"tiffinfo": {274: 6}})):
            buffer = io.BytesIO()
            Image.new("RGB", (20, 10)).save(buffer, kind, **how)
            assert image_files.measure(buffer.getvalue()) == (10, 20)
            picture = image_files.decode(buffer.getvalue())
            assert (picture.size, picture.pixels.shape[1:]) == ((10, 20), (20, 10))


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[274] = 6
    return exif


class TestArrays:
    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            (np.array([[0, 200]], np.uint8), [[[0, 200]]]),
            (np.array([[[0], [200]]], np.uint8), [[[0, 200]]]),
            (np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8), [[[1, 4]], [[2, 5]], [[3, 6]]]),
            (np.array([[0, 60000]], np.uint16), [[[0, 60000]]]),
            (np.array([[False, True]]), [[[0, 255]]]),
            (np.array([[0.0, 0.5, 1.0]], np.float32), [[[0, 128, 255]]]),
            (np.array([[[9, 9, 9, 255], [9, 9, 9, 0]]], np.uint8), [[[9, 255]], [[9, 255]], [[9, 255]]]),
        ],
    )
    def test_numbers_become_pixels(self, values: Any, expected: Any) -> None:
        pixels = image_files.of_array(values).pixels
        assert pixels.tolist() == expected
        assert pixels.dtype == (np.uint16 if values.dtype == np.uint16 else np.uint8)

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            (np.zeros((2, 2, 2), np.uint8), r"an array of shape \(2, 2, 2\); images are \(H, W\) or"),
            (np.zeros(4, np.uint8), "an array of shape"),
            (np.zeros((2, 2), np.int32), "pixels of type int32; store uint8"),
            (np.array([[0.0, 255.0]]), "floating-point pixels from 0 to 255; they run from 0 to 1"),
            (np.array([[-0.1, 0.5]]), "floating-point pixels from -0.1 to 0.5"),
            (np.array([[np.nan, 0.5]]), "floating-point pixels from nan"),
            (np.zeros((2, 2, 4), np.uint16), "16 bits a channel in colour or beside transparency"),
        ],
    )
    def test_numbers_that_are_no_pixels_are_refused(self, values: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            image_files.of_array(values)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a pointer of git-lfs, .* `git lfs pull`"),
        (b"<html>", "not a readable image"),
    ],
)
@pytest.mark.parametrize("as_file", [True, False])
def test_what_is_no_image_says_what_it_is(tmp_path: Path, head: bytes, message: str, as_file: bool) -> None:
    (tmp_path / "file").write_bytes(head)
    for read in (image_files.decode, image_files.measure):
        with pytest.raises(ValueError, match=message):
            read(tmp_path / "file" if as_file else head)


def test_a_file_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot be read \(No such file or directory\)"):
        image_files.decode(tmp_path / "absent.png")
    with pytest.raises(ValueError, match=r"cannot be read \(Is a directory\)"):
        image_files.decode(tmp_path)


def test_avif_is_read() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (12, 8), (250, 40, 40)).save(buffer, "AVIF")
    assert image_files.decode(buffer.getvalue()).pixels.shape == (3, 8, 12)


def test_heic_is_read_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), (250, 40, 40)).save(buffer, "HEIF", quality=90)
    pixels = image_files.decode(buffer.getvalue()).pixels
    assert pixels.shape == (3, 48, 64)
    assert np.abs(pixels[:, 24, 32].astype(int) - [250, 40, 40]).max() < 12
    monkeypatch.setattr(image_files, "_formats", lambda: ("PNG", "JPEG"))
    with pytest.raises(
        ValueError, match=r"a HEIC image; install the extra that reads it, pip install 'ddservice\[heic\]'"
    ):
        image_files.decode(buffer.getvalue())
