import itertools
from collections import Counter

import pytest
import torch
from torch import Generator

from ddcore.data.dataset import Dataset, ImageSet, describe
from ddcore.data.sampling import ClassSampler, batches, reserve
from ddcore.errors import DataError


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def labels_of(*counts: int) -> torch.Tensor:
    labels = torch.cat([torch.full((count,), number) for number, count in enumerate(counts)])
    return labels[torch.randperm(len(labels), generator=generator(7))]


def dataset_of(*counts: int) -> Dataset:
    labels = labels_of(*counts)
    split = ImageSet(torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8), labels, tuple("abcdefgh"[: len(counts)]))
    return describe("toy", split, split)


def test_draw_gives_distinct_rows_of_each_class() -> None:
    labels = labels_of(50, 60, 70)
    sampler = ClassSampler(labels, 3)
    shared = generator()
    for _ in range(20):
        rows = sampler.draw(30, shared)
        assert rows.shape == (3, 30)
        assert torch.equal(labels[rows], torch.arange(3).unsqueeze(1).expand(3, 30))
        assert all(len(set(row)) == 30 for row in rows.tolist())


def test_draw_is_uniform_over_ordered_samples() -> None:
    sampler = ClassSampler(torch.tensor([0, 0, 0, 0, 1, 1]), 2)
    shared = generator()
    seen = Counter(tuple(sampler.draw(2, shared)[0].tolist()) for _ in range(12_000))
    assert set(seen) == set(itertools.permutations(range(4), 2))
    # 1000 expected of each ordered pair; chi-squared with 11 degrees of freedom stays below 31.3 with p = 0.999.
    assert sum((count - 1000) ** 2 / 1000 for count in seen.values()) < 31.3


def test_draw_is_capped_at_the_smallest_class_and_draw_each_at_every_class() -> None:
    sampler = ClassSampler(labels_of(5, 90, 20), 3)
    assert sampler.draw(30, generator()).shape == (3, 5)
    assert [len(rows) for rows in sampler.draw_each(30, generator())] == [5, 30, 20]


def test_draw_and_draw_each_agree_where_classes_are_large_enough() -> None:
    sampler = ClassSampler(labels_of(40, 50), 2)
    assert torch.equal(sampler.draw(8, generator()), torch.stack(sampler.draw_each(8, generator())))


def test_a_draw_mixed_classes_is_uniform_distinct_and_leaves_out_what_is_excluded() -> None:
    sampler = ClassSampler(torch.tensor([0, 0, 1, 1, 1]), 2, exclude=torch.tensor([2]))
    shared = generator()
    seen = Counter(tuple(sampler.draw_mixed(2, shared).tolist()) for _ in range(12_000))
    assert set(seen) == set(itertools.permutations((0, 1, 3, 4), 2))
    # As above.
    assert sum((count - 1000) ** 2 / 1000 for count in seen.values()) < 31.3
    assert sampler.draw_mixed(9, shared).sort().values.tolist() == [0, 1, 3, 4]


def test_same_seed_draws_the_same_and_the_global_generator_is_not_used() -> None:
    sampler = ClassSampler(labels_of(40, 50), 2)
    first = sampler.draw(8, generator(1))
    torch.manual_seed(123)
    state = torch.get_rng_state()
    assert torch.equal(sampler.draw(8, generator(1)), first)
    assert not torch.equal(sampler.draw(8, generator(2)), first)
    assert torch.equal(torch.get_rng_state(), state)


def test_excluded_rows_are_never_drawn() -> None:
    labels = labels_of(6, 9)
    excluded = torch.stack([(labels == number).nonzero().flatten()[:3] for number in range(2)])
    sampler = ClassSampler(labels, 2, exclude=excluded)
    assert sampler.counts == (3, 6)
    drawn = torch.cat(sampler.draw_each(100, generator()))
    assert sorted([*drawn.tolist(), *excluded.flatten().tolist()]) == list(range(15))


def test_a_mixed_draw_is_uniform_over_ordered_samples_of_all_drawable_rows() -> None:
    sampler = ClassSampler(torch.tensor([0, 1, 0, 1, 1]), 2, exclude=torch.tensor([[1]]))
    shared = generator()
    counts = Counter(tuple(sampler.draw_mixed(2, shared).tolist()) for _ in range(6000))
    assert set(counts) == set(itertools.permutations((0, 2, 3, 4), 2))
    assert all(abs(count - 500) < 110 for count in counts.values())  # 5 standard deviations
    assert sorted(sampler.draw_mixed(9, shared).tolist()) == [0, 2, 3, 4]


def test_a_class_without_rows_is_refused() -> None:
    labels = torch.tensor([0, 0, 1])
    with pytest.raises(DataError, match="class 1 has no training image left"):
        ClassSampler(labels, 2, exclude=torch.tensor([2]))


def test_reserve_is_balanced_fixed_and_leaves_half_of_the_smallest_class() -> None:
    dataset = dataset_of(30, 11, 20)
    rows = reserve(dataset, 50, generator())
    assert rows.shape == (3, 5)
    assert torch.equal(dataset.train.labels[rows], torch.arange(3).unsqueeze(1).expand(3, 5))
    assert torch.equal(rows, reserve(dataset, 50, generator()))
    assert reserve(dataset, 2, generator()).shape == (3, 2)


def test_reserve_needs_two_images_a_class() -> None:
    with pytest.raises(DataError, match="class 'b' of toy has 1 training image; at least 2 are needed"):
        reserve(dataset_of(5, 1), 4, generator())


@pytest.mark.parametrize(("n", "size", "lengths"), [(10, 4, [4, 4, 2]), (4, 256, [4]), (6, 3, [3, 3])])
def test_batches_hold_every_row_once(n: int, size: int, lengths: list[int]) -> None:
    found = list(batches(n, size, generator()))
    assert [len(batch) for batch in found] == lengths
    assert sorted(torch.cat(found).tolist()) == list(range(n))


def test_batches_come_in_another_order_each_time() -> None:
    shared = generator()
    orders = {tuple(torch.cat(list(batches(8, 3, shared))).tolist()) for _ in range(20)}
    assert len(orders) == 20
