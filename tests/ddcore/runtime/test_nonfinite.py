"""Numbers that are not finite: which term is named, and what the reader is told to lower."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ddcore import engine
from ddcore.errors import DivergedError
from ddcore.runtime.context import Run
from ddcore.runtime.nonfinite import METHOD, NonFiniteGuard
from ddcore.spec import RatBPTTConfig, parse
from ddcore.synthetic.set import SyntheticSet
from tests.ddcore.engine.test_engine import SMALL

TEACHER = {"network": {"name": "convnet", "width": 4}, "epochs": 1}


def step(guard: NonFiniteGuard, number: int, gradients: dict[str, float], **readings: float) -> None:
    """One step of two pixels, in which each term adds its gradient and reports its loss."""
    synthetic = SyntheticSet(torch.zeros(2, 1, 1, 1), ipc=1, lr=1, momentum=0)
    for term, gradient in gradients.items():
        synthetic.gradient.add_(gradient)
        name = term.removeprefix("the ")
        guard.note(term, {f"loss/{name}": torch.tensor(readings.get(name, 1.0))}, synthetic)
    guard.check(number)


def failure(guard: NonFiniteGuard, number: int, gradients: dict[str, float], **readings: float) -> str:
    with pytest.raises(DivergedError) as caught:
        step(guard, number, gradients, **readings)
    return str(caught.value)


def test_the_norm_so_far_is_handed_back() -> None:
    synthetic = SyntheticSet(torch.zeros(2, 1, 1, 1), ipc=1, lr=1, momentum=0)
    synthetic.gradient.copy_(torch.tensor([3.0, 4.0]).view(2, 1, 1, 1))
    assert NonFiniteGuard().note(METHOD, {}, synthetic).item() == 5


def test_a_gradient_that_overflows_names_its_term_and_not_those_after_it() -> None:
    told = failure(NonFiniteGuard(), 3, {METHOD: 1.0, "cmi": float("inf"), "mim": 1.0})
    assert told.startswith("the gradient of `cmi` on the images became inf at step 3;")
    assert "Lower the `weight` or `relative` of `cmi`" in told
    assert "`method.lr_img`" in failure(NonFiniteGuard(), 1, {METHOD: float("nan"), "cmi": 1.0})


def test_rates_of_the_networks_come_before_that_of_the_images() -> None:
    guard = NonFiniteGuard(rates=RatBPTTConfig.rates)
    assert "Lower `method.inner_lr` or `method.lr_img`" in failure(guard, 1, {METHOD: float("nan")})


def test_a_staged_method_is_told_where_its_base_has_the_field(make_run: Callable[..., Run]) -> None:
    staged = make_run(ipc=4, method={"name": "seqmatch", "stages": 2, "base": {"name": "dc", "iterations": 2}})
    assert (make_run().steps_path, staged.steps_path) == ("method", "method.base")
    assert "Lower `method.base.lr_img`" in failure(NonFiniteGuard(staged.steps_path), 1, {METHOD: float("nan")})
    synthetic = SyntheticSet(torch.full((2, 1, 1, 1), torch.inf), ipc=1, lr=1, momentum=0)
    with pytest.raises(DivergedError, match=r"Lower `method\.base\.lr_img` or the regulariser weights"):
        synthetic.check_finite(1, staged.steps_path)


def test_a_regulariser_may_have_the_name_of_the_method() -> None:
    told = failure(NonFiniteGuard(), 1, {METHOD: float("nan"), "bacon": 1.0})
    assert told.startswith("the gradient of the method on the images became nan")
    assert "of `bacon`" in failure(NonFiniteGuard(), 1, {METHOD: 1.0, "bacon": float("nan")})


def test_a_loss_that_overflows_at_once_names_its_term() -> None:
    told = failure(NonFiniteGuard(), 1, {METHOD: 1.0, "mim": 1.0}, mim=float("nan"))
    assert told.startswith("`loss/mim` became nan at step 1; ")
    assert "Lower the `weight` or `relative` of `mim`" in told


def test_the_term_that_moved_the_images_too_far_is_named_though_another_overflows() -> None:
    guard = NonFiniteGuard()
    step(guard, 1, {METHOD: 1e9, "cmi": 1.0})
    step(guard, 2, {METHOD: 1.0, "cmi": 1e12, "mim": -1e3})
    told = failure(guard, 3, {METHOD: 1.0}, method=float("inf"))
    assert told.startswith(
        "`loss/method` became inf at step 3, after `cmi` had the largest gradient on the images in the step before "
        "(norm 1.4e+12)"
    )
    assert "Lower the `weight` or `relative` of `cmi`" in told


@pytest.fixture
def run(tmp_path: Path, cache: Path) -> Callable[..., engine.Result]:
    def run_job(*terms: dict[str, Any], **fields: Any) -> engine.Result:
        spec = parse({**SMALL, **fields, "regularizers": [{"teacher": TEACHER, **term} for term in terms]})
        return engine.run(spec, tmp_path / "out", run_dir=tmp_path, cache=cache)

    return run_job


def test_a_weight_whose_product_with_the_gradient_overflows_names_the_term(run: Any) -> None:
    with pytest.raises(DivergedError, match=r"the gradient of `cmi` on the images became inf at step 1;.*of `cmi`"):
        run({"name": "mim", "weight": 1}, {"name": "cmi", "weight": 3e38})


def test_a_weight_beyond_float32_is_named_as_such(run: Any) -> None:
    with pytest.raises(DivergedError, match=r"`weight/iid` became inf at step 1;.*of `iid`"):
        run({"name": "iid", "weight": 1e39})


def test_a_weight_that_moves_the_images_too_far_is_named_by_the_loss_that_overflows(run: Any) -> None:
    told = r"became (nan|inf) at step 2, after `iid` had the largest gradient.*of `iid`"
    with pytest.raises(DivergedError, match=told):
        run({"name": "iid", "weight": 1e19}, network={"name": "convnet", "width": 4, "depth": 2, "norm": "none"})
