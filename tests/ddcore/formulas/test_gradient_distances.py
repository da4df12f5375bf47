"""Distances of gradients against numbers worked out beforehand and against loops."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ddcore.formulas.gradient_distances import absolute, cosine, inner_product, row_cosine, squared

Fill = Callable[..., Tensor]


def printed(fill: Fill) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Real and synthetic gradients of the printed figures."""
    real = (fill(2, 3, 2, 2), fill(2), fill(2, 5, b=1), fill(4, b=2))
    synthetic = (fill(2, 3, 2, 2, a=0.7, b=0.5), fill(2, a=0.3), fill(2, 5, a=0.7, b=1.5), fill(4, a=0.3, b=2))
    names = ("conv", "bias", "linear", "shift")
    return dict(zip(names, real, strict=True)), dict(zip(names, synthetic, strict=True))


@pytest.mark.parametrize(("distance", "expected"), [(row_cosine, 2.918462), (squared, 30.190023), (cosine, 0.775301)])
def test_printed_values(distance: Callable[..., Tensor], expected: float, fill: Fill) -> None:
    real, synthetic = printed(fill)
    assert distance(synthetic, real).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("name", "expected"), [("conv", 1.799597), ("linear", 1.118865)])
def test_printed_values_of_single_layers(name: str, expected: float, fill: Fill) -> None:
    real, synthetic = printed(fill)
    assert row_cosine({name: synthetic[name]}, {name: real[name]}).item() == pytest.approx(expected, rel=1e-5)


def test_rows_are_output_nodes_whatever_the_shape_of_the_parameter(fill: Fill) -> None:
    """Layer normalisation has (C, H, W) scales, compared as C rows of H W."""
    real, synthetic = fill(3, 4, 5), fill(3, 4, 5, a=0.6, b=1)
    total = 0.0
    for r, s in zip(real, synthetic, strict=True):
        total += 1 - float((r * s).sum() / (r.norm() * s.norm() + 1e-6))
    assert row_cosine({"scale": synthetic}, {"scale": real}).item() == pytest.approx(total, rel=1e-6)


def test_vectors_alone_have_no_rows() -> None:
    with pytest.raises(ValueError, match="none of bias, shift has more than one dimension"):
        row_cosine({"bias": torch.ones(2), "shift": torch.ones(2)}, {"bias": torch.ones(2), "shift": torch.ones(2)})


@pytest.mark.parametrize("side", ["synthetic", "real"])
def test_a_row_of_zeros_counts_one_and_has_a_finite_slope(side: str) -> None:
    rows = {"synthetic": torch.ones(2, 3), "real": torch.ones(2, 3)}
    rows[side][1] = 0
    leaf = rows["synthetic"].requires_grad_()
    value = row_cosine({"w": leaf}, {"w": rows["real"]})
    assert value.item() == pytest.approx(1, abs=1e-5)
    (slope,) = torch.autograd.grad(value, leaf)
    assert torch.isfinite(slope).all()
    if side == "real":
        assert slope[1].eq(0).all()


def test_the_names_of_the_real_gradient_decide_what_is_compared(fill: Fill) -> None:
    real, synthetic = printed(fill)
    part = {"conv": real["conv"]}
    assert absolute(synthetic, part).item() == pytest.approx((real["conv"] - synthetic["conv"]).abs().sum().item())
    assert inner_product(synthetic, part).item() == pytest.approx((real["conv"] * synthetic["conv"]).sum().item())
    assert cosine(synthetic, part) == cosine({"conv": synthetic["conv"]}, part)
