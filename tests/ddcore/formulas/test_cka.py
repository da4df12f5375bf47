import math

import pytest
import torch
from torch import Tensor

from ddcore.formulas.cka import linear_cka


def by_hand(x: Tensor, y: Tensor) -> float:
    """HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) of linear kernels, entry by entry (Kornblith et al., 2019)."""
    n = len(x)
    h = [[(i == j) - 1 / n for j in range(n)] for i in range(n)]

    def centred(features: list[list[float]]) -> list[list[float]]:
        kernel = [[sum(a * b for a, b in zip(r, s, strict=True)) for s in features] for r in features]
        left = [[sum(h[i][k] * kernel[k][j] for k in range(n)) for j in range(n)] for i in range(n)]
        return [[sum(left[i][k] * h[k][j] for k in range(n)) for j in range(n)] for i in range(n)]

    def hsic(k: list[list[float]], m: list[list[float]]) -> float:
        return sum(k[i][j] * m[j][i] for i in range(n) for j in range(n)) / (n - 1) ** 2

    of_x, of_y = centred(x.tolist()), centred(y.tolist())
    return hsic(of_x, of_y) / math.sqrt(hsic(of_x, of_x) * hsic(of_y, of_y))


@pytest.mark.parametrize(("n", "p", "q"), [(3, 4, 2), (6, 2, 9), (10, 10, 10)])
def test_it_is_the_alignment_of_centred_kernels(n: int, p: int, q: int) -> None:
    generator = torch.Generator().manual_seed(n)
    x, y = torch.randn(n, p, generator=generator) + 5, torch.randn(n, q, generator=generator) - 2
    assert linear_cka(x, y) == pytest.approx(by_hand(x.double(), y.double()), rel=1e-9)


def test_the_published_other_form_gives_the_same() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(7, 3, generator=generator).double(), torch.randn(7, 5, generator=generator).double()
    a, b = x - x.mean(0), y - y.mean(0)
    expected = (b.T @ a).norm() ** 2 / ((a.T @ a).norm() * (b.T @ b).norm())
    assert linear_cka(x, y) == pytest.approx(float(expected))


def test_unlike_representations_are_told_and_useless_ones_refused() -> None:
    x = torch.eye(4)
    assert linear_cka(x[:, :1], x[:, 1:2]) < 0.2
    assert math.isnan(linear_cka(x, torch.ones(4, 2)))
    with pytest.raises(ValueError, match="same two or more things"):
        linear_cka(x, x[:3])
