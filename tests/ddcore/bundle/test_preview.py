import io

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from ddcore.bundle import preview_png
from ddcore.spec.sheets import LAYOUT_CHUNK, SheetLayout


def render(classes: int, per_class: int, shape: tuple[int, int, int] = (3, 32, 32), **options: int) -> Image.Image:
    """Sheet of single-coloured images: image n of class c is (c, n) in red and green."""
    labels = torch.arange(classes).repeat_interleave(per_class)
    images = torch.zeros(len(labels), *shape)
    images[:, 0] = (labels / 255).view(-1, 1, 1)
    if shape[0] == 3:
        images[:, 1] = (torch.arange(len(labels)) % per_class / 255).view(-1, 1, 1)
        images[:, 2] = 200 / 255
    names = [f"class {number}" for number in range(classes)]
    return Image.open(io.BytesIO(preview_png(images, labels, names, **options)))


def tiles(picture: Image.Image, classes: int, per_class: int) -> NDArray[np.int64]:
    """Pixels that each image of :func:`render` covers, (classes, per_class)."""
    pixels = np.asarray(picture)
    mine = pixels[(pixels[:, :, 2] == 200) & (pixels[:, :, 0] != 200)]  # (200, 200, 200) is the edge of a letter
    counts = np.zeros((classes, per_class), dtype=np.int64)
    np.add.at(counts, (mine[:, 0], mine[:, 1]), 1)
    return counts


@pytest.mark.parametrize(
    ("classes", "per_class"), [(2, 1), (10, 1), (10, 10), (10, 50), (100, 1), (100, 10), (200, 10)]
)
def test_every_class_shows_whole_tiles_on_a_sheet_of_sensible_shape(classes: int, per_class: int) -> None:
    picture = render(classes, per_class)
    assert (picture.format, picture.mode) == ("PNG", "RGB")
    shown = tiles(picture, classes, per_class)
    expected = min(per_class, 10)
    side = int(shown[0, 0] ** 0.5)
    assert side >= 32
    assert (shown[:, :expected] == side * side).all()
    assert not shown[:, expected:].any()
    assert 0.5 < picture.width / picture.height < 3
    assert picture.width < 2500


def test_number_of_images_shown_can_be_chosen() -> None:
    assert np.flatnonzero(tiles(render(3, 7, max_per_class=4), 3, 7)[0]).tolist() == [0, 1, 2, 3]


def test_classes_are_found_by_label_in_any_order() -> None:
    images = torch.tensor([0.25, 0.75]).view(2, 1, 1, 1).expand(2, 1, 8, 8)
    forward = preview_png(images, torch.tensor([0, 1]), ["a", "b"])
    assert preview_png(images.flip(0), torch.tensor([1, 0]), ["a", "b"]) == forward
    assert preview_png(images, torch.tensor([1, 0]), ["a", "b"]) != forward


def test_pixels_are_enlarged_without_smoothing_and_clamped_for_display() -> None:
    image = torch.tensor([[-3.0, 0.5], [0.2, 9.0]]).view(1, 1, 2, 2).expand(2, 1, 2, 2)
    picture = Image.open(io.BytesIO(preview_png(image, torch.tensor([0, 1]), ["", ""])))
    sheet = np.asarray(picture)[:, :, 0]
    colours, counts = np.unique(sheet[sheet != 255], return_counts=True)
    assert colours.tolist() == [0, 51, 128]
    assert counts.tolist() == [2 * 24 * 24] * 3


def test_grey_and_non_square_images_are_shown() -> None:
    assert render(2, 2, (1, 8, 8)).size[0] > 100
    shown = tiles(render(2, 2, (3, 10, 30)), 2, 2)
    assert (shown == 10 * 30 * 4).all()


def test_names_are_drawn_and_long_ones_shortened() -> None:
    images, labels = torch.ones(2, 1, 48, 48), torch.tensor([0, 1])

    def sheet(*names: str) -> Image.Image:
        return Image.open(io.BytesIO(preview_png(images, labels, names)))

    assert (np.asarray(sheet("cat", "dog")) < 255).any()
    assert np.array_equal(np.asarray(sheet("", "")), np.full_like(np.asarray(sheet("", "")), 255))
    assert sheet("x" * 500, "y").size == sheet("x" * 5000, "y").size
    assert sheet("x" * 500, "y").width < 250


def test_gradients_and_bfloat16_are_no_obstacle() -> None:
    images = torch.rand(2, 3, 4, 4, dtype=torch.bfloat16, requires_grad=True)
    assert preview_png(images, torch.tensor([0, 1]), ["a", "b"]).startswith(b"\x89PNG")


@pytest.mark.parametrize(("classes", "per_class"), [(3, 2), (100, 10)])
def test_the_sheet_says_where_each_image_is(classes: int, per_class: int) -> None:
    picture = render(classes, per_class)
    layout = SheetLayout.model_validate_json(picture.info[LAYOUT_CHUNK])
    assert [row.name for row in layout.rows] == [f"class {number}" for number in range(classes)]
    width, height = layout.tile
    for number, row in enumerate(layout.rows):
        assert row.images == per_class
        for n in range(row.images):
            left = row.left + n * layout.stride
            tile = np.asarray(picture.crop((left, row.top, left + width, row.top + height)))
            assert (tile == (number, n, 200)).all()


def test_names_in_any_script_are_kept_and_very_long_ones_cut() -> None:
    names = ["Ä <b>кот</b>", "قط", "x" * 1000]
    picture = Image.open(io.BytesIO(preview_png(torch.zeros(3, 1, 4, 4), torch.arange(3), names)))
    layout = SheetLayout.model_validate_json(picture.info[LAYOUT_CHUNK])
    assert [row.name for row in layout.rows] == [*names[:2], "x" * 300]
