"""BPTT against unrolled autograd, the budget of addressable memories, and its rules of drawing and cutting."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from ddcore.augment import siamese
from ddcore.errors import ConfigurationError
from ddcore.methods import build_method
from ddcore.methods.bptt import BPTT
from ddcore.methods.shared.student_training import QueryStep
from ddcore.nets import build
from ddcore.runtime.context import Run
from ddcore.spec import AddressedConfig, SpecError, parse
from ddcore.synthetic.decoders import Addressed
from ddcore.synthetic.initial import real_rows, small_uniform
from tests.ddcore.autograd.test_adjoint import close
from tests.ddcore.watching import watched

Make = Callable[..., Run]
SMALL = {"student_steps": 4, "batch_real": 6, "inner_lr": 0.05, "inner_momentum": 0.9}
ADDRESSED = {"name": "addressed", "bases": 6, "factor": 2}


def ready(make_run: Make, run: dict[str, Any] | None = None, **fields: Any) -> BPTT:
    made = make_run(**({"method": {"name": "bptt", **SMALL, **fields}} | (run or {})))
    method = build_method(made.spec.method, made)
    assert isinstance(method, BPTT)
    return method


def plain(step: QueryStep, images: Tensor, run: Run, window: int) -> Tensor:
    """Training in one graph on a plain module, constant before the window; then the loss on the real images."""
    network = build(run.spec.network, run.dataset.shape, len(run.dataset.classes))
    theta = {name: value.clone().requires_grad_() for name, value in step.start.items()}
    velocity = {name: torch.zeros_like(value) for name, value in theta.items()}
    for index in range(step.training.steps):
        if step.training.steps - index == window:
            theta = {name: value.detach().requires_grad_() for name, value in theta.items()}
            velocity = {name: value.detach() for name, value in velocity.items()}
        x, y = step.training.batch(index, images, step.labels)
        loss = F.cross_entropy(functional_call(network, theta, (x,)), y)
        gradient = torch.autograd.grad(loss, list(theta.values()), create_graph=True)
        velocity = {n: 0.9 * velocity[n] + g for n, g in zip(theta, gradient, strict=True)}
        theta = {name: theta[name] - 0.05 * velocity[name] for name in theta}
    return F.cross_entropy(functional_call(network, theta, (step.real,)), step.real_labels)


@pytest.mark.parametrize("window", [None, 4, 2, 1])
@pytest.mark.parametrize("run", [{}, {"init": "real", "augmentation": "flip_rotate"}], ids=["plain", "augmented"])
def test_gradient_is_that_of_one_graph(make_run: Make, window: int | None, run: dict[str, Any]) -> None:
    method = ready(make_run, run, window=window)
    synthetic = method.start()
    synthetic.begin_step()
    step = method.draw(0, synthetic)
    loss = method.backward(step)["loss/base"]
    images = synthetic.images.detach().clone().requires_grad_()
    expected = plain(step, images, method.run, window or 4)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    close(synthetic.gradient, torch.autograd.grad(expected, [images])[0], 1e-3)
    assert len(step.path) == (window or 4) + 1


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_through_addressed_memory_it_reaches_bases_and_coefficients(make_run: Make, norm: str) -> None:
    method = ready(make_run, {"decoder": ADDRESSED, "ipc": 1}, penalty=0.01, penalty_norm=norm, batch_syn=3)
    synthetic = method.start()
    synthetic.begin_step()
    step = method.draw(0, synthetic)
    readings = method.backward(step)
    coefficients = synthetic.stored.detach().clone().requires_grad_()
    bases = synthetic.learned["bases"].value.detach().clone().requires_grad_()
    small = torch.einsum("ib,bchw->ichw", coefficients, bases)
    images = F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
    penalty = 0.01 * (coefficients.abs().sum() if norm == "l1" else coefficients.square().sum().sqrt())
    loss = plain(step, images, method.run, 4) + penalty
    assert readings["loss/base"].item() == pytest.approx(loss.item(), rel=1e-5)
    assert readings["penalty"].item() == pytest.approx(penalty.item(), rel=1e-5)
    of_rows, of_bases = torch.autograd.grad(loss, [coefficients, bases])
    close(synthetic.gradient, of_rows, 1e-3)
    close(synthetic.learned["bases"].gradient, of_bases, 1e-3)


def test_a_step_takes_distinct_images_of_every_class(make_run: Make) -> None:
    method = ready(make_run, {"ipc": 5}, batch_syn=3)
    step = method.draw(0, method.start())
    batches = [step.training.batch(i, step.images, step.labels) for i in range(4)]
    for images, labels in batches:
        assert labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
        assert len({tuple(image.flatten().tolist()) for image in images}) == 9
    assert not torch.equal(batches[0][0], batches[1][0])
    assert step.real_labels.bincount().tolist() == [6, 6, 6]


def test_some_of_the_classes_take_part(make_run: Make) -> None:
    method = ready(make_run, {"ipc": 2}, classes_per_step=2)
    synthetic, seen = method.start(), set()
    for index in range(8):
        synthetic.begin_step()
        step = method.draw(index, synthetic)
        classes = set(step.real_labels.tolist())
        assert set(step.training.batch(0, step.images, step.labels)[1].tolist()) == classes
        assert len(classes) == 2
        seen.add(tuple(sorted(classes)))
        method.backward(step)
        moved = synthetic.gradient.flatten(1).abs().sum(dim=1) > 0
        assert set(synthetic.labels[moved].tolist()) == classes
    assert len(seen) == 3


def test_one_augmentation_serves_all_steps_and_the_real_images(make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[siamese.Draw] = []
    method = ready(make_run, {"augmentation": "color"})
    monkeypatch.setattr(siamese, "apply", watched(siamese.apply, lambda *given, **_: drawn.append(given[0])))
    method.backward(method.draw(0, method.start()))
    assert len(drawn) == 1 + 4 + 4
    assert len({id(d) for d in drawn}) == 1
    assert all(parameter.shape == (1,) for parameter in drawn[0].parameters)


def test_the_network_is_new_in_every_step(make_run: Make) -> None:
    method = ready(make_run)
    synthetic = method.start()
    first, second = (method.draw(index, synthetic).start["classifier.weight"] for index in range(2))
    assert not torch.equal(first, second)


def test_the_gradient_of_all_that_is_learned_is_cut_to_its_norm(make_run: Make) -> None:
    method = ready(make_run, {"decoder": ADDRESSED, "ipc": 1}, max_norm=2.0)
    synthetic = method.start()
    before = {name: part.value.detach().clone() for name, part in synthetic.learned.items()}
    synthetic.begin_step()
    synthetic.gradient.fill_(3.0)
    synthetic.learned["bases"].gradient.fill_(1.0)
    norm = math.sqrt(9 * synthetic.stored.numel() + before["bases"].numel())
    synthetic.step()
    for name, slope in (("images", 3.0), ("bases", 1.0)):
        moved = before[name] - synthetic.learned[name].value.detach()
        torch.testing.assert_close(moved, torch.full_like(moved, 0.1 * slope * 2 / norm), rtol=1e-4, atol=1e-6)


def test_a_small_gradient_is_not_cut(make_run: Make) -> None:
    synthetic = ready(make_run).start()
    before = synthetic.stored.detach().clone()
    synthetic.begin_step()
    synthetic.gradient.fill_(1e-3)
    synthetic.step()
    torch.testing.assert_close(before - synthetic.stored.detach(), torch.full_like(before, 1e-4), rtol=1e-2, atol=1e-7)


def test_noise_is_uniform_within_the_published_bound(make_run: Make) -> None:
    noise = ready(make_run, {"ipc": 40}).start().stored.detach()
    bound = math.sqrt(6 / (120 + 192))
    assert noise.abs().max() <= bound
    assert noise.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert small_uniform(2, (3,), torch.Generator().manual_seed(0)).shape == (2, 3)


def test_real_images_can_be_the_start_of_plain_and_of_addressed_sets(make_run: Make) -> None:
    method = ready(make_run, {"init": "real"})
    real = method.run.real_images(torch.arange(72))
    assert all(bool((real == image).flatten(1).all(dim=1).any()) for image in method.start().stored.detach())
    addressed = ready(make_run, {"init": "real", "ipc": 4, "decoder": {**ADDRESSED, "bases": 40}}).start()
    again = make_run(method={"name": "bptt"}, init="real").random.host_stream("init")
    wanted = method.run.real_images(real_rows(method.run.dataset.train, addressed.ipc, again))
    smaller = F.interpolate(F.interpolate(wanted, size=(4, 4), mode="bilinear"), size=(8, 8), mode="bilinear")
    error = (addressed.images.detach() - smaller).norm() / smaller.norm()
    assert error < 0.5, "40 bases come near 48 values"


@pytest.mark.parametrize(
    ("classes", "ipc", "bases", "expected"),
    [(10, 1, 16, 115), (10, 10, 128, 163), (100, 1, 16, 184), (100, 1, 64, 40), (100, 10, 128, 232), (10, 1, 64, -29)],
)
def test_printed_budgets(classes: int, ipc: int, bases: int, expected: int) -> None:
    config = AddressedConfig(bases=bases, factor=2)
    assert config.images_per_class(ipc, (3, 32, 32), classes) == expected
    assert (config.shortfall(ipc, (3, 32, 32), classes) is None) == (expected > 0)


@pytest.mark.parametrize("ipc", [1, 2])
def test_the_advice_on_an_infeasible_budget_is_the_most_that_fits(ipc: int) -> None:
    job = {"dataset": "cifar10", "ipc": ipc, "method": "bptt", "decoder": {"name": "addressed", "bases": 100}}
    with pytest.raises(
        SpecError, match=r"77,800 numbers, 47,080 more" if ipc == 1 else r"77,800.*16,360 more"
    ) as caught:
        parse(job)
    most = int(str(caught.value).partition("at most ")[2].partition(" ")[0])
    parse({**job, "decoder": {"name": "addressed", "bases": most}})
    with pytest.raises(SpecError):
        parse({**job, "decoder": {"name": "addressed", "bases": most + 1}})


def test_what_a_job_cannot_mean_is_refused(make_run: Make) -> None:
    job = {"dataset": "digits", "ipc": 1}
    for fields, detail in (
        ({"method": {"name": "bptt", "window": 151}}, "`window` is 151, but a network is trained for"),
        ({"method": {"name": "bptt", "penalty": 1e-4}}, "only the decoder 'addressed' has coefficients"),
        ({"method": "dm", "decoder": "addressed"}, "`dm` cannot learn through the decoder 'addressed'"),
    ):
        with pytest.raises(SpecError, match=detail):
            parse({**job, **fields})
    with pytest.raises(SpecError, match=r"`ipc` is 60, mixed into \d+ images, but the smallest class.*`init`: 'noise'"):
        parse({**job, "ipc": 60, "method": "bptt", "init": "real", "decoder": {"name": "addressed", "bases": 4}})
    with pytest.raises(ConfigurationError, match="`classes_per_step` is 9, but blobs has 3 classes"):
        ready(make_run, classes_per_step=9)
    with pytest.raises(ConfigurationError, match=r"`decoder\.bases` is 500"):
        ready(make_run, {"decoder": {"name": "addressed", "bases": 500}})
    with pytest.raises(ConfigurationError, match="the smallest class has 24 training images"):
        ready(make_run, {"init": "real", "ipc": 4, "decoder": {"name": "addressed", "bases": 2}})


def test_a_factor_must_divide_the_size() -> None:
    with pytest.raises(ConfigurationError, match=r"`decoder.factor` is 3, which does not divide 8 x 8.*1, 2, 4, 8"):
        Addressed.base_shape(AddressedConfig(factor=3), (3, 8, 8))
