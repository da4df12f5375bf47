"""Decoders, against values worked out beforehand and slow references."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ddcore.errors import ConfigurationError
from ddcore.spec import IdentityConfig, MosaicConfig
from ddcore.synthetic import decoders
from ddcore.synthetic.decoders import Addressed, BoundedMosaic, Identity, Mosaic, MultiScaleMosaic
from ddcore.synthetic.parameter import Learned

Fill = Callable[..., Tensor]


def test_views_of_one_image_have_the_printed_sums(fill: Fill) -> None:
    """IDM's decoding: printed column by column (TL, BL, TR, BR), decoded row by row."""
    views = Mosaic(2, (1, 8, 8)).decode(fill(1, 1, 8, 8, a=0.37), 1)
    sums = views.flatten(1).sum(dim=1)[[0, 2, 1, 3]]
    assert sums.tolist() == pytest.approx([5.023028, 4.723911, -0.997149, 2.664735], rel=1e-5)
    assert views[0, 0, 0, :4].tolist() == pytest.approx([0, 0.0904039, 0.2712116, 0.4397835], rel=1e-5)


def test_a_shrunk_tile_has_the_printed_sum(fill: Fill) -> None:
    """IDM's halving: the exact mean of 2 x 2 pixels."""
    stored = Mosaic(2, (1, 8, 8)).encode(fill(1, 1, 8, 8, a=0.37).repeat(4, 1, 1, 1), 1)
    tile = stored[0, 0, :4, :4]
    assert tile.sum().item() == pytest.approx(0.7134078, rel=1e-5)
    assert tile[0].tolist() == pytest.approx([0.0887292, 0.0598709, -0.0003037, -0.0603194], rel=1e-4)


@pytest.mark.parametrize("factor", [2, 3])
def test_images_come_out_class_by_class_and_view_by_view(factor: int) -> None:
    rows, shape = 2, (3, 12, 12)
    decoder = Mosaic(factor, shape)
    stored = torch.randn(3 * rows, *shape, generator=torch.Generator().manual_seed(0))
    images = decoder.decode(stored, rows)
    side, place = 12 // factor, 0
    for label in range(3):
        for view in range(factor**2):
            top, left = (view // factor) * side, (view % factor) * side
            for row in range(rows):
                tile = stored[label * rows + row, :, top : top + side, left : left + side]
                expected = F.interpolate(tile[None], size=(12, 12), mode="bilinear", align_corners=False)[0]
                torch.testing.assert_close(images[place], expected)
                place += 1
    assert place == len(images)


def test_encoding_puts_each_shrunk_image_where_it_decodes_from() -> None:
    decoder = Mosaic(2, (1, 8, 8))
    flat = torch.arange(2 * 3 * 4, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)
    torch.testing.assert_close(decoder.decode(decoder.encode(flat, 3), 3), flat.contiguous())
    halved = decoder.encode(torch.arange(64.0).view(1, 1, 8, 8).repeat(4, 1, 1, 1), 1)[0, 0, :4, :4]
    means = torch.arange(64.0).view(4, 2, 4, 2).mean(dim=(1, 3))
    torch.testing.assert_close(halved, means)


def test_no_decoder_changes_nothing() -> None:
    images = torch.randn(4, 1, 4, 4)
    assert Identity().decode(images, 2) is images
    assert decoders.build(IdentityConfig(), (1, 4, 4)).views == 1


@pytest.mark.parametrize(("factor", "side", "fitting"), [(8, 28, "2, 3, 4, 5, 6, 7, 14"), (5, 8, "2, 3, 4")])
def test_a_factor_that_does_not_fit_is_refused_with_those_that_do(factor: int, side: int, fitting: str) -> None:
    message = rf"`decoder.factor` is {factor}.*{side} x {side}.*choose one of {fitting}$"
    with pytest.raises(ConfigurationError, match=message):
        decoders.build(MosaicConfig(factor=factor), (1, side, side))


def test_idc_decodes_to_the_printed_values() -> None:
    """By hand: a tile is 0, 1; 4, 5 (sixteenths), and bilinear enlarging weighs neighbours 3 to 1."""
    images = Mosaic(2, (1, 4, 4)).decode(torch.arange(16.0).view(1, 1, 4, 4) / 16, 1)
    assert images.shape == (4, 1, 4, 4)
    assert images[0, 0, 0].tolist() == pytest.approx([0, 0.015625, 0.046875, 0.0625], abs=1e-7)
    assert images[1, 0, 0].tolist() == pytest.approx([0.125, 0.140625, 0.171875, 0.1875], abs=1e-7)
    assert images.sum().item() == pytest.approx(30.0, rel=1e-6)


def plain_tiles(image: Tensor, factor: int, grey: Tensor) -> list[Tensor]:
    """Views of one image: filled up on the right and below, cut, and enlarged one by one."""
    channels, height, width = image.shape
    tall, wide = -(-height // factor), -(-width // factor)
    canvas = torch.zeros(channels, tall * factor, wide * factor)
    for c in range(channels):
        canvas[c] = grey[c]
    canvas[:, :height, :width] = image
    views = []
    for i in range(factor):
        for j in range(factor):
            tile = canvas[None, :, i * tall : (i + 1) * tall, j * wide : (j + 1) * wide]
            views.append(F.interpolate(tile, size=(height, width), mode="bilinear", align_corners=False)[0])
    return views


def in_order(stored: Tensor, rows: int, scales: list[list[int]], grey: Tensor) -> Tensor:
    """Class by class, scale by scale (each with the rows it cuts), view by view, row by row."""
    images = []
    for of_class in stored.split(rows):
        for factor, cut in enumerate(scales):
            views = [plain_tiles(of_class[row], factor, grey) for row in cut]
            images += [views[row][view] for view in range(factor**2) for row in range(len(cut))]
    return torch.stack(images)


SHAPE, GREY = (2, 10, 8), torch.tensor([0.3, -0.4])


def rows_of(classes: int, rows: int) -> Tensor:
    return torch.randn(classes * rows, *SHAPE, generator=torch.Generator().manual_seed(3))


def test_tiles_that_reach_over_the_border_are_filled_up() -> None:
    decoder, stored = Mosaic(3, SHAPE, GREY.view(-1, 1, 1)), rows_of(3, 2).requires_grad_()
    images = decoder.decode(stored, 2)
    torch.testing.assert_close(images, in_order(stored.detach(), 2, [[], [], [], [0, 1]], GREY))
    weights = torch.randn(images.shape, generator=torch.Generator().manual_seed(4))
    (gradient,) = torch.autograd.grad((images * weights).sum(), stored)
    change = torch.ones_like(stored) * 0.1
    difference = ((decoder.decode(stored + change, 2) - images) * weights).sum()
    torch.testing.assert_close(difference, (gradient * change).sum(), rtol=1e-4, atol=1e-4)


def test_encoding_shows_every_image_whole_in_what_its_tile_has_within_the_border() -> None:
    decoder = Mosaic(3, SHAPE)
    images = torch.randn(2 * 9 * 2, *SHAPE, generator=torch.Generator().manual_seed(5))
    stored = decoder.encode(images, 2)
    for label in range(2):
        for view, (i, j) in enumerate((i, j) for i in range(3) for j in range(3)):
            for row in range(2):
                image = images[label * 18 + view * 2 + row]
                place = stored[label * 2 + row, :, 4 * i : 4 * i + 4, 3 * j : 3 * j + 3]
                assert place.shape[1:] == ((4, 4, 2)[i], (3, 3, 2)[j])
                small = F.interpolate(image[None], size=place.shape[1:], mode="bilinear", align_corners=False)[0]
                torch.testing.assert_close(place, small)


def test_the_nearest_pixel_is_taken_as_in_the_released_code_of_idc() -> None:
    """Its `init` shrinks by `F.interpolate(images, size)`: pixel i of n is pixel floor(i side / n)."""
    decoder = decoders.build(MosaicConfig(factor=2, shrink="nearest"), (1, 8, 8))
    images = torch.randn(3 * 4 * 2, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    stored = decoder.encode(images, 2)
    for label in range(3):
        for row in range(2):
            for view, (i, j) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
                place = stored[label * 2 + row, 0, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4]
                assert torch.equal(place, images[label * 8 + view * 2 + row, 0, ::2, ::2])


def test_all_scales_are_seen_one_after_the_other() -> None:
    decoder, stored = MultiScaleMosaic(3, (2, 10, 9)), torch.randn(4, 2, 10, 9)
    images = decoder.decode(stored, 2)
    torch.testing.assert_close(images, in_order(stored, 2, [[], [0, 1], [0, 1], [0, 1]], torch.zeros(2)))
    assert (decoder.views, decoder.tiles, decoder.count(2)) == (14, 9, 28)
    assert len(images) == 2 * 28
    torch.testing.assert_close(images[:2], stored[:2])
    assert decoder.finished is decoder


@pytest.mark.parametrize(
    ("rows", "bound", "scales"),
    [
        (4, 20, [[], [3], [1, 2], [0]]),  # 16 images to spare: 1 row of 9; then 8: 2 of 4
        (4, 24, [[], [3], [2], [0, 1]]),
        (4, 12, [[], [2, 3], [0, 1], []]),
        (3, 1, [[], [0, 1, 2], [], []]),
        (3, 1000, [[], [], [], [0, 1, 2]]),
    ],
)
def test_a_bound_leaves_no_row_out_and_is_gone_in_the_end(rows: int, bound: int, scales: list[list[int]]) -> None:
    decoder = BoundedMosaic(3, (2, 9, 9), bound=bound)
    stored = torch.randn(2 * rows, 2, 9, 9, generator=torch.Generator().manual_seed(1))
    images = decoder.decode(stored, rows)
    parts = [(f, c) for f, c in reversed(list(enumerate(scales))) if c]
    assert decoder.plan(rows) == [(f, slice(c[0], c[-1] + 1)) for f, c in parts]
    expected = []
    for of_class in stored.split(rows):
        for factor, cut in parts:
            views = [plain_tiles(of_class[row], factor, torch.zeros(2)) for row in cut]
            expected += [views[row][view] for view in range(factor**2) for row in range(len(cut))]
    torch.testing.assert_close(images, torch.stack(expected))
    assert decoder.count(rows) == len(images) // 2 <= max(bound, rows)
    torch.testing.assert_close(decoder.finished.decode(stored, rows), Mosaic(3, (2, 9, 9)).decode(stored, rows))


def released_split(rows: int, factor: int, bound: int) -> list[int]:
    """How many rows IDC's `decode_zoom_bound` cuts by each factor, from the largest down to 1, counted as it counts."""
    free, left, made, counts = bound - rows, rows, 0, []
    for f in range(factor, 1, -1):
        counts.append(min(free // f**2, left))
        left -= counts[-1]
        made += counts[-1] * f**2
        free = bound - made - left
    return [*counts, left]


@pytest.mark.parametrize(
    ("rows", "factor", "bound", "counts"),
    [(50, 3, 128, [8, 3, 39]), (20, 3, 128, [12, 3, 5]), (50, 2, 128, [19, 31]), (14, 3, 128, [12, 2, 0])],
)
def test_a_bound_splits_a_class_as_the_released_code(rows: int, factor: int, bound: int, counts: list[int]) -> None:
    planned = dict(BoundedMosaic(factor, (1, 9, 9), bound=bound).plan(rows))
    found = [planned[f].stop - planned[f].start if f in planned else 0 for f in range(factor, 0, -1)]
    assert found == released_split(rows, factor, bound) == counts


@pytest.mark.parametrize("scales", ["single", "multi", "bound"])
def test_the_specification_counts_what_the_decoder_makes(scales: str) -> None:
    config = MosaicConfig(factor=3, scales=scales, bound=5)
    decoder = decoders.build(config, (1, 9, 9), 0.5)
    assert (config.views, config.tiles) == (decoder.finished.count(1), decoder.tiles)
    assert isinstance(decoder, Mosaic)
    images = decoder.encode(torch.zeros(2 * 9, 1, 9, 9), 2)
    assert images.shape == (2, 1, 9, 9)


def addressed() -> tuple[Addressed, Tensor]:
    """Bases sin(1), sin(2), … and coefficients sin(4), sin(5), … of the printed values."""
    bases = torch.sin(torch.arange(1, 9, dtype=torch.float64)).view(2, 1, 2, 2)
    coefficients = torch.sin(torch.arange(1, 7, dtype=torch.float64) + 3).view(3, 2)
    return Addressed(Learned(bases, lr=0.1, momentum=0.5), (1, 4, 4)), coefficients.float()


def test_mixtures_have_the_printed_values() -> None:
    decoder, coefficients = addressed()
    images = decoder.decode(coefficients, 1)
    assert images.shape == (3, 1, 4, 4)
    row = [0.28270842350639, 0.10697625321512, -0.24448808736743, -0.42022025765871]
    assert images[0, 0, 0].tolist() == pytest.approx(row, abs=1e-6)
    assert images.sum().item() == pytest.approx(-0.0329420400975681, abs=5e-6)
    small = torch.einsum("ib,bchw->ichw", coefficients, decoder.learned["bases"].value)[0].flatten()
    printed = [0.28270842350639, -0.42022025765871, -0.73680037187740, -0.37596962212101]
    assert small.tolist() == pytest.approx(printed, abs=1e-6)


def test_one_hot_coefficients_are_the_bases_themselves() -> None:
    decoder, _ = addressed()
    bases = decoder.learned["bases"].value
    torch.testing.assert_close(
        decoder.decode(torch.eye(2), 1), F.interpolate(bases, size=(4, 4), mode="bilinear", align_corners=False)
    )


def test_encoding_finds_the_mixture_that_made_an_image() -> None:
    generator = torch.Generator().manual_seed(0)
    decoder = Addressed(Learned(torch.randn(3, 1, 1, 1, generator=generator), lr=0, momentum=0), (1, 2, 2))
    mixtures = torch.randn(4, 3, generator=generator)
    images = decoder.decode(mixtures, 2)
    torch.testing.assert_close(decoder.decode(decoder.encode(images, 2), 2), images)
    one_base = Addressed(Learned(torch.ones(1, 1, 2, 2), lr=0, momentum=0), (1, 4, 4))
    torch.testing.assert_close(one_base.encode(torch.full((1, 1, 4, 4), 0.7), 1), torch.tensor([[0.7]]))


def test_a_bundle_gets_the_mixtures_and_the_bases() -> None:
    decoder, coefficients = addressed()
    parts = decoder.parts(coefficients)
    assert torch.equal(parts["coefficients"], coefficients)
    assert torch.equal(parts["bases"], decoder.learned["bases"].value)
    assert Identity().parts(coefficients) == {}
    assert decoder.row_shape((1, 4, 4)) == (2,)
    assert Identity().row_shape((1, 4, 4)) == (1, 4, 4)


@pytest.mark.parametrize(
    "decoder",
    [Identity(), Mosaic(2, (1, 12, 12)), MultiScaleMosaic(3, (1, 12, 12)), BoundedMosaic(2, (1, 12, 12), bound=8)],
    ids=lambda decoder: type(decoder).__name__,
)
def test_origins_say_which_row_an_image_changes_with(decoder: decoders.Decoder) -> None:
    stored = torch.zeros(4, 1, 12, 12)
    for row in range(4):
        changed = stored.clone()
        changed[row] = 1
        images = (decoder.decode(changed, 4) - decoder.decode(stored, 4)).flatten(1).any(dim=1)
        assert images.tolist() == (decoder.origins(4) == row).tolist()
