"""How hard images are: by hand."""

from __future__ import annotations

import math

import pytest
import torch

from ddcore.formulas.difficulty import error_norms


def test_the_norm_is_that_of_the_error_of_each_prediction() -> None:
    logits, labels = torch.sin(torch.arange(1, 13, dtype=torch.float64)).view(4, 3), torch.tensor([0, 2, 1, 1])
    found = error_norms(logits, labels)
    for row, label in enumerate(labels.tolist()):
        exponentials = [math.exp(float(value)) for value in logits[row]]
        chances = [value / sum(exponentials) for value in exponentials]
        expected = math.sqrt(sum((p - (place == label)) ** 2 for place, p in enumerate(chances)))
        assert float(found[row]) == pytest.approx(expected, rel=1e-12)


def test_it_lies_between_certainty_and_its_opposite() -> None:
    sure = torch.tensor([[100.0, 0.0], [100.0, 0.0]])
    assert error_norms(sure, torch.tensor([0, 1])).tolist() == pytest.approx([0.0, math.sqrt(2)])
