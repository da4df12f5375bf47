"""What a synthetic set starts from."""

from __future__ import annotations

import pytest
import torch

from ddcore.data.dataset import ImageSet
from ddcore.synthetic.initial import real_rows, unit_normal


def test_real_rows_are_distinct_of_the_right_class_and_seeded() -> None:
    labels = torch.tensor([0, 1] * 20)
    train = ImageSet(torch.zeros(40, 1, 2, 2, dtype=torch.uint8), labels, ("a", "b"))
    rows = real_rows(train, 5, torch.Generator().manual_seed(1))
    assert labels[rows].tolist() == [0] * 5 + [1] * 5
    assert len(set(rows.tolist())) == 10
    assert torch.equal(rows, real_rows(train, 5, torch.Generator().manual_seed(1)))
    assert not torch.equal(rows, real_rows(train, 5, torch.Generator().manual_seed(2)))


def test_noise_of_norm_one_points_anywhere() -> None:
    noise = unit_normal(500, (3, 4, 4), torch.Generator().manual_seed(1))
    assert noise.shape == (500, 3, 4, 4)
    torch.testing.assert_close(noise.flatten(1).norm(dim=1), torch.ones(500))
    assert noise.mean(dim=0).abs().max() < 0.03
    assert noise.std().item() == pytest.approx(48**-0.5, rel=0.01)
