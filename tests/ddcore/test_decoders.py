"""Decoders, against the printed values of methods/matching E1 and slow references."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ddcore import decoders
from ddcore.decoders import Addressed, Identity, Mosaic
from ddcore.errors import ConfigurationError
from ddcore.learned import Learned
from ddcore.spec import IdentityConfig, MosaicConfig

Fill = Callable[..., Tensor]


def test_views_of_one_image_have_the_printed_sums(fill: Fill) -> None:
    """E1, IDM decode: printed column by column (TL, BL, TR, BR), decoded row by row."""
    views = Mosaic(2, (1, 8, 8)).decode(fill(1, 1, 8, 8, a=0.37), 1)
    sums = views.flatten(1).sum(dim=1)[[0, 2, 1, 3]]
    assert sums.tolist() == pytest.approx([5.023028, 4.723911, -0.997149, 2.664735], rel=1e-5)
    assert views[0, 0, 0, :4].tolist() == pytest.approx([0, 0.0904039, 0.2712116, 0.4397835], rel=1e-5)


def test_a_shrunk_tile_has_the_printed_sum(fill: Fill) -> None:
    """E1, IDM half-size."""
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


def test_a_factor_that_does_not_fit_is_refused_with_those_that_do() -> None:
    with pytest.raises(ConfigurationError, match=r"`decoder.factor` is 3.*28 x 28.*choose one of 2, 4, 7, 14"):
        decoders.build(MosaicConfig(factor=3), (1, 28, 28))


def addressed() -> tuple[Addressed, Tensor]:
    """Bases and coefficients of methods/trajectory-and-bilevel, section 11."""
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
