"""Distances of embeddings against figures worked out beforehand and against plain loops."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ddcore.formulas import feature_distances
from ddcore.formulas.feature_distances import (
    LEAST_DEVIATION,
    Moments,
    mean_embedding_distance,
    printed_risk,
    released_risk,
)

Fill = Callable[..., Tensor]


def printed(fill: Fill) -> tuple[Tensor, Tensor]:
    """Real and synthetic features of the printed figures."""
    return fill(6, 4), fill(3, 4, a=0.7, b=0.5)


def test_printed_distance_of_means_is_a_sum_over_dimensions(fill: Fill) -> None:
    real, synthetic = printed(fill)
    distance = mean_embedding_distance(real.mean(0), synthetic.mean(0))
    assert distance.item() == pytest.approx(0.146629, rel=1e-5)


def test_printed_terms_and_gradient_of_the_released_risk(fill: Fill) -> None:
    real, synthetic = printed(fill)
    synthetic.requires_grad_()
    terms = released_risk(Moments.of(real), synthetic.mean(0))
    total = terms.total()
    total.backward()
    assert terms.variation.item() == pytest.approx(0.321466, rel=1e-5)
    assert terms.likelihood.item() == pytest.approx(6.734327, rel=1e-5)
    assert terms.clip.item() == 0
    assert total.item() == pytest.approx(6.991500, rel=1e-5)
    assert synthetic.grad is not None
    assert synthetic.grad.norm().item() == pytest.approx(0.504147, rel=1e-4)
    assert synthetic.grad[0].tolist() == pytest.approx([-0.133864, 0.141062, 0.151740, 0.154526], rel=1e-4)


def test_released_risk_is_the_logarithm_of_the_released_density(fill: Fill) -> None:
    """The density, its logarithm and the clip term as the code goes about them, in float64."""
    real, synthetic = (x.double() for x in printed(fill))
    z, deviation = synthetic.mean(0), real.std(0)
    sigma = deviation.exp()
    density = (-((z - real.mean(0)) ** 2) / (2 * sigma**2)).exp() / (sigma * math.sqrt(2 * math.pi))
    a, b = z.softmax(0), real.mean(0).softmax(0)
    clip = (a.mean() - b.mean()) ** 2
    terms = released_risk(Moments.of(real), z)
    assert terms.likelihood.item() == pytest.approx(-density.log().sum().item(), rel=1e-12)
    assert clip.item() == pytest.approx(terms.clip.item(), abs=1e-30)


def test_released_risk_does_not_underflow_where_the_density_does() -> None:
    real = Moments(torch.zeros(1), torch.zeros(1))
    far = torch.tensor([15.0], requires_grad=True)
    likelihood = released_risk(real, far).likelihood
    likelihood.backward()
    assert likelihood.item() == pytest.approx(0.5 * math.log(2 * math.pi) + 112.5)
    assert far.grad is not None
    assert far.grad.item() == 15
    assert torch.exp(-0.5 * far.detach() ** 2).item() == pytest.approx(0, abs=1e-45)


def test_released_risk_of_several_classes_is_the_sum_of_theirs(fill: Fill) -> None:
    real, synthetic = fill(3, 6, 4), fill(3, 4, a=0.7)
    each = [released_risk(Moments.of(r), s) for r, s in zip(real, synthetic, strict=True)]
    together = released_risk(Moments(real.mean(1), real.std(1)), synthetic)
    for name in ("likelihood", "variation", "clip"):
        assert getattr(together, name).item() == pytest.approx(sum(getattr(t, name).item() for t in each), rel=1e-5)


def test_the_two_forms_differ_by_the_spread_and_the_deviation(fill: Fill) -> None:
    """Of class means, with std for exp(std), the printed likelihood would be 2.707315: worked out beforehand."""
    real, synthetic = printed(fill)
    spread = (real.var(0, correction=0) + synthetic.var(0, correction=0)) / (2 * real.var(0))
    assert (printed_risk(real, synthetic).likelihood - spread.sum()).item() == pytest.approx(2.707315, rel=1e-5)


def plain_risk(real: Tensor, synthetic: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Image by image, as the paper prints it, but with the likelihood's sign turned to be minimised."""
    sigma = real.std(0)
    sums = [torch.zeros((), dtype=real.dtype) for _ in range(3)]
    for own in synthetic:
        for z in real:
            u = (own - z) / sigma
            sums[0] = sums[0] + 0.5 * (2 * math.pi * sigma**2).log().sum() + (((own - z) ** 2) / (2 * sigma**2)).sum()
            sums[1] = sums[1] + 0.5 * (own - z).abs().sum()
            sums[2] = sums[2] + ((u - torch.clip(u, 0, 1)) ** 2).sum()
    count = len(real) * len(synthetic)
    return sums[0] / count, sums[1] / count, sums[2] / count


@pytest.mark.parametrize("values", [1, 2**22], ids=["in parts", "at once"])
def test_printed_risk_is_the_mean_over_pairs(fill: Fill, monkeypatch: pytest.MonkeyPatch, values: int) -> None:
    monkeypatch.setattr(feature_distances, "_PAIRED_VALUES", values)
    real, synthetic = (x.double() for x in printed(fill))
    ours, theirs = synthetic.clone().requires_grad_(), synthetic.clone().requires_grad_()
    terms, expected = printed_risk(real, ours), plain_risk(real, theirs)
    for term, value in zip(terms, expected, strict=True):
        assert term.item() == pytest.approx(value.item(), rel=1e-12)
    terms.total(0.3).backward()
    (expected[0] + 0.3 * expected[1] + 0.7 * expected[2]).backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_a_feature_that_never_varies_keeps_the_printed_risk_finite() -> None:
    synthetic = torch.tensor([[0.5]], requires_grad=True)
    total = printed_risk(torch.zeros(4, 1), synthetic).total()
    total.backward()
    assert torch.isfinite(total)
    assert synthetic.grad is not None
    u = 0.5 / LEAST_DEVIATION
    slope = u / LEAST_DEVIATION + 0.8 * 0.5 + 0.2 * 2 * (u - 1) / LEAST_DEVIATION
    assert synthetic.grad.item() == pytest.approx(slope, rel=1e-5)


def test_moments_are_unbiased_and_those_of_one_image_have_no_deviation(fill: Fill) -> None:
    real = fill(6, 4)
    moments = Moments.of(real)
    torch.testing.assert_close(moments.mean, real.mean(0))
    torch.testing.assert_close(moments.deviation, real.std(0))
    alone = Moments.of(real[:1])
    assert torch.equal(alone.mean, real[0])
    assert alone.deviation.tolist() == [0] * 4
