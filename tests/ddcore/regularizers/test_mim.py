"""The MIM term: treatments of the critic, who moves the heads, and what reaches the images."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ddcore.data.dataset import Dataset
from ddcore.errors import ConfigurationError
from ddcore.formulas.information import Pairs, nce_loss
from ddcore.methods import build_method
from ddcore.pretrained.teachers import TeacherPool
from ddcore.regularizers.mim import MIM, Critic
from ddcore.runtime.context import Run
from ddcore.runtime.objective import Step
from ddcore.spec import MIMConfig, SpecError, parse
from tests.ddcore.conftest import blobs

TEACHER = {"network": {"name": "convnet", "width": 8}, "epochs": 2}


def ready(make_run: Callable[..., Run], dataset: Dataset | None = None, **fields: Any) -> tuple[MIM, Run]:
    paper = {"objective": "nce", "layers": "blocks"}
    term = {"name": "mim", "weight": 2.0, "teacher": TEACHER, "batch_real": 6, "projection": 16, **paper, **fields}
    run = make_run(dataset=dataset, ipc=2, regularizers=[term])
    (config,) = run.spec.regularizers
    assert isinstance(config, MIMConfig)
    mim = MIM(config, run)
    mim.prepare()
    return mim, run


def critic(bias: str) -> Critic:
    fields = {"weight": 1, "objective": "nce", "critic_bias": bias, "projection": 2, "temperature": 0.5}
    config = MIMConfig.model_validate(fields)
    made = Critic(2, config, negatives=2, population=4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for head in made.heads:
            head.copy_(torch.eye(2))
    return made


def sines(*shape: int, shift: float = 0.0) -> Tensor:
    return torch.sin(torch.arange(1, math.prod(shape) + 1).double() + shift).float().reshape(shape)


class TestCritic:
    pairs = Pairs.of(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1]))
    a, b = sines(4, 2), sines(4, 2, shift=1)

    def test_paper_offset_gives_the_printed_loss(self) -> None:
        loss = critic("paper").loss(self.a, self.b, self.pairs)
        assert loss.item() == pytest.approx(3.5376323210090614, rel=1e-5)

    def test_frozen_offset_is_set_by_the_first_batch_only(self) -> None:
        made = critic("frozen")
        first = made.loss(self.a, self.b, self.pairs)
        similarity = F.normalize(self.a, dim=1) @ F.normalize(self.b, dim=1).T / 0.5
        constant = 4 * similarity.exp().mean()
        h = similarity.exp() / constant / (similarity.exp() / constant + 2 / 4)
        positive = h[self.pairs.positive].log().mean()
        expected = -(positive + 2 * (1 - h[~self.pairs.positive]).log().mean())
        assert first.item() == pytest.approx(expected.item(), rel=1e-5)
        offset = made.offset.item()
        made.loss(self.b, self.a * 3, self.pairs)
        assert made.offset.item() == offset
        assert made.learned == made.heads

    def test_learned_offset_is_moved_by_the_heads_optimiser(self) -> None:
        made = critic("learned")
        assert made.learned[-1] is made.offset
        loss = made.loss(self.a, self.b, self.pairs)
        (gradient,) = torch.autograd.grad(loss, [made.offset])
        assert gradient.abs() > 0

    def test_unrelated_pairs_under_the_paper_offset_claim_log_m_nats(self) -> None:
        logits = torch.zeros(1, 1) / 0.1 - math.log(4096 / 50_000)  # eq. 15
        assert logits.item() + math.log(4096) == pytest.approx(math.log(50_000))


def test_images_get_the_weighted_sum_and_heads_the_plain_sum(make_run: Callable[..., Run]) -> None:
    mim, run = ready(make_run, critic_bias="paper")
    synthetic = run.synthetic_set(1.0, 0.5)
    stream = run.random.state()
    reported = mim.backward(Step(0, synthetic), 2.0)["loss/mim"].item()

    run.random.load_state(stream)
    rows = run.sampler.draw(6, run.random.host_stream("mim/real"))
    labels = torch.arange(3).repeat_interleave(6)
    images = synthetic.images.detach().clone().requires_grad_()
    assert mim._pool is not None
    params = mim._pool[0]
    pairs = Pairs.of(synthetic.labels, labels)
    heads = [[head.detach().clone().requires_grad_() for head in c.heads] for c in mim._critics]
    losses = []
    taps_s = mim._pool.functional.taps(params, images).blocks
    taps_r = mim._pool.functional.taps(params, run.real_images(rows.flatten())).blocks
    for (g_s, g_r), a, b in zip(heads, taps_s, taps_r, strict=True):
        a, b = (F.adaptive_avg_pool2d(x, 4).flatten(1) if x.shape[-1] > 4 else x.flatten(1) for x in (a, b))
        z = F.normalize(a @ g_s.T, dim=1) @ F.normalize(b @ g_r.T, dim=1).T
        logits = z / 0.1 - math.log(2 / len(run.dataset.train))  # eq. 15
        losses.append(nce_loss(logits, pairs, 2))
    weighted = (2.0 ** -(len(losses) - 1 - k) * loss for k, loss in enumerate(losses, start=1))
    total = sum(weighted, torch.zeros(()))
    flat = [head for pair in heads for head in pair]
    expected_heads = torch.autograd.grad(sum(losses, torch.zeros(())), flat, retain_graph=True)
    (expected_images,) = torch.autograd.grad(2.0 * total, [images])
    assert reported == pytest.approx(total.item(), rel=1e-5)
    assert torch.allclose(
        synthetic.gradient, expected_images, rtol=1e-3, atol=1e-5 * expected_images.abs().max().item()
    )
    for gradient, head in zip(expected_heads, [h for c in mim._critics for h in c.heads], strict=True):
        assert head.grad is not None
        assert torch.allclose(head.grad, gradient, rtol=1e-3, atol=1e-5 * gradient.abs().max().item())


def test_weight_zero_trains_the_heads_but_leaves_the_images(make_run: Callable[..., Run]) -> None:
    mim, run = ready(make_run)
    synthetic = run.synthetic_set(1.0, 0.5)
    before = [head.clone() for c in mim._critics for head in c.heads]
    mim.backward(Step(0, synthetic), 0.0)
    mim.advance(Step(0, synthetic))
    assert synthetic.gradient.abs().max() == 0
    after = [head for c in mim._critics for head in c.heads]
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("objective", ["nce", "infonce"])
@pytest.mark.parametrize("layers", ["blocks", "last"])
def test_following_the_gradient_lowers_the_term(make_run: Callable[..., Run], objective: str, layers: str) -> None:
    mim, run = ready(make_run, objective=objective, layers=layers, head_lr=1e-6, batch_real=20)
    synthetic = run.synthetic_set(1.0, 0.0)
    values = []
    for index in range(12):
        synthetic.clear_gradient()
        values.append(mim.backward(Step(index, synthetic), 1.0)["loss/mim"].item())
        synthetic.gradient.div_(synthetic.gradient.norm())
        synthetic.step()
        mim.advance(Step(index, synthetic))
    assert values[-1] < values[0] - 0.02 * abs(values[0])


def test_state_continues_heads_and_their_optimiser_exactly(make_run: Callable[..., Run]) -> None:
    mim, run = ready(make_run)
    synthetic = run.synthetic_set(1.0, 0.5)
    for index in range(3):
        mim.backward(Step(index, synthetic), 1.0)
        mim.advance(Step(index, synthetic))
    other, other_run = ready(make_run)
    other.load_state({key: value.clone() for key, value in mim.state().items()})
    other_run.random.load_state(run.random.state())
    for term in (mim, other):
        for index in range(2):
            term.backward(Step(index, synthetic), 1.0)
            term.advance(Step(index, synthetic))
    assert mim.state().keys() == other.state().keys()
    assert all(torch.equal(value, other.state()[key]) for key, value in mim.state().items())


@pytest.mark.parametrize(
    ("network", "size", "layers"),
    [
        ({"name": "mlp", "width": 8}, 8, 2),
        ({"name": "alexnet"}, 8, 5),
        ({"name": "alexnet", "norm": "batch"}, 8, 5),
        ({"name": "lenet"}, 16, 2),
        ({"name": "vgg11"}, 32, 5),
        ({"name": "resnet18", "downsampling": "pooling"}, 16, 4),
    ],
)
def test_the_blocks_of_every_network_can_be_compared(
    make_run: Callable[..., Run], network: dict[str, Any], size: int, layers: int
) -> None:
    data = blobs(per_class=3, shape=(3, size, size))
    mim, run = ready(make_run, data, teacher={"network": network, "epochs": 1}, batch_real=2)
    assert len(mim._critics) == layers
    synthetic = run.synthetic_set(1.0, 0.0)
    assert mim._pool is not None
    before = {name: value.clone() for name, value in mim._pool[0].items()}
    reading = mim.backward(Step(0, synthetic), 1.0)["loss/mim"]
    assert math.isfinite(reading)
    assert bool((synthetic.gradient.flatten(1).abs().amax(dim=1) > 0).all())
    assert all(torch.equal(value, before[name]) for name, value in mim._pool[0].items()), "teachers are frozen"


STUDENTS = {
    "mtt": {"name": "mtt", "student_steps": 3, "max_start": 2, "lr_init": 0.05, "experts": {"count": 2}},
    "bptt": {"name": "bptt", "student_steps": 3, "inner_lr": 0.05, "batch_real": 6},
    "rat_bptt": {"name": "rat_bptt", "student_steps": 5, "window": 3, "batch_real": 6},
}


def beside(make_run: Callable[..., Run], method: str, **fields: Any) -> tuple[MIM, Any]:
    """The term beside a method that trains networks."""
    term = {"name": "mim", "weight": 2.0, "batch_real": 6, "projection": 16, **fields}
    run = make_run(ipc=2, method=STUDENTS[method], regularizers=[term], augmentation="color")
    (config,) = run.spec.regularizers
    assert isinstance(config, MIMConfig)
    other, mim = build_method(run.spec.method, run), MIM(config, run)
    other.prepare()
    mim.prepare()
    return mim, other


@pytest.mark.parametrize("path", ["detached", "unrolled"])
@pytest.mark.parametrize("layers", ["blocks", "last"])
@pytest.mark.parametrize("name", list(STUDENTS))
def test_beside_a_student_both_sides_are_seen_by_networks_of_the_step(
    make_run: Callable[..., Run], name: str, layers: str, path: str
) -> None:
    """The expert's target or the student for real images, the student for synthetic ones."""
    mim, method = beside(make_run, name, layers=layers, path=path)
    run, synthetic = method.run, method.start()
    synthetic.begin_step()
    step = method.draw(0, synthetic)
    stream = run.random.state()
    reported = mim.backward(step, 2.0)["loss/mim"].item()

    run.random.load_state(stream)
    rows = run.sampler.draw(6, run.random.host_stream("mim/real")).flatten()
    images = synthetic.images.detach().clone().requires_grad_()
    student = step.training.unroll(step.start, images, step.labels)
    if path == "detached":
        student = {key: value.detach() for key, value in student.items()}
    of_real = step.expert or {key: value.detach() for key, value in student.items()}
    taps_s = run.functional.plain("taps", student, images)[:-1]
    with torch.no_grad():
        taps_r = run.functional.plain("taps", of_real, run.real_images(rows))[:-1]
    pairs = Pairs.of(synthetic.labels, torch.arange(3).repeat_interleave(6))
    chosen = slice(-1, None) if layers == "last" else slice(0, -1)
    losses = []
    for critic_, a, b in zip(mim._critics, taps_s[chosen], taps_r[chosen], strict=True):
        a, b = (F.adaptive_avg_pool2d(x, 4) if x.ndim == 4 and x.shape[-1] > 4 else x for x in (a, b))
        losses.append(critic_.loss(a.flatten(1), b.flatten(1), pairs))
    weighted = (2.0 ** -(len(losses) - 1 - k) * loss for k, loss in enumerate(losses, start=1))
    total = sum(weighted, torch.zeros(()))
    (expected,) = torch.autograd.grad(2.0 * total, [images])
    assert reported == pytest.approx(total.item(), rel=1e-4)
    torch.testing.assert_close(synthetic.gradient, expected, rtol=2e-3, atol=1e-3 * expected.abs().max().item())
    assert not any(isinstance(pool, TeacherPool) for pool in run.pretrained.values()), "no teacher was trained"


def test_the_two_paths_differ_and_neither_moves_the_learned_rate(make_run: Callable[..., Run]) -> None:
    slopes = []
    for path in ("detached", "unrolled"):
        mim, method = beside(make_run, "mtt", path=path)
        synthetic = method.start()
        synthetic.begin_step()
        mim.backward(method.draw(0, synthetic), 1.0)
        slopes.append(synthetic.gradient.clone())
        assert synthetic.learned["lr"].gradient == 0
    assert (slopes[0] - slopes[1]).norm() > 0.01 * slopes[0].norm()


def test_a_teacher_can_be_asked_for_instead(make_run: Callable[..., Run]) -> None:
    mim, method = beside(make_run, "bptt", networks="teacher", teacher=TEACHER)
    assert mim._pool is not None
    assert len(mim._pool) == 1
    synthetic = method.start()
    mim.backward(Step(0, synthetic), 1.0)
    assert synthetic.gradient.abs().max() > 0


def test_a_path_through_training_needs_training(make_run: Callable[..., Run]) -> None:
    for fields in ({"path": "unrolled"}, {"path": "unrolled", "networks": "teacher"}):
        name = "dm" if len(fields) == 1 else "mtt"
        with pytest.raises(SpecError, match=f"`path` is 'unrolled', but `{name}` with `networks`"):
            parse({"dataset": "digits", "ipc": 2, "method": name, "regularizers": {"mim": {"weight": 1, **fields}}})
    run = make_run(ipc=2)
    with pytest.raises(ConfigurationError, match="use 'detached'"):
        MIM(MIMConfig(weight=1, path="unrolled"), run)
