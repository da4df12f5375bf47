"""The highest logits and the rest, against loops over images and classes in float64."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Generator, Tensor

from ddcore.formulas.highest_logits import all_logits, highest
from ddcore.formulas.label_losses import kl, mse_logits

LOGITS = 6 * torch.randn(5, 7, generator=Generator().manual_seed(0), dtype=torch.float64)
LOGITS[1, 3] = LOGITS[1, 5] = LOGITS[1].max() + 1  # two are equal


def softened(row: Sequence[float], temperature: float) -> list[float]:
    powers = [math.exp(value / temperature) for value in row]
    return [power / sum(powers) for power in powers]


def by_hand(row: Sequence[float], count: int, temperature: float | None) -> list[float]:
    """The logits of an image with one number for all but the highest: what gives the others the mean probability."""
    kept = sorted(range(len(row)), key=lambda c: (-row[c], c))[:count]
    others = [c for c in range(len(row)) if c not in kept]
    if temperature is None:
        rest = sum(row[c] for c in others) / len(others)
    else:
        probabilities = softened(row, temperature)
        share = sum(probabilities[c] for c in others) / len(others)
        rest = row[kept[0]] + temperature * math.log(share / probabilities[kept[0]])
    return [row[c] if c in kept else rest for c in range(len(row))]


def changed(count: int, temperature: float | None) -> Tensor:
    return all_logits(highest(LOGITS, count, temperature), LOGITS.shape[1])


@pytest.mark.parametrize("count", [1, 3, 6])
@pytest.mark.parametrize("temperature", [None, 1.0, 20.0])
def test_each_image_has_its_highest_logits_and_one_number_for_the_others(count: int, temperature: float | None) -> None:
    expected = torch.tensor([by_hand(row, count, temperature) for row in LOGITS.tolist()], dtype=torch.float64)
    torch.testing.assert_close(changed(count, temperature), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 20.0])
def test_the_kept_classes_have_the_probabilities_of_the_teacher_and_the_others_equal_ones(temperature: float) -> None:
    found, kept = changed(2, temperature), highest(LOGITS, 2, temperature).classes.tolist()
    for before, after, classes in zip(LOGITS.tolist(), found.tolist(), kept, strict=True):
        p, q = softened(before, temperature), softened(after, temperature)
        assert [q[c] for c in classes] == pytest.approx([p[c] for c in classes], rel=1e-12)
        others = [q[c] for c in range(7) if c not in classes]
        assert others == pytest.approx([others[0]] * 5, rel=1e-12)


@pytest.mark.parametrize("temperature", [None, 1.0, 20.0])
def test_no_other_number_is_nearer_to_the_teacher(temperature: float | None) -> None:
    kept = highest(LOGITS, 2, temperature)

    def distance(shift: float) -> float:
        label = all_logits(kept._replace(rest=kept.rest + shift), 7)
        return float(mse_logits(label, LOGITS) if temperature is None else kl(label, LOGITS, temperature))

    best = distance(0.0)
    assert all(distance(shift) > best for shift in (-1.0, -0.05, 0.05, 1.0))


def test_all_but_one_are_all() -> None:
    for temperature in (None, 20.0):
        torch.testing.assert_close(changed(6, temperature), LOGITS, rtol=1e-12, atol=1e-12)


def test_equal_logits_are_kept_by_the_lower_class_first() -> None:
    assert highest(LOGITS, 1, 1.0).classes[1].tolist() == [3]
    assert highest(LOGITS, 2, 1.0).classes[1].tolist() == [3, 5]


def test_large_logits_do_not_overflow() -> None:
    found = highest(torch.tensor([[60_000.0, 50_000.0, 40_000.0, -60_000.0]]), 1, 1.0)
    assert found.rest.item() == pytest.approx(50_000 - math.log(3), rel=1e-6)


@pytest.mark.parametrize("count", [0, 7, 8])
def test_none_and_all_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"of 7 logits 1 to 6 can be the highest, not {count}"):
        highest(LOGITS, count, None)
