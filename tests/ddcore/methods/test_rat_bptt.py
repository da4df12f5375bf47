"""RaT-BPTT against Adam in one graph of a window, what it draws, its labels, and where its windows lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor
from torch.func import functional_call

from ddcore.augment import siamese
from ddcore.errors import ConfigurationError, DivergedError
from ddcore.methods import build_method
from ddcore.methods.rat_bptt import RatBPTT
from ddcore.methods.shared.student_training import QueryStep
from ddcore.nets import build
from ddcore.runtime.context import Run
from ddcore.spec import SpecError, parse
from tests.ddcore.autograd.test_adjoint import close
from tests.ddcore.test_contract import Runs, check
from tests.ddcore.watching import watched

Make = Callable[..., Run]
SMALL = {"student_steps": 20, "window": 5, "batch_real": 6, "inner_lr": 0.003}


def ready(make_run: Make, run: dict[str, Any] | None = None, **fields: Any) -> RatBPTT:
    made = make_run(**({"method": {"name": "rat_bptt", **SMALL, **fields}, "augmentation": "flip"} | (run or {})))
    method = build_method(made.spec.method, made)
    assert isinstance(method, RatBPTT)
    return method


def plain(step: QueryStep, images: Tensor, labels: Tensor, run: Run, window: int, lr: float) -> Tensor:
    """Adam on a plain module, constant before the window and in one graph through it; the loss on the real images."""
    network = build(run.spec.network, run.dataset.shape, len(run.dataset.classes))
    theta = {name: value.to(images.dtype).requires_grad_() for name, value in step.start.items()}
    m, v = ({name: torch.zeros_like(value) for name, value in theta.items()} for _ in range(2))
    for t in range(1, step.training.steps + 1):
        if t == step.training.steps - window + 1:
            theta = {name: value.detach().requires_grad_() for name, value in theta.items()}
            m, v = ({name: value.detach() for name, value in moment.items()} for moment in (m, v))
        x, y = step.training.batch(t - 1, images, labels)
        loss = F.cross_entropy(functional_call(network, theta, (x,)), y)
        gradient = torch.autograd.grad(loss, list(theta.values()), create_graph=True)
        m = {name: 0.9 * m[name] + 0.1 * g for name, g in zip(theta, gradient, strict=True)}
        v = {name: 0.999 * v[name] + 0.001 * g**2 for name, g in zip(theta, gradient, strict=True)}
        roots = {name: (value / (1 - 0.999**t)).clamp(min=1e-300).sqrt() for name, value in v.items()}
        theta = {name: w - lr * m[name] / (1 - 0.9**t) / (roots[name] + 1e-8) for name, w in theta.items()}
    real = step.real.to(images.dtype)
    return F.cross_entropy(functional_call(network, theta, (real,)), step.real_labels)


def exact(method: RatBPTT, step: QueryStep, labels: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """What the method does with a step, in float64: loss, and slopes in images and labels."""
    start = {name: value.double() for name, value in step.start.items()}
    images = step.images.double()
    path = step.training.forward(start, images, labels)
    loss, final = method._gradients.loss_and_gradient(path[-1], step.real.double(), step.real_labels)
    slope = step.training.backward(path, final, images, labels)
    return loss, slope.images, slope.labels


@pytest.mark.parametrize("labels", ["hard", "learned"])
def test_gradient_is_that_of_one_graph_of_the_window(make_run: Make, labels: str) -> None:
    method = ready(make_run, labels=labels)
    synthetic = method.start()
    synthetic.begin_step()
    step = method.draw(0, synthetic)
    targets = step.labels.double() if labels == "learned" else step.labels
    loss, of_images, of_labels = exact(method, step, targets)
    images = step.images.double().requires_grad_()
    targets = targets.clone().requires_grad_(labels == "learned")
    expected = plain(step, images, targets, method.run, 5, 0.003)
    close(loss, expected.detach())
    slopes = torch.autograd.grad(expected, [images, *([targets] if labels == "learned" else [])])
    close(of_images, slopes[0])
    if labels == "learned":
        close(of_labels, slopes[1])
    readings = method.backward(step)
    assert readings["loss/base"].item() == pytest.approx(loss.item(), rel=1e-4)
    assert (readings["window_start"] + readings["window_steps"]).item() == step.training.steps
    close(synthetic.gradient.double(), of_images, 0.02)
    if of_labels is not None:
        close(synthetic.learned["labels"].gradient.double(), of_labels, 0.02)
    assert len(step.path) == 6


def test_windows_begin_anywhere_from_the_first_to_the_last_place(make_run: Make) -> None:
    method = ready(make_run, student_steps=6, window=3, min_start=1)
    synthetic = method.start()
    steps = [method.draw(index, synthetic).training for index in range(30)]
    assert {training.steps for training in steps} == {4, 5, 6}
    assert {training.window for training in steps} == {3}
    assert "host/method/window" in method.run.random.state()


def test_windows_do_not_depend_on_what_else_is_drawn(make_run: Make) -> None:
    few, many = (ready(make_run, batch_syn=batch, batch_real=real) for batch, real in ((1, 2), (2, 9)))
    starts = [[method.draw(i, method.start()).training.steps for i in range(8)] for method in (few, many)]
    assert starts[0] == starts[1]


def test_a_training_step_takes_distinct_images_of_some_classes_drawn_anew(make_run: Make) -> None:
    method = ready(make_run, {"ipc": 4, "augmentation": "none"}, batch_syn=3, classes_per_step=2)
    step = method.draw(0, method.start())
    seen = set()
    for index in range(step.training.steps):
        images, labels = step.training.batch(index, step.images, step.labels)
        first, second = labels[0].item(), labels[3].item()
        assert labels.tolist() == [first] * 3 + [second] * 3
        assert first < second
        assert len({tuple(image.flatten().tolist()) for image in images}) == 6
        seen.add((first, second))
    assert len(seen) == 3
    assert step.real_labels.bincount().tolist() == [6, 6, 6], "the real batch is of all classes"


def test_each_training_step_and_the_real_batch_are_augmented_for_themselves(
    make_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[siamese.Draw] = []
    method = ready(make_run, {"augmentation": "flip_rotate"}, student_steps=5)
    monkeypatch.setattr(siamese, "apply", watched(siamese.apply, lambda *given, **_: drawn.append(given[0])))
    method.backward(method.draw(0, method.start()))
    assert len(drawn) == 1 + 5 + 5, "the real images, and each step forwards and back"
    assert len({id(d) for d in drawn}) == 6
    assert drawn[1:6] == drawn[:5:-1]
    assert {d.operation for d in drawn} == {"flip", "rotate"}


def test_the_network_is_new_in_every_step(make_run: Make) -> None:
    method = ready(make_run)
    first, second = (method.draw(index, method.start()).start["classifier.weight"] for index in range(2))
    assert not torch.equal(first, second)


def test_images_start_at_norm_one_or_from_real_ones(make_run: Make) -> None:
    stored = ready(make_run).start().stored.detach()
    torch.testing.assert_close(stored.flatten(1).norm(dim=1), torch.ones(6))
    method = ready(make_run, {"init": "real"})
    real = method.run.real_images(torch.arange(72))
    assert all(bool((real == image).flatten(1).all(dim=1).any()) for image in method.start().stored.detach())


def test_labels_are_learned_from_their_class_and_are_never_negative(make_run: Make) -> None:
    method = ready(make_run, labels="learned", lr_labels=0.2, lr_img=0.001)
    synthetic = method.start()
    one_hot = F.one_hot(synthetic.labels, 3).float()
    assert torch.equal(synthetic.training_labels, one_hot)
    for index in range(3):
        synthetic.begin_step()
        step = method.draw(index, synthetic)
        assert torch.equal(step.labels, synthetic.learned["labels"].value)
        method.backward(step)
        synthetic.step()
    learned = synthetic.soft_labels
    assert learned is not None
    assert torch.equal(learned, synthetic.learned["labels"].value.detach())
    assert learned.min() == 0
    assert (learned - one_hot).abs().max() > 0.1


def test_rules_of_the_stages_see_the_gradients_of_a_whole_training(make_run: Make) -> None:
    method = ready(make_run, {"augmentation": "none"}, window_rule="at", window_spread=2, batch_syn=2)
    synthetic, run = method.start(), method.run
    before = run.random.state()
    found = method._probe(synthetic)
    run.random.load_state(before)
    network = build(run.spec.network, run.dataset.shape, 3)
    network.load_state_dict(run.functional.new(run.random.stream("method/probe/network")))
    adam = torch.optim.Adam(network.parameters(), lr=0.003)
    images, expected = synthetic.images.detach(), []
    for _ in range(20):
        adam.zero_grad()
        F.cross_entropy(network(images), synthetic.labels).backward()
        gradient = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
        expected.append(torch.cat(gradient).norm())
        adam.step()
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-3, atol=1e-5)


def test_a_training_that_diverges_names_the_rate_of_the_networks(make_run: Make) -> None:
    method = ready(make_run, window_rule="at", window_spread=2, min_start=1, inner_lr=1e30)
    with pytest.raises(DivergedError, match=r"Lower `method\.inner_lr`"):
        method.draw(0, method.start())


def test_stages_change_the_windows_and_follow_the_accuracy(make_run: Make) -> None:
    method = ready(make_run, window_rule="at", window_spread=2, min_start=1)
    synthetic = method.start()
    lengths = {1: set(range(3, 8)), 2: {7}, 3: {3}}
    for stage, possible in lengths.items():
        method._stages.stage = stage
        for _ in range(6):
            training = method.draw(0, synthetic).training
            assert training.window in possible
            assert training.steps - training.differentiated >= 1
            assert training.steps <= 20
    method._stages.stage = 1
    step = method.draw(0, synthetic)
    method.backward(step)
    method.advance(step)
    predicted = method.run.functional.logits(step.student, step.real).argmax(dim=1)
    accuracy = 100 * (predicted == step.real_labels).double().mean().item()
    assert method.state()["accuracies"].tolist() == [pytest.approx(accuracy), 0.0]


@pytest.fixture
def runs(tmp_path: Path, cache: Path) -> Runs:
    return Runs(tmp_path / "undisturbed", cache)


def test_contract_of_stages_and_learned_labels(runs: Runs, tmp_path: Path) -> None:
    """Labels, their optimiser and the accuracies of a stage are in a checkpoint too."""
    method = {"student_steps": 4, "window": 2, "window_spread": 1, "window_rule": "at", "labels": "learned"}
    fields = {"method": {"name": "rat_bptt", "iterations": 6, "batch_real": 8, "classes_per_step": 5, **method}}
    whole = check(("rat_bptt",), runs, tmp_path, 3, **fields)
    learned = load_file(whole.folder / "out" / "distilled.safetensors")["soft_labels"]
    assert learned.shape == (20, 10)
    assert learned.min() >= 0
    assert not torch.equal(learned, learned.round()), "they have left their classes"


def test_what_a_job_cannot_mean_is_refused(make_run: Make) -> None:
    job = {"dataset": "digits", "ipc": 1}
    for fields, detail in (
        ({"window": 201}, "`window` is 201.*choose 1 to 200"),
        ({"window": 60, "min_start": 150}, r"150 of them before the window \(`min_start`\); choose 1 to 50"),
        ({"min_start": 200}, "`min_start` is 200.*choose 0 to 199"),
        ({"window_rule": "at", "window": 10}, "`window_spread` is 10.*at most 200.*choose 0 to 9"),
        ({"window_rule": "at", "window": 195}, "`window_spread` is 10.*choose 0 to 5"),
    ):
        with pytest.raises(SpecError, match=detail):
            parse({**job, "method": {"name": "rat_bptt", **fields}})
    with pytest.raises(SpecError, match="the decoder 'mosaic' makes several images of each"):
        parse({**job, "decoder": "mosaic", "method": {"name": "rat_bptt", "labels": "learned"}})
    with pytest.raises(ConfigurationError, match="`classes_per_step` is 9, but blobs has 3 classes"):
        ready(make_run, classes_per_step=9)


def test_the_spread_counts_for_its_own_rule_alone() -> None:
    job = {"dataset": "digits", "ipc": 1}
    parse({**job, "method": {"name": "rat_bptt", "window": 200}})
    parse({**job, "method": {"name": "rat_bptt", "window": 5}})
