"""Trajectory matching against figures worked out beforehand, unrolled autograd and the published approximation."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from ddcore import bundle, engine
from ddcore.augment import siamese
from ddcore.autograd.adjoint import InnerSGD
from ddcore.errors import ConfigurationError, DivergedError
from ddcore.methods import build_method
from ddcore.methods.mtt import TESLA, TrajectoryMatching, trajectory_loss, trajectory_slope
from ddcore.methods.shared.student_training import StudentStep, training_on
from ddcore.nets import build
from ddcore.runtime.context import Run
from ddcore.spec import MTTConfig, SpecError, all_presets, parse
from ddcore.synthetic.set import SyntheticSet
from tests.ddcore.autograd.test_adjoint import PRINTED_ROW, Printed, close, printed, whole
from tests.ddcore.recorder import Recorder
from tests.ddcore.watching import watched

Make = Callable[..., Run]
SMALL = {"student_steps": 4, "max_start": 3, "lr_init": 0.05, "experts": {"count": 3, "batch_size": 24}}


def ready(make_run: Make, name: str = "mtt", run: dict[str, Any] | None = None, **fields: Any) -> Any:
    method = build_method(
        (made := make_run(**({"method": {"name": name, **SMALL, **fields}} | (run or {})))).spec.method, made
    )
    assert isinstance(method, TrajectoryMatching)
    method.prepare()
    return method


def test_printed_loss_and_gradient() -> None:
    """MTT and TESLA on problem Q: the loss and its slope in the student, through the adjoint."""
    q = Printed()
    target = {"classifier.weight": q.target}
    sgd = InnerSGD(q.gradients, whole, steps=3, lr=0.5)
    path = sgd.forward(q.start, q.images, q.labels)
    assert trajectory_loss(path[-1], q.start, target).item() == pytest.approx(100.16996838388324, rel=1e-12)
    final = trajectory_slope(path[-1], q.start, target)
    exact = sgd.backward(path, final, q.images, q.labels)
    assert exact.images.norm().item() == pytest.approx(24.066940035979798, rel=1e-12)
    assert exact.lr.item() == pytest.approx(260.2931384658736, rel=1e-12)
    close(exact.images[0].flatten(), printed(2.2719617969612, 9.1949728315983, 7.6641682496537), PRINTED_ROW)
    tesla = sgd.backward(path, final, q.images, q.labels, curvature=False)
    assert tesla.images.norm().item() == pytest.approx(40.41171191132556, rel=1e-12)
    assert tesla.lr.item() == pytest.approx(375.11091900738523, rel=1e-12)
    cosine = F.cosine_similarity(exact.images.flatten(), tesla.images.flatten(), dim=0)
    assert cosine.item() == pytest.approx(0.986151600883842, rel=1e-12)


def plain(step: StudentStep, images: Tensor, rate: Tensor, run: Run, *, tesla: bool) -> Tensor:
    """The published loop in one graph, on a plain module; TESLA's stops the gradient at every parameter."""
    network = build(run.spec.network, run.dataset.shape, len(run.dataset.classes))
    start = {name: value.clone().requires_grad_() for name, value in step.start.items()}
    theta, total = dict(start), {name: torch.zeros_like(value) for name, value in start.items()}
    for index in range(step.training.steps):
        x, y = step.training.batch(index, images, step.labels)
        loss = F.cross_entropy(functional_call(network, theta, (x,)), y)
        gradient = torch.autograd.grad(loss, list(theta.values()), create_graph=True)
        total = {name: total[name] + g for name, g in zip(theta, gradient, strict=True)}
        theta = {name: theta[name] - rate * g for name, g in zip(theta, gradient, strict=True)}
        if tesla:
            theta = {name: value.detach().requires_grad_() for name, value in theta.items()}
    end = {name: start[name].detach() - rate * total[name] for name in theta}
    assert step.expert is not None
    none = torch.zeros(())
    way = sum(((start[n].detach() - step.expert[n]).square().sum() for n in end), none)
    off = sum(((end[n] - step.expert[n]).square().sum() for n in end), none)
    return off / way


@pytest.mark.parametrize("gradient", ["exact", "unrolled", "tesla"])
@pytest.mark.parametrize("fields", [{}, {"batch_syn": 4}, {"labels": "soft"}], ids=["all", "batches", "soft"])
def test_gradient_is_that_of_the_published_loop(make_run: Make, gradient: str, fields: dict[str, Any]) -> None:
    method = ready(make_run, gradient=gradient, **fields)
    synthetic = method.start()
    synthetic.begin_step()
    step = method.draw(0, synthetic)
    readings = method.backward(step)
    images = synthetic.images.detach().clone().requires_grad_()
    rate = synthetic.learned["lr"].value.detach().clone().requires_grad_()
    loss = plain(step, images, rate, method.run, tesla=gradient == "tesla")
    expected = torch.autograd.grad(loss, [images, rate])
    assert readings["loss/base"].item() == pytest.approx(loss.item(), rel=1e-5)
    close(synthetic.gradient, expected[0], 2e-3)
    close(synthetic.learned["lr"].gradient, expected[1], 1e-3)
    assert readings["lr"].item() == pytest.approx(0.05)
    distance = math.sqrt(loss.item() * sum((step.start[n] - step.expert[n]).square().sum().item() for n in step.start))
    assert readings["student_distance"].item() == pytest.approx(distance, rel=1e-4)


def released_slope(step: StudentStep, images: Tensor, rate: float, run: Run) -> Tensor:
    """TESLA's slope in the images as its `distill.py` computes it: a product in two passes, the factor 2 on a tuple."""
    network = build(run.spec.network, run.dataset.shape, len(run.dataset.classes))
    path = [{name: value.clone().requires_grad_() for name, value in step.start.items()}]
    total = {name: torch.zeros_like(value) for name, value in step.start.items()}

    def gradient(index: int) -> dict[str, Tensor]:
        x, y = step.training.batch(index, images, step.labels)
        loss = F.cross_entropy(functional_call(network, path[index], (x,)), y)
        slopes = torch.autograd.grad(loss, list(path[index].values()), create_graph=True)
        return dict(zip(path[index], slopes, strict=True))

    for index in range(step.training.steps):
        found = gradient(index)
        total = {name: total[name] + found[name].detach() for name in total}
        path.append({n: (v - rate * found[n]).detach().requires_grad_() for n, v in path[-1].items()})
    assert step.expert is not None
    way = {name: step.expert[name] - step.start[name] for name in total}
    distance, slope = sum(float(value.square().sum()) for value in way.values()), torch.zeros_like(images)
    for index in range(step.training.steps):
        found = gradient(index)
        terms = (((rate * way[n] + rate**2 * total[n]) * found[n]).sum() for n in found)
        product = sum(terms, torch.zeros(())) / distance
        slope += (2 * torch.autograd.grad(product, images))[0]
    return slope


def test_tesla_moves_images_as_released_at_half_the_released_rate(make_run: Make) -> None:
    """The code of TESLA doubles a tuple of one slope, so its `lr_img` belongs to half of the paper's."""
    method, released = ready(make_run, "tesla", lr_img=50.0), 100.0
    synthetic = method.start()
    before = synthetic.images.detach().clone()
    synthetic.begin_step()
    step = method.draw(0, synthetic)
    images = before.clone().requires_grad_()
    expected = released * released_slope(step, images, 0.05, method.run)
    method.backward(step)
    synthetic.step()
    close(before - synthetic.images.detach(), expected, 2e-3)


def test_through_a_mosaic_the_gradient_reaches_what_is_stored(make_run: Make) -> None:
    method = ready(make_run, run={"decoder": "mosaic"})
    synthetic = method.start()
    step = method.draw(0, synthetic)
    method.backward(step)
    stored = synthetic.stored.detach().clone().requires_grad_()
    images = synthetic.decoder.decode(stored, synthetic.ipc)
    (expected,) = torch.autograd.grad(
        plain(step, images, synthetic.learned["lr"].value.detach(), method.run, tesla=False), [stored]
    )
    close(synthetic.gradient, expected, 2e-3)


def test_a_pass_over_the_images_is_used_up_before_the_next(make_run: Make) -> None:
    method = ready(make_run, batch_syn=4, student_steps=5)
    rows = method._rows(6, 4)
    assert [len(part) for part in rows] == [4, 2, 4, 2, 4]
    for first, second in ((0, 1), (2, 3)):
        assert sorted([*rows[first].tolist(), *rows[second].tolist()]) == list(range(6))
    assert [len(part) for part in ready(make_run)._rows(6, 6)] == [6] * 4


def test_experts_take_turns_and_windows_start_everywhere_but_at_the_end(make_run: Make) -> None:
    method = ready(make_run)
    assert sorted(method._expert(i) for i in range(3)) == [0, 1, 2] == sorted(method._expert(i) for i in range(3, 6))
    assert len({tuple(method._expert(3 * turn + i) for i in range(3)) for turn in range(12)}) > 3
    synthetic, starts = method.start(), set()
    for index in range(24):
        step, expert = method.draw(index, synthetic), method._expert(index)
        found = [
            epoch
            for epoch in range(method.config.reach + 1)
            if torch.equal(
                step.start["classifier.weight"], method._experts.snapshot(expert, epoch)["classifier.weight"]
            )
        ]
        (first,) = found
        starts.add(first)
        target = method._experts.snapshot(expert, first + 2)
        assert all(torch.equal(value, target[name]) for name, value in step.expert.items())
    assert starts == {0, 1, 2}


def test_every_image_and_step_has_an_augmentation_of_its_own(make_run: Make) -> None:
    draws: list[siamese.Draw] = []
    original = siamese.apply
    method = ready(make_run, student_steps=12)
    step = method.draw(0, method.start())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            "ddcore.methods.shared.student_training.siamese.apply",
            watched(original, lambda *given, **_: draws.append(given[0])),
        )
        method.backward(step)
    forwards, back = draws[:12], draws[12:]
    assert [id(d) for d in back] == [id(d) for d in reversed(forwards)], "what was drawn is replayed"
    assert len({d.operation for d in forwards}) > 2
    assert all(len(parameter) == 6 for d in forwards for parameter in d.parameters)


def test_soft_labels_are_what_the_expert_says(make_run: Make) -> None:
    method = ready(make_run, "tesla", labels="soft")
    assert isinstance(method, TESLA)
    synthetic = method.start()
    assert synthetic.soft_labels is not None
    assert synthetic.soft_labels.argmax(dim=1).tolist() == synthetic.labels.tolist()
    step = method.draw(0, synthetic)
    network = build(method.run.spec.network, method.run.dataset.shape, 3)
    assert step.expert is not None
    network.load_state_dict(step.expert)
    expected = network(synthetic.images.detach()).softmax(dim=1)
    torch.testing.assert_close(step.labels, expected.detach(), rtol=1e-4, atol=1e-5)
    assert torch.equal(synthetic.training_labels, step.labels)


def one_step(method: Any, synthetic: SyntheticSet) -> None:
    synthetic.begin_step()
    step = method.draw(0, synthetic)
    method.backward(step)
    synthetic.step()
    method.advance(step)


def test_the_rate_is_learned_by_momentum_sgd(make_run: Make) -> None:
    method = ready(make_run, lr_lr=1e-4)
    synthetic = method.start()
    one_step(method, synthetic)
    rate = synthetic.learned["lr"]
    assert synthetic.learning_rate == pytest.approx(0.05 - 1e-4 * rate.velocity.item(), rel=1e-6)
    assert synthetic.learning_rate != pytest.approx(0.05, rel=1e-6)
    assert rate.momentum == 0.5


def test_a_rate_at_its_floor_stops_the_run_by_name(make_run: Make) -> None:
    method = ready(make_run)
    synthetic = method.start()
    step = method.draw(4, synthetic)
    synthetic.learned["lr"].value.data.fill_(4e-5)
    with pytest.raises(DivergedError, match=r"fell to 4e-05 at step 5, below its floor of 5e-05.*`method.lr_lr`"):
        method.advance(step)
    synthetic.learned["lr"].value.data.fill_(6e-5)
    method.advance(step)


def test_a_diverging_student_stops_the_run_by_name(make_run: Make) -> None:
    method = ready(make_run)
    synthetic = method.start()
    synthetic.learned["lr"].value.data.fill_(1e30)
    with pytest.raises(DivergedError, match=r"the student diverged at step 1: at a learned rate of 1e\+30"):
        method.backward(method.draw(0, synthetic))


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"experts": {"epochs": 3}}, r"may start at epoch 2 and spans 2. Use `experts.epochs` of at least 4 or none"),
        ({"experts": {"epochs": 1}}, r"experts of 1 epochs are shorter than one window, `expert_epochs` = 2"),
    ],
)
def test_a_window_beyond_the_trajectory_is_refused(make_run: Make, fields: dict[str, Any], detail: str) -> None:
    job = {"dataset": "digits", "ipc": 1, "method": {"name": "mtt", **SMALL, **fields}}
    with pytest.raises(SpecError, match=detail):
        parse(job)
    with pytest.raises(SpecError, match="`experts` is a recipe, not files"):
        parse({**job, "method": {"name": "mtt", "experts": "buffers/cifar100"}})
    run = make_run(method={"name": "mtt", **SMALL})
    assert isinstance(run.spec.method, MTTConfig)
    config = run.spec.method.model_copy(update={"max_start": 60, "experts": run.spec.method.experts})
    too_short = config.model_copy(update={"experts": config.experts.model_copy(update={"epochs": 50})})
    with pytest.raises(ConfigurationError, match="at least 61"):
        build_method(too_short, run)


def test_only_what_a_window_can_reach_is_trained(make_run: Make) -> None:
    method = ready(make_run)
    assert method._experts.epochs == 4, "max_start 3, exclusive, and 2 epochs from 2"
    parse({"dataset": "cifar10", "ipc": 1, "method": {"name": "mtt", "max_start": 2, "experts": {"epochs": 3}}})


def test_batches_are_rows_with_their_labels_and_draws() -> None:
    images, labels = torch.arange(6.0).view(3, 1, 1, 2), torch.tensor([0, 1, 2])
    mirrored = siamese.Draw("flip", (torch.zeros(2),))
    batch = training_on([torch.tensor([2, 0]), torch.tensor([1])], [mirrored, siamese.Draw(None)])
    x, y = batch(0, images, labels)
    assert (x.flatten().tolist(), y.tolist()) == ([5, 4, 1, 0], [2, 0])
    assert batch(1, images, labels)[0].flatten().tolist() == [2, 3]


def test_the_bundle_keeps_the_learned_rate_and_labels_and_trains_with_them(tmp_path: Path) -> None:
    job = {
        "dataset": "digits",
        "ipc": 1,
        "method": {"name": "tesla", "iterations": 2, **SMALL, "labels": "soft", "lr_lr": 1e-3, "experts": {"count": 1}},
        "network": {"name": "convnet", "width": 4, "depth": 2},
        "evaluation": {"repeats": 1, "epochs": 4},
        "metrics": {"probe": "random"},
    }
    seen = Recorder()
    engine.run(parse(job), tmp_path / "out", run_dir=tmp_path / "run", callback=seen)
    content = bundle.read(tmp_path / "out")
    assert content.learning_rate is not None
    assert content.learning_rate != pytest.approx(0.05, rel=1e-7)
    assert content.results["protocol"]["lr"] == content.learning_rate
    assert bundle.folder.read_manifest(tmp_path / "out").recipe.lr == content.learning_rate
    assert content.soft_labels is not None
    assert content.soft_labels.max() < 1
    assert content.results["protocol"]["labels"] == "soft"
    assert bundle.train_on(tmp_path / "out")["accuracy"] == content.results["accuracy"]
    assert {"lr", "student_distance", "loss"} <= set(seen.metrics[2])


def test_labels_that_the_set_learned_prevail_over_those_of_a_teacher(tmp_path: Path) -> None:
    """Controls have the teacher's all the same."""
    teacher = {"network": {"name": "convnet", "width": 4, "depth": 2}, "epochs": 1}
    job = {
        "dataset": "digits",
        "ipc": 1,
        "method": {"name": "tesla", "iterations": 2, **SMALL, "labels": "soft", "experts": {"count": 1}},
        "network": {"name": "convnet", "width": 4, "depth": 2},
        "metrics": {"probe": "random"},
    }
    found = []
    for labels in ("hard", "soft"):
        evaluation = {"repeats": 1, "epochs": 4, "labels": labels, "teacher": teacher}
        out, run_dir = tmp_path / labels / "out", tmp_path / labels / "run"
        engine.run(parse({**job, "evaluation": evaluation}), out, run_dir=run_dir, cache=tmp_path / "cache")
        found.append(bundle.read(out))
        assert bundle.train_on(out, cache=tmp_path / "cache")["controls"] == found[-1].results["controls"]
    hard, soft = found
    assert hard.soft_labels is not None
    assert soft.soft_labels is not None
    assert torch.equal(hard.soft_labels, soft.soft_labels)
    assert hard.results["accuracy"] == soft.results["accuracy"]
    assert hard.results["controls"] != soft.results["controls"]


@pytest.mark.parametrize("name", ["mtt", "tesla"])
def test_a_set_is_scored_at_the_rate_that_it_learned_unless_told_otherwise(name: str) -> None:
    job = {"dataset": "digits", "ipc": 1, "method": name}
    usual = parse(job).evaluation
    assert (usual.protocol, usual.lr, usual.epochs, usual.repeats) == ("mtt", None, 300, 3)
    assert parse({**job, "evaluation": {"lr": 0.02}}).evaluation.lr == 0.02
    assert parse({**job, "evaluation": {"protocol": "standard"}}).evaluation.lr == 0.01


def test_a_learned_rate_that_is_no_number_is_named(make_run: Make) -> None:
    synthetic = ready(make_run).start()
    synthetic.learned["lr"].value.data.fill_(float("inf"))
    with pytest.raises(DivergedError, match=r"the synthetic lr became .* at step 3; .* Lower `method\.lr_lr`,"):
        synthetic.check_finite(3)


def test_a_student_that_follows_its_gradient_comes_closer(make_run: Make) -> None:
    method = ready(make_run, lr_img=20.0, experts={"count": 1, "lr": 0.05, "batch_size": 24}, max_start=1)
    synthetic, losses = method.start(), []
    for index in range(40):
        synthetic.begin_step()
        step = method.draw(index, synthetic)
        losses.append(method.backward(step)["loss/base"].item())
        synthetic.step()
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


class TestDefaults:
    """Plain defaults on the set that ships with the product, whose experts take 12 steps where the student takes 30."""

    def run(self, out: Path, cache: Path, name: str, **fields: Any) -> Recorder:
        job = {
            "dataset": "digits",
            "ipc": 1,
            "method": {"name": name, "iterations": 4, "max_start": 1, "experts": {"count": 1}, **fields},
            "network": {"name": "convnet", "width": 8, "depth": 2},
            "evaluation": {"repeats": 0},
            "metrics": {"every": 1, "probe": "random"},
        }
        seen = Recorder()
        engine.run(parse(job), out / "out", run_dir=out / "run", cache=cache, callback=seen)
        return seen

    @pytest.mark.parametrize("name", ["mtt", "tesla"])
    def test_finish_on_digits(self, tmp_path: Path, name: str) -> None:
        seen = self.run(tmp_path, tmp_path / "cache", name)
        losses = [seen.metrics[step]["loss"] for step in range(1, 5)]
        rates = [seen.metrics[step]["lr"] for step in range(1, 5)]
        assert losses[0] > 2, "the student overshoots at first"
        assert losses[-1] < losses[0] / 2
        assert rates[0] == pytest.approx(0.01)
        assert all(0.499 * one < other for one, other in pairwise(rates))

    def test_rates_that_are_given_have_no_limit_and_the_message_says_what_helps(self, tmp_path: Path) -> None:
        cache = tmp_path / "cache"
        with pytest.raises(DivergedError, match=r"at step 1, below its floor") as failed:
            self.run(tmp_path / "given", cache, "mtt", lr_img=100.0, lr_lr=1e-5)
        advice = dict(re.findall(r"`method\.(max_\w+)`: ([\d.]+)", str(failed.value)))
        assert advice.keys() == {"max_move", "max_change"}
        assert "`method.lr_img`" in str(failed.value)
        limits = {name: float(value) for name, value in advice.items()}
        seen = self.run(tmp_path / "advised", cache, "mtt", lr_img=100.0, lr_lr=1e-5, **limits)
        assert seen.metrics[4]["loss"] < 0.5 * seen.metrics[1]["loss"]

    def test_under_limits_the_message_names_the_rates(self, make_run: Make) -> None:
        method = ready(make_run, max_move=0.1, max_change=0.5, lr_img=100.0)
        synthetic = method.start()
        step = method.draw(0, synthetic)
        synthetic.learned["lr"].value.data.fill_(1e-9)
        with pytest.raises(DivergedError, match=r"Lower `method.lr_img` and `method.lr_lr`, .* 100 and 1e-05"):
            method.advance(step)


def test_limits_are_those_of_rates_that_are_left_to_us() -> None:
    for given, limits in (
        ({}, (0.1, 0.5)),
        ({"lr_img": 50.0}, (None, 0.5)),
        ({"lr_lr": 1e-5}, (0.1, None)),
        ({"lr_img": 50.0, "lr_lr": 1e-5}, (None, None)),
        ({"lr_img": 50.0, "max_move": 0.2, "lr_lr": 1e-5}, (0.2, None)),
    ):
        for job in ({"name": "mtt", **given}, {"name": "seqmatch", "base": {"name": "tesla", **given}}):
            found = parse({"dataset": "digits", "ipc": 2, "method": job}).method.matcher.model_dump()
            assert (found["max_move"], found["max_change"]) == limits
    for name in (name for name in all_presets() if parse({"preset": name}).method.matcher.learns_lr):
        found = parse({"preset": name}).method.matcher.model_dump()
        assert (found["max_move"], found["max_change"]) == (None, None), f"{name} has published rates"
