"""Selection rules against their printed choices and against loops that follow the definitions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ddcore.selection import herding, k_center, k_means

Rule = Callable[[Tensor, int], Tensor]


def by_k_means(features: Tensor, n: int) -> Tensor:
    return k_means(features, n, torch.Generator().manual_seed(0))


def plain_herding(features: Tensor, n: int) -> list[int]:
    mean, chosen = features.mean(0), list[int]()
    for i in range(1, n + 1):
        taken = sum((features[c] for c in chosen), torch.zeros_like(mean))
        left = [j for j in range(len(features)) if j not in chosen]
        chosen.append(min(left, key=lambda j: float((i * mean - taken - features[j]).norm())))
    return chosen


def plain_k_center(features: Tensor, n: int) -> list[int]:
    def radius(j: int, chosen: list[int]) -> float:
        return min(float((features[j] - features[c]).norm()) for c in chosen)

    chosen = [min(range(len(features)), key=lambda j: float((features[j] - features.mean(0)).norm()))]
    while len(chosen) < n:
        left = [j for j in range(len(features)) if j not in chosen]
        chosen.append(max(left, key=lambda j: radius(j, chosen)))
    return chosen


@pytest.mark.parametrize(("rule", "expected"), [(herding, [0, 4, 1]), (k_center, [0, 4, 6])])
def test_printed_choices(rule: Rule, expected: list[int], fill: Callable[..., Tensor]) -> None:
    assert rule(fill(8, 3, a=1.3), 3).tolist() == expected


@pytest.mark.parametrize(("rule", "reference"), [(herding, plain_herding), (k_center, plain_k_center)])
@pytest.mark.parametrize("n", [1, 7, 40])
def test_choices_are_those_of_the_definition(rule: Rule, reference: Callable[[Tensor, int], list[int]], n: int) -> None:
    features = torch.randn(40, 6, generator=torch.Generator().manual_seed(n)) + 30
    assert rule(features, n).tolist() == reference(features.double(), n)


def test_k_means_takes_the_row_nearest_to_the_mean_of_each_cluster() -> None:
    generator = torch.Generator().manual_seed(1)
    centres = torch.tensor([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0], [50.0, 50.0]])
    features = centres.repeat_interleave(9, dim=0) + torch.randn(36, 2, generator=generator)
    expected = []
    for cluster in range(4):
        rows = features[cluster * 9 : cluster * 9 + 9]
        expected.append(cluster * 9 + int((rows - rows.mean(0)).norm(dim=1).argmin()))
    assert by_k_means(features, 4).sort().values.tolist() == expected


def test_k_means_follows_its_generator() -> None:
    features = torch.randn(60, 3, generator=torch.Generator().manual_seed(2))
    chosen = {tuple(k_means(features, 5, torch.Generator().manual_seed(s)).sort().values.tolist()) for s in (3, 3, 4)}
    assert len(chosen) == 2


@pytest.mark.parametrize("rule", [herding, k_center, by_k_means])
def test_rows_are_distinct_among_copies(rule: Rule) -> None:
    features = torch.tensor([[1.0, 2.0]] * 3 + [[4.0, 1.0]] * 3)
    for n in range(1, 7):
        chosen = rule(features, n)
        assert chosen.dtype == torch.int64
        assert len(set(chosen.tolist())) == n


@pytest.mark.parametrize("rule", [herding, k_center, by_k_means])
@pytest.mark.parametrize("n", [0, 4])
def test_a_number_that_cannot_be_had_is_refused(rule: Rule, n: int) -> None:
    with pytest.raises(ValueError, match=rf"cannot choose {n} rows of features \(3, 2\); choose 1 to 3"):
        rule(torch.zeros(3, 2), n)
