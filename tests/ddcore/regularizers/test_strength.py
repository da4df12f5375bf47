"""Strength of a regulariser: absolute, or measured against the method and then frozen."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ddcore.errors import ConfigurationError
from ddcore.regularizers.strength import WeightedTerm
from ddcore.runtime.objective import Readings, Regularizer, Step
from ddcore.spec import CMIConfig
from ddcore.synthetic.set import SyntheticSet


class Slope(Regularizer[CMIConfig]):
    """A term whose gradient is ``slope`` in every pixel."""

    def __init__(self, config: CMIConfig, slope: float) -> None:
        self.config = config
        self.slope = slope

    def backward(self, step: Step, weight: float) -> Readings:
        term = self.slope * step.synthetic.images.sum()
        (weight * term).backward()
        return {"loss/cmi": term.detach()}


def step_with(method_gradient: float) -> Step:
    synthetic = SyntheticSet(torch.ones(2, 1, 2, 2), ipc=1, lr=1, momentum=0)
    synthetic.gradient.fill_(method_gradient)
    return Step(0, synthetic)


def pull(weighted: WeightedTerm, method_gradient: float) -> tuple[float, Any]:
    step = step_with(method_gradient)
    readings = weighted.backward(step, step.synthetic.gradient.norm())
    added = step.synthetic.gradient - method_gradient
    assert torch.allclose(added, added.flatten()[0].expand_as(added), atol=1e-5)
    return added.flatten()[0].item(), readings


def test_absolute_weight_is_used_as_given() -> None:
    weighted = WeightedTerm(Slope(CMIConfig(weight=3), slope=2.0))
    added, readings = pull(weighted, 10.0)
    assert added == pytest.approx(6)
    assert readings["weight/cmi"].item() == 3
    assert readings["loss/cmi"].item() == pytest.approx(16)


def test_relative_weight_is_measured_then_frozen() -> None:
    term = Slope(CMIConfig(relative=0.5, calibration_steps=2), slope=2.0)
    weighted = WeightedTerm(term)
    assert pull(weighted, 10.0)[0] == pytest.approx(5.0)
    added, readings = pull(weighted, 30.0)
    frozen = 0.5 * (10 + 30) / (2 + 2)
    assert readings["weight/cmi"].item() == pytest.approx(frozen)
    assert added == pytest.approx(frozen * 2)
    term.slope = 0.1
    assert pull(weighted, 100.0)[0] == pytest.approx(frozen * 0.1)


def test_interrupted_calibration_goes_on_where_it_was() -> None:
    first = WeightedTerm(Slope(CMIConfig(relative=0.5, calibration_steps=3), slope=2.0))
    pull(first, 10.0)
    second = WeightedTerm(Slope(CMIConfig(relative=0.5, calibration_steps=3), slope=2.0))
    second.load_state(first.state())
    for weighted in (first, second):
        pull(weighted, 20.0)
        pull(weighted, 40.0)
    assert first.weight == second.weight == pytest.approx(0.5 * 70 / 6)
    third = WeightedTerm(Slope(CMIConfig(relative=0.5, calibration_steps=3), slope=2.0))
    third.load_state(first.state())
    assert third.weight == first.weight


def test_steps_that_move_nothing_are_not_measured() -> None:
    weighted = WeightedTerm(Slope(CMIConfig(relative=0.5, calibration_steps=2), slope=2.0))
    for gradient, rests in ((0.0, True), (10.0, False), (0.0, True), (30.0, False)):
        assert weighted.weight is None
        step = step_with(gradient)
        if rests:
            step.synthetic.rest()
        weighted.backward(step, step.synthetic.gradient.norm())
    assert weighted.weight == pytest.approx(0.5 * (10 + 30) / (2 + 2))


def test_a_term_beside_a_method_without_gradient_cannot_be_calibrated() -> None:
    weighted = WeightedTerm(Slope(CMIConfig(relative=0.5, calibration_steps=1), slope=2.0))
    with pytest.raises(ConfigurationError, match=r"the method had no gradient .* weight 0.5 of `cmi`"):
        pull(weighted, 0.0)


def test_a_term_without_gradient_cannot_be_calibrated() -> None:
    weighted = WeightedTerm(Slope(CMIConfig(relative=0.5, calibration_steps=1), slope=0.0))
    with pytest.raises(ConfigurationError, match="`cmi` had no gradient"):
        pull(weighted, 10.0)
