"""DATM: learned labels against one graph of the published loop, its start, its windows and what it skips."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from ddcore.methods import build_method
from ddcore.methods.datm import DATM
from ddcore.nets import Network, build
from ddcore.runtime.context import Run
from ddcore.spec import DATMConfig, SpecError, parse
from ddcore.synthetic.set import SyntheticSet

Make = Callable[..., Run]
METHOD = {
    "name": "datm", "student_steps": 3, "max_start": 3, "lr_init": 0.05, "threshold": 100,
    "experts": {"count": 3, "batch_size": 24, "rho": 0.01},
}  # fmt: skip


def ready(make_run: Make, **fields: Any) -> DATM:
    made = make_run(method=METHOD | fields)
    method = build_method(made.spec.method, made)
    assert isinstance(method, DATM)
    method.prepare()
    return method


def ends(method: DATM) -> list[Network]:
    """The experts as plain modules, at their ends."""
    found = []
    for index in range(3):
        network = build(method.run.spec.network, method.run.dataset.shape, 3).eval()
        network.load_state_dict(method._experts.snapshot(index, method._experts.epochs))
        found.append(network)
    return found


def test_the_printed_loss_of_labels_that_are_logits() -> None:
    logits = torch.sin(torch.arange(1, 7, dtype=torch.float64)).view(2, 3)
    labels = torch.sin(2 + torch.arange(1, 7, dtype=torch.float64)).view(2, 3)
    assert F.cross_entropy(logits, labels.softmax(dim=1)).item() == pytest.approx(1.063267654871556, rel=1e-14)


def test_slopes_are_those_of_the_published_loop(make_run: Make) -> None:
    method = ready(make_run, batch_syn=4)
    run, synthetic = method.run, method.start()
    synthetic.begin_step()
    step = method.draw(0, synthetic)
    loss = method.backward(step)["loss/base"]

    network = build(run.spec.network, run.dataset.shape, 3)
    images = synthetic.images.detach().clone().requires_grad_()
    logits = synthetic.learned["label_logits"].value.detach().clone().requires_grad_()
    rate = synthetic.learned["lr"].value.detach().clone().requires_grad_()
    theta = {name: value.clone().requires_grad_() for name, value in step.start.items()}
    for index in range(3):
        x, y = step.training.batch(index, images, logits.softmax(dim=1))
        student = functional_call(network, theta, (x,))
        off = -(y * F.log_softmax(student, dim=1)).sum() / len(y)
        slopes = torch.autograd.grad(off, list(theta.values()), create_graph=True)
        theta = {name: theta[name] - rate * g for name, g in zip(theta, slopes, strict=True)}
    assert step.expert is not None
    distance = torch.stack([(theta[n] - step.expert[n]).square().sum() for n in theta]).sum()
    way = torch.stack([(step.start[n] - step.expert[n]).square().sum() for n in theta]).sum()
    assert loss.item() == pytest.approx((distance / way).item(), rel=1e-4)
    expected = torch.autograd.grad(distance / way, [images, logits, rate])
    found = [synthetic.gradient, *(synthetic.learned[name].gradient for name in ("label_logits", "lr"))]
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).norm() <= 3e-3 * theirs.norm()


def test_it_begins_with_images_that_experts_classify_right_and_what_they_say_of_them(make_run: Make) -> None:
    method = ready(make_run)
    run, synthetic, networks = method.run, method.start(), ends(method)
    run.random.load_state({})
    order = run.random.host_stream("init")
    for label in range(3):
        rows = (run.dataset.train.labels == label).nonzero().flatten()
        rows = rows[torch.randperm(len(rows), generator=order)]
        with torch.no_grad():
            said = torch.stack([network(run.real_images(rows)) for network in networks])
        right = said.argmax(dim=2) == label
        known, experts = right[0], 1
        while known.sum() < 2 and experts < 3:
            known, experts = known | right[experts], experts + 1
        chosen = sorted(range(len(rows)), key=lambda place: not known[place])[:2]
        torch.testing.assert_close(synthetic.images[2 * label : 2 * label + 2].detach(), run.real_images(rows[chosen]))
        for image, place in enumerate(chosen):
            those = [said[expert, place] for expert in range(3) if right[expert, place]] or list(said[:, place])
            logits = synthetic.learned["label_logits"].value[2 * label + image].detach()
            torch.testing.assert_close(logits, torch.stack(those).mean(dim=0), rtol=1e-4, atol=1e-5)
    assert synthetic.soft_labels is not None
    torch.testing.assert_close(synthetic.soft_labels.sum(dim=1), torch.ones(6))


def test_images_that_nobody_classifies_right_come_last_with_the_mean_of_all(
    make_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = ready(make_run)
    monkeypatch.setattr(method, "_right", lambda params, rows: torch.zeros(len(rows), dtype=torch.bool))
    rows = method._recognised()
    assert (method.run.dataset.train.labels[rows] == torch.arange(3).repeat_interleave(2)).all()
    images = method.run.real_images(rows)
    with torch.no_grad():
        said = torch.stack([network(images) for network in ends(method)])
    wrong = (said.argmax(dim=2)[0] + 1) % 3
    nobody = (said.argmax(dim=2) != wrong).all(dim=0)
    assert bool(nobody.any())
    found = method._said(images, wrong)
    torch.testing.assert_close(found[nobody], said.mean(dim=0)[nobody], rtol=1e-4, atol=1e-5)


def learn(method: DATM, steps: int) -> SyntheticSet:
    synthetic = method.start()
    for index in range(steps):
        synthetic.begin_step()
        readings = method.backward(method.draw(index, synthetic))
        assert bool(readings["skipped"]) == (readings["loss/base"].item() > method.config.threshold)
        synthetic.step()
    return synthetic


def test_a_step_above_the_threshold_moves_nothing(make_run: Make) -> None:
    begun, after = (learn(ready(make_run, threshold=1e-9), steps) for steps in (0, 2))
    for name, part in begun.learned.items():
        assert torch.equal(part.value, after.learned[name].value), name
    moved = learn(ready(make_run), 2)
    for name, part in begun.learned.items():
        assert not torch.equal(part.value, moved.learned[name].value), name


def test_students_start_within_a_window_that_grows(make_run: Make) -> None:
    fields = {"min_start": 1, "early_start": 2, "max_start": 4, "expansion": 10}
    method = ready(make_run, **fields)
    synthetic = method.start()
    snapshots = [method._experts.snapshot(0, epoch) for epoch in range(4)]

    def epochs(index: int) -> set[int]:
        found = set()
        for _ in range(12):
            start = method.draw(index, synthetic).start
            for expert in range(3):
                found |= {e for e in range(4) if _same(method._experts.snapshot(expert, e), start)}
        return found

    assert len(snapshots) == 4
    assert epochs(0) == {1}
    assert epochs(50) == {1, 2, 3}


def _same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"method": METHOD | {"early_start": 4}}, r"/method/early_start: `early_start` is 4, above `max_start` = 3"),
        (
            {"method": METHOD | {"min_start": 3}},
            r"/method/min_start: .* so there is none; choose `min_start` of at most 2",
        ),
        ({"init": "noise"}, r"/init: `datm` begins with real images .* but `init` is 'noise'; use 'real'"),
        ({"decoder": "mosaic"}, r"/decoder: .*use 'identity'"),
        ({"method": METHOD | {"gradient": "unrolled"}}, r"/method/gradient: .*'exact' or 'tesla'"),
        ({"evaluation": {"labels": "online"}}, r"/evaluation/labels: .* `datm` learns labels of its own"),
    ],
)
def test_what_cannot_work_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse({"dataset": "blobs", "ipc": 2, "method": METHOD, **fields})


def test_experts_are_flat_by_default() -> None:
    experts = DATMConfig().experts
    assert (experts.rho, experts.alpha) == (0.01, 0.3)
    assert experts.recipe != DATMConfig.model_validate({"experts": {"rho": 0}}).experts.recipe
