"""Selection rules against choices worked out beforehand and against loops that follow the definitions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from ddcore.formulas.selection import herding, k_center, k_means, nearest_rows, refined

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


def test_dream_represents_two_clusters_as_printed() -> None:
    """By hand: the middle of 0, 0.1 and 0.2 is 0.1, and that of 1, 1.1 and 1.5 is 1.2, to which 1.1 is nearest."""
    points = torch.tensor([[0.0], [0.1], [0.2], [1.0], [1.1], [1.5]])
    for start in ([0, 1], [0, 5], [4, 2]):
        centroids = refined(points, points[start], 10)
        assert centroids.sort(dim=0).values.flatten().tolist() == pytest.approx([0.1, 1.2])
        assert nearest_rows(points, centroids).sort().values.tolist() == [1, 4]


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_centroids_are_refined_as_by_a_loop(steps: int) -> None:
    generator = torch.Generator().manual_seed(steps)
    features = torch.randn(60, 5, generator=generator)
    start = features[:7].clone()
    expected = start
    for _ in range(steps):
        nearest = [int((row - expected).norm(dim=1).argmin()) for row in features]
        members = [[r for r, c in enumerate(nearest) if c == centroid] for centroid in range(7)]
        expected = torch.stack([features[m].mean(0) if m else expected[c] for c, m in enumerate(members)])
    torch.testing.assert_close(refined(features, start, steps), expected)


def test_refining_converges_to_where_the_library_does() -> None:
    features = torch.randn(80, 4, generator=torch.Generator().manual_seed(2))
    start = features[:6]
    library = KMeans(6, init=start.numpy(), n_init=1, tol=0, max_iter=100, algorithm="lloyd").fit(features.numpy())
    torch.testing.assert_close(refined(features, start, 100), torch.from_numpy(library.cluster_centers_))


def test_a_centroid_without_rows_stays_where_it_is() -> None:
    centroids = refined(torch.tensor([[0.0], [1.0]]), torch.tensor([[0.4], [50.0]]), 3)
    assert centroids.flatten().tolist() == [0.5, 50.0]


def test_nearest_rows_are_distinct_and_taken_in_turn() -> None:
    features = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    assert nearest_rows(features, torch.tensor([[1.1], [0.9], [1.0], [9.0]])).tolist() == [1, 0, 2, 3]
    with pytest.raises(ValueError, match="cannot choose 5 rows"):
        nearest_rows(features, torch.zeros(5, 1))
