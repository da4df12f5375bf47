"""PAD: the loss of the deeper layers against one graph of the released loop, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from ddcore.methods import build_method
from ddcore.methods.pad import PAD
from ddcore.nets import build
from ddcore.runtime.context import Run
from ddcore.spec import PADConfig, SpecError, parse

Make = Callable[..., Run]
METHOD: dict[str, Any] = {
    "name": "pad", "student_steps": 3, "max_start": 3, "lr_init": 0.05, "threshold": 100, "batch_syn": 4,
    "experts": {"count": 2, "batch_size": 24, "rho": 0.01},
    "curriculum": {
        "initial": 0.5, "added_by": 1, "first_removal": 1,
        "scorers": {"network": {"name": "convnet", "width": 4}, "epochs": 1, "pool": 2},
    },
}  # fmt: skip


def ready(make_run: Make, **fields: Any) -> PAD:
    made = make_run(method=METHOD | fields)
    method = build_method(made.spec.method, made)
    assert isinstance(method, PAD)
    method.prepare()
    return method


def flat(params: dict[str, Tensor], names: list[str]) -> Tensor:
    """Parameters in one row, as the released code holds a network."""
    return torch.cat([params[name].reshape(-1) for name in names])


@pytest.mark.parametrize("ratio", [0.0, 0.25, 0.5, 0.9])
def test_loss_and_slopes_are_those_of_the_released_loop(ratio: float, make_run: Make) -> None:
    method = ready(make_run, depth_ratio=ratio)
    run, synthetic = method.run, method.start()
    synthetic.begin_step()
    step = method.draw(0, synthetic)
    readings = method.backward(step)

    network = build(run.spec.network, run.dataset.shape, 3)
    names = [name for name, _ in network.named_parameters()]
    images = synthetic.images.detach().clone().requires_grad_()
    logits = synthetic.learned["label_logits"].value.detach().clone().requires_grad_()
    rate = synthetic.learned["lr"].value.detach().clone().requires_grad_()
    theta = {name: step.start[name].clone().requires_grad_() for name in names}
    for index in range(3):
        x, y = step.training.batch(index, images, logits.softmax(dim=1))
        off = -(y * F.log_softmax(functional_call(network, theta, (x,)), dim=1)).sum() / len(y)
        slopes = torch.autograd.grad(off, list(theta.values()), create_graph=True)
        theta = {name: theta[name] - rate * g for name, g in zip(theta, slopes, strict=True)}
    assert step.expert is not None
    student, start, target = (flat(params, names) for params in (theta, step.start, step.expert))
    kept = slice(int(ratio * len(student)), None)
    distance = F.mse_loss(student, target, reduction="none")[kept].sum()
    loss = distance / F.mse_loss(start, target, reduction="none")[kept].sum()
    assert readings["loss/base"].item() == pytest.approx(loss.item(), rel=1e-4)
    assert readings["student_distance"].item() == pytest.approx(distance.sqrt().item(), rel=1e-4)
    expected = torch.autograd.grad(loss, [images, logits, rate])
    found = [synthetic.gradient, *(synthetic.learned[name].gradient for name in ("label_logits", "lr"))]
    for ours, theirs in zip(found, expected, strict=True):
        assert float(theirs.norm()) > 0
        assert (ours - theirs).norm() <= 3e-3 * theirs.norm()


def test_the_first_layers_are_left_out_and_a_cut_may_lie_within_one(make_run: Make) -> None:
    method = ready(make_run, depth_ratio=0.5)
    params = method.run.functional.new(torch.Generator().manual_seed(0))
    names = list(method.run.functional.names)
    total = sum(params[name].numel() for name in names)
    compared = method._compared(params)
    assert sum(value.numel() for value in compared.values()) == total - int(0.5 * total)
    assert "blocks.0.0.weight" not in compared
    cut = next(iter(compared))
    assert compared[cut].numel() < params[cut].numel()
    assert list(compared) == names[names.index(cut) :]
    torch.testing.assert_close(torch.cat(list(compared.values())), flat(params, names)[int(0.5 * total) :])


def test_its_experts_see_easy_images_first(make_run: Make) -> None:
    method = ready(make_run)
    curriculum = method._experts._curriculum
    assert curriculum is not None
    assert [len(curriculum.rows(epoch)) for epoch in (0, 1, 2)] == [36, 72, 66]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"method": METHOD | {"depth_ratio": 1}}, r"/method/depth_ratio: `depth_ratio` is 1, but must be less than 1"),
        (
            {"method": METHOD | {"curriculum": {"added_by": 50}}},
            r"/method/curriculum: .* `added_by` = 50 .* choose epochs that do not fall",
        ),
        ({"init": "noise"}, r"/init: `pad` begins with real images .* but `init` is 'noise'; use 'real'"),
        ({"evaluation": {"labels": "online"}}, r"/evaluation/labels: .* `pad` learns labels of its own"),
    ],
)
def test_what_cannot_work_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse({"dataset": "blobs", "ipc": 2, "method": METHOD, **fields})


def test_the_defaults_are_those_of_the_paper() -> None:
    config = PADConfig()
    assert (config.depth_ratio, config.curriculum.initial, config.curriculum.added_by) == (0.25, 0.75, 20)
    assert (config.curriculum.first_removal, config.curriculum.second_removal) == (40, 60)
    assert (config.curriculum.first_share, config.curriculum.second_share) == (0.1, 0.2)
    assert (config.experts.rho, config.experts.alpha) == (0.01, 0.3)
