"""AdamW by class against the framework's, stepped once for each class over the whole tensor in pixel values."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from ddcore.synthetic.adam import LearnedByAdamW
from ddcore.synthetic.class_adamw import AdamW, Moving, coast_, step_
from ddcore.synthetic.set import SyntheticSet

CLASSES, N, SHAPE = 4, 2, (3, 2, 2)
MEAN, UNIT = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in ((0.5, 0.4, 0.3), (0.2, 0.3, 0.25)))
RULE = AdamW(0.01, 0.1, origin=-MEAN / UNIT, unit=UNIT)


def pull(pixels: Tensor, label: int, sweep: int) -> Tensor:
    """A loss of one class alone, of another kind in each sweep."""
    own = pixels[label * N : (label + 1) * N]
    return ((own - 0.1 * (label + sweep)) ** (2 + 2 * (sweep % 2))).sum()


def slope(pixels: Tensor, sweep: int) -> Tensor:
    pixels = pixels.detach().requires_grad_()
    total = torch.stack([pull(pixels, label, sweep) for label in range(CLASSES)]).sum()
    return torch.autograd.grad(total, pixels)[0]


def start() -> Tensor:
    return torch.rand((CLASSES * N, *SHAPE), generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def published(sweeps: int, lr: list[float]) -> Tensor:
    """Class after class; ``zero_grad`` leaves zeros for the others, as a gradient through an index does."""
    pixels = start().requires_grad_()
    optimizer = torch.optim.AdamW([pixels], lr=lr[0], weight_decay=RULE.weight_decay)
    for sweep in range(sweeps):
        optimizer.param_groups[0]["lr"] = lr[sweep]
        for label in range(CLASSES):
            optimizer.zero_grad()
            pull(pixels, label, sweep).backward()
            optimizer.step()
    return pixels.detach()


def test_sweeps_equal_the_sequential_loop_in_pixel_values() -> None:
    """With a decay towards black, moments that shrink in between, and a rate that is halved on the way."""
    lr = [0.01, 0.01, 0.005, 0.005]
    images = (start() - MEAN) / UNIT
    moving = Moving(images, torch.zeros_like(images), torch.zeros_like(images), torch.zeros(CLASSES, dtype=torch.int64))
    before, after = torch.arange(CLASSES), torch.arange(CLASSES - 1, -1, -1)
    for sweep, rate in enumerate(lr):
        rule = AdamW(rate, RULE.weight_decay, RULE.origin, RULE.unit)
        coast_(moving, before, rule)
        step_(moving, slope(images * UNIT + MEAN, sweep) * UNIT, rule)
        coast_(moving, after, rule)
    torch.testing.assert_close(images * UNIT + MEAN, published(len(lr), lr), rtol=1e-10, atol=1e-12)
    assert moving.taken.tolist() == [len(lr) * CLASSES] * CLASSES


def test_a_zero_gradient_is_a_step_all_the_same() -> None:
    """One step a sweep would be another descent: by far more than rounding."""
    images = start()
    pixels = images.clone().requires_grad_()
    optimizer = torch.optim.AdamW([pixels], lr=0.01, weight_decay=RULE.weight_decay)
    for sweep in range(3):
        optimizer.zero_grad()
        torch.stack([pull(pixels, label, sweep) for label in range(CLASSES)]).sum().backward()
        optimizer.step()
    assert (pixels.detach() - published(3, [0.01] * 3)).abs().max() > 0.01


def learned() -> LearnedByAdamW:
    return LearnedByAdamW(start().float(), classes=CLASSES, rule=AdamW(0.01, 0.1))


def sweep(rows: LearnedByAdamW, number: int) -> None:
    rows.clear_gradient()
    rows.begin_step()
    rows.gradient.add_(slope(rows.value, number))
    rows.step()


def test_learned_rows_sweep_and_go_on_from_their_state() -> None:
    whole, rest = learned(), learned()
    for number in range(2):
        sweep(whole, number)
    torch.testing.assert_close(whole.value.detach().double(), published(2, [0.01] * 2), rtol=1e-5, atol=1e-6)
    rest.load_state({name: tensor.clone() for name, tensor in whole.state().items()})
    for rows in (whole, rest):
        sweep(rows, 2)
    assert torch.equal(whole.value, rest.value)


def test_rows_that_start_again_are_at_rest() -> None:
    rows = learned()
    sweep(rows, 0)
    rows.restart(start().float())
    assert torch.equal(rows.value.detach(), start().float())
    assert not any(tensor.any() for name, tensor in rows.state().items() if name != "value")


def test_a_set_learns_by_it_where_it_is_asked_to() -> None:
    by_class = partial(LearnedByAdamW, classes=CLASSES, rule=AdamW(0.01, 0.1))
    rows = SyntheticSet(start(), N, lr=7.0, momentum=0.0, learned_by=by_class).learned["images"]
    assert isinstance(rows, LearnedByAdamW)
    assert rows.lr == 7.0


@pytest.mark.parametrize("other", [{"taken": torch.zeros(3)}, {"mean": torch.zeros(8, 1)}])
def test_what_are_no_whole_classes_is_refused(other: dict[str, Any]) -> None:
    fields = {"images": start(), "mean": start(), "square": start(), "taken": torch.zeros(CLASSES)}
    with pytest.raises(ValueError, match=r"are not [34] whole classes"):
        Moving(**(fields | other))
