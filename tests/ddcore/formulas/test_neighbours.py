import math

import pytest
import torch

from ddcore.formulas import neighbours
from ddcore.formulas.neighbours import nearest, ranks, stand_out


def by_hand(query: list[float], rows: list[list[float]], own: int) -> tuple[float, int]:
    """Root mean square distance to the nearest row and its number, one value after the other."""
    best = (math.inf, -1)
    for number, row in enumerate(rows):
        if number != own:
            total = sum((a - b) ** 2 for a, b in zip(query, row, strict=True))
            best = min(best, (math.sqrt(total / len(row)), number))
    return best


@pytest.mark.parametrize("size", [1, 7, 40])
def test_the_nearest_row_is_the_one_that_a_search_by_hand_finds(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_AT_ONCE", 3)
    generator = torch.Generator().manual_seed(1)
    rows = torch.rand(40, 5, generator=generator)
    queries = torch.cat([torch.rand(6, 5, generator=generator), rows[[0, 17, 39]]])
    own = torch.tensor([-1] * 6 + [0, 17, 39])
    found = nearest(queries, rows.split(size), own)
    expected = [by_hand(q, rows.tolist(), o) for q, o in zip(queries.tolist(), own.tolist(), strict=True)]
    assert found.rows.tolist() == [row for _, row in expected]
    assert found.distances.tolist() == pytest.approx([distance for distance, _ in expected], rel=1e-12)


def test_a_copy_has_no_distance_at_all_and_the_first_of_equal_rows_is_named() -> None:
    rows = 100 + torch.rand(30, 3072, generator=torch.Generator().manual_seed(2))
    rows[20] = rows[4]
    found = nearest(rows[[20, 7]], rows.split(8))
    assert found.distances.tolist() == [0.0, 0.0]
    assert found.rows.tolist() == [4, 7]


@pytest.mark.parametrize("size", [2, 9, 60])
def test_the_nearest_rows_around_are_averaged_however_the_rows_are_divided(size: int) -> None:
    generator = torch.Generator().manual_seed(5)
    rows = 10 + torch.rand(60, 4, generator=generator)
    queries, own = torch.cat([10 + torch.rand(4, 4, generator=generator), rows[:1]]), torch.tensor([-1] * 4 + [0])
    found = nearest(queries, rows.split(size), own, around=7)
    for query, itself, around in zip(queries.tolist(), own.tolist(), found.around.tolist(), strict=True):
        distances = sorted(by_hand(query, [row], -1)[0] for n, row in enumerate(rows.tolist()) if n != itself)
        assert around == pytest.approx(sum(distances[:7]) / 7, rel=1e-9)
    few = nearest(torch.zeros(1, 4), [rows[:3]], around=7)
    assert float(few.around[0]) == pytest.approx(sum(by_hand([0.0] * 4, [r], -1)[0] for r in rows[:3].tolist()) / 3)


def test_a_mean_is_close_to_many_and_stands_out_by_none() -> None:
    generator = torch.Generator().manual_seed(6)
    rows = torch.randn(400, 64, generator=generator)
    changed = rows[:1] + 0.2 * torch.randn(1, 64, generator=generator)
    found = nearest(torch.cat([rows.mean(dim=0, keepdim=True), changed]), rows.split(128), around=50)
    among = nearest(rows[:100], rows.split(128), torch.arange(100))
    assert found.distances[0] < among.distances.median()
    assert stand_out(found).tolist() == [False, True]


def test_a_row_alone_has_no_neighbour() -> None:
    row = torch.ones(1, 3)
    assert nearest(row, [row], torch.tensor([0])).rows.tolist() == [-1]
    assert nearest(row, [row], torch.tensor([0])).distances.tolist() == [math.inf]


def test_ranks_count_what_is_at_most_as_large() -> None:
    generator = torch.Generator().manual_seed(3)
    sample, distances = torch.rand(50, generator=generator), torch.rand(9, generator=generator)
    expected = [sum(s <= d for s in sample.tolist()) / 50 for d in distances.tolist()]
    assert ranks(distances, sample).tolist() == pytest.approx(expected)
