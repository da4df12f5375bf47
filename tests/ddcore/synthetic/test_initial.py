"""What a synthetic set starts from."""

from __future__ import annotations

import torch

from ddcore.data.dataset import ImageSet
from ddcore.synthetic.initial import real_rows


def test_real_rows_are_distinct_of_the_right_class_and_seeded() -> None:
    labels = torch.tensor([0, 1] * 20)
    train = ImageSet(torch.zeros(40, 1, 2, 2, dtype=torch.uint8), labels, ("a", "b"))
    rows = real_rows(train, 5, torch.Generator().manual_seed(1))
    assert labels[rows].tolist() == [0] * 5 + [1] * 5
    assert len(set(rows.tolist())) == 10
    assert torch.equal(rows, real_rows(train, 5, torch.Generator().manual_seed(1)))
    assert not torch.equal(rows, real_rows(train, 5, torch.Generator().manual_seed(2)))
