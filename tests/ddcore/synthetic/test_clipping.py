"""Clipping by the running mean of norms: numbers worked out by hand, and its place in a synthetic set."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ddcore.synthetic.clipping import RunningClip
from ddcore.synthetic.set import SyntheticSet


def of_norm(norm: float) -> list[Tensor]:
    """Two parts that are one vector of this norm."""
    return [torch.full((3,), norm * 0.6 / 3**0.5), torch.full((2, 2), norm * 0.8 / 2)]


def test_printed_means_and_shares() -> None:
    clip = RunningClip(2.0, 0.9)
    means, shares = [], []
    for norm in (4.0, 1.0, 10.0):
        parts = of_norm(norm)
        shares.append(float(clip.cut_(parts)))
        means.append(float(clip.mean))
        left = torch.cat([part.flatten() for part in parts]).norm().item()
        assert left == pytest.approx(norm * shares[-1], rel=1e-6)
    assert means == pytest.approx([4.0, 3.7, 4.33], rel=1e-6)
    assert shares == pytest.approx([1.0, 1.0, 0.866], rel=1e-6)


def test_nothing_is_left_as_it_is() -> None:
    clip = RunningClip()
    parts = [torch.zeros(3)]
    assert clip.cut_(parts) == 1
    assert parts[0].eq(0).all()
    parts = of_norm(1.0)
    assert float(clip.cut_(parts)) == pytest.approx(0.2, rel=1e-6), "twice a mean of 0.1"


def test_a_set_cuts_what_its_images_are_made_of_and_keeps_the_mean() -> None:
    def small() -> SyntheticSet:
        return SyntheticSet(torch.zeros(2, 1, 2, 2), 1, lr=1.0, clipping=RunningClip())

    def step(synthetic: SyntheticSet, norm: float) -> float:
        """How far the images go at a gradient of this norm."""
        before = synthetic.stored.detach().clone()
        synthetic.begin_step()
        synthetic.gradient.fill_(norm / 8**0.5)
        synthetic.step()
        return float((synthetic.stored.detach() - before).norm())

    whole, begun, resumed = small(), small(), small()
    went = [step(whole, norm) for norm in (4.0, 1.0, 10.0)]
    assert went == pytest.approx([4.0, 1.0, 8.66], rel=1e-5)
    for norm in (4.0, 1.0):
        step(begun, norm)
    resumed.load_state({name: value.clone() for name, value in begun.state().items()})
    assert step(resumed, 10.0) == went[2]
