"""Staging against the base alone, plain chains of training, and interruption anywhere."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from ddcore import bundle, engine
from ddcore.augment import siamese
from ddcore.autograd.adjoint import InnerSGD
from ddcore.autograd.gradients import Gradients
from ddcore.data.sampling import batches
from ddcore.errors import ConfigurationError, DivergedError, Interrupted
from ddcore.formulas import gradient_distances
from ddcore.methods import build_method
from ddcore.methods.dc import AlongTraining
from ddcore.methods.mtt import TrajectoryMatching, trajectory_loss, trajectory_slope
from ddcore.methods.shared.student_training import training_on
from ddcore.nets import build
from ddcore.runtime.callback import Stop
from ddcore.runtime.context import Run
from ddcore.runtime.randomness import stream_seed
from ddcore.spec import parse
from ddcore.synthetic.set import SyntheticSet
from tests.ddcore.autograd.test_adjoint import PRINTED_ROW, Printed, close, printed
from tests.ddcore.recorder import Recorder
from tests.ddcore.staging import BASES, STEPS, Make, by_class, method_fields, staged, steps

pytestmark = pytest.mark.usefixtures("plain_map")


def test_printed_gradient_of_a_set_with_frozen_rows() -> None:
    """SeqMatch and PDD on problem Q: the loss is that of all rows, the slope that of the last two alone."""
    q = Printed()
    moving, target = torch.tensor([False, False, True, True]), {"classifier.weight": q.target}
    batch = training_on([torch.arange(4)] * 3, [siamese.Draw(None)] * 3, q.images, moving)
    sgd = InnerSGD(q.gradients, batch, steps=3, lr=0.5)
    live = q.images[2:]
    path = sgd.forward(q.start, live, q.labels)
    assert trajectory_loss(path[-1], q.start, target).item() == pytest.approx(100.16996838388324, rel=1e-12)
    slope = sgd.backward(path, trajectory_slope(path[-1], q.start, target), live, q.labels)
    assert slope.images.shape[0] == 2, "frozen rows have no slope to be thrown away"
    close(slope.images[0].flatten(), printed(1.8067759391023, 8.8129846995903, 7.7165759704362), PRINTED_ROW)
    close(slope.images[1].flatten(), printed(-1.9619563783221, -9.1516391092907, -7.9273472441900), PRINTED_ROW)
    assert slope.lr.item() == pytest.approx(260.2931384658736, rel=1e-12)


def test_a_step_on_frozen_images_alone_costs_no_slope() -> None:
    images = torch.arange(6.0).view(3, 1, 1, 2)
    batch = training_on(
        [torch.tensor([0, 1]), torch.tensor([2, 0])], [siamese.Draw(None)] * 2, images, images.new_tensor([0, 0, 1]) > 0
    )
    live = torch.full((1, 1, 1, 2), 9.0, requires_grad=True)
    x, y = batch(0, live, torch.tensor([5, 6, 7]))
    assert (x.flatten().tolist(), y.tolist(), x.requires_grad) == ([0, 1, 2, 3], [5, 6], False)
    x, y = batch(1, live, torch.tensor([5, 6, 7]))
    assert (x.flatten().tolist(), y.tolist(), x.requires_grad) == ([9, 9, 0, 1], [7, 5], True)


@pytest.mark.parametrize("base", ["mtt", "tesla", "dc", "dsa"])
def test_the_first_stage_is_the_base_alone(make_run: Make, base: str) -> None:
    """Byte for byte: the same images, networks, batches and augmentations."""
    fields: dict[str, Any] = {"augmentation": "none"} if base == "dc" else {}
    ours = staged(make_run, base, init="real", **fields)
    run = make_run(ipc=2, method=BASES[base], init="real", **fields)
    alone = build_method(run.spec.method, run)
    if base in ("dc", "dsa"):  # their loops follow the images of the whole set
        inner: object = ours._base
        assert isinstance(inner, AlongTraining)
        assert isinstance(alone, AlongTraining)
        inner._steps_per_network = alone._steps_per_network
    alone.prepare()
    first, other = ours.start(), alone.start()
    assert len(list(steps(ours, first, STEPS))) == len(list(steps(alone, other, STEPS)))
    assert torch.equal(by_class(first)[:, :2], by_class(other))
    assert not torch.equal(other.stored, run.starting_images())
    assert first.learning_rate == other.learning_rate


@pytest.mark.parametrize("decoder", ["identity", "mosaic"])
@pytest.mark.parametrize("base", list(BASES))
def test_earlier_rows_stay_bit_for_bit_and_later_ones_wait(make_run: Make, base: str, decoder: str) -> None:
    method = staged(make_run, base, decoder=decoder)
    synthetic, at_borders = method.start(), []
    before = by_class(synthetic)
    for index in steps(method, synthetic, 3 * STEPS):
        done = 2 * (index // STEPS)
        assert synthetic.live == range(done, done + 2)
        assert len(synthetic.learned["images"].value) == 3 * 2, "the leaf holds the rows of one stage"
        assert len(synthetic) == len(synthetic.images) == 3 * synthetic.decoder.count(done + 2)
        now = by_class(synthetic)
        assert torch.equal(now[:, done + 2 :], before[:, done + 2 :]), "what waits is as it was drawn"
        if index % STEPS == 0:
            at_borders.append(now)
    end = by_class(synthetic)
    for stage, now in enumerate(at_borders):
        assert torch.equal(end[:, : 2 * stage], now[:, : 2 * stage])
        moved = (end - now)[:, 2 * stage : 2 * stage + 2].flatten(2).abs().amax(dim=2)
        assert bool((moved > 0).all()), "every row of a stage is learned in it"


def test_frozen_images_keep_their_place_in_the_union(make_run: Make) -> None:
    """Images of a mosaic go by views, then rows; each is decoded as in the finished set."""
    method = staged(make_run, "idc", stages=2, ipc=2, decoder="mosaic")
    synthetic = method.start()
    for _ in steps(method, synthetic, STEPS + 1):
        pass
    images, labels = synthetic.finished()
    assert torch.equal(synthetic.images, images)
    assert torch.equal(synthetic.labels, labels)
    stages = method.stages()
    assert stages.of_images.tolist() == [0, 1] * 4 * 3
    assert stages.of_images.bool().tolist() == synthetic.moving.tolist()
    first, of_first = synthetic.union(1)
    assert torch.equal(first, images[stages.of_images == 0])
    assert torch.equal(of_first, labels[stages.of_images == 0])


class Reference:
    """A plain network trained by the framework's SGD: the slow chain of SeqMatch and PDD."""

    def __init__(self, run: Run, index: int) -> None:
        self.network = build(run.spec.network, run.dataset.shape, len(run.dataset.classes))
        generator = torch.Generator().manual_seed(stream_seed(index, "expert"))
        self.network.load_state_dict(run.functional.new(generator))
        self.run = run

    def _step(self, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> None:
        optimizer.zero_grad()
        F.cross_entropy(self.network(images), labels).backward()
        optimizer.step()

    def lesson(self, images: Tensor, labels: Tensor, lr: float, epochs: int, *, keep: bool = False) -> None:
        """E + 1 passes of the whole set; a tenth of the rate after E // 2 + 2 of them, at rest unless to be kept."""
        optimizer = torch.optim.SGD(self.network.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
        for passed in range(1, epochs + 2):
            self._step(optimizer, images, labels)
            if passed == epochs // 2 + 2 and keep:
                optimizer.param_groups[0]["lr"] *= 0.1
            elif passed == epochs // 2 + 2:
                optimizer = torch.optim.SGD(self.network.parameters(), lr=lr / 10, momentum=0.9, weight_decay=5e-4)

    def real_epoch(self, index: int, epoch: int) -> None:
        data = self.run.dataset
        images, labels = data.normalize(data.train.images), data.train.labels
        optimizer = torch.optim.SGD(self.network.parameters(), lr=0.05)
        for rows in batches(len(images), 24, torch.Generator().manual_seed(stream_seed(index, f"expert/{epoch}"))):
            self._step(optimizer, images[rows], labels[rows])

    def close_to(self, params: dict[str, Tensor]) -> None:
        for name, value in self.network.state_dict().items():
            torch.testing.assert_close(params[name], value, rtol=1e-3, atol=1e-5)


def unions(synthetic: SyntheticSet, size: int, stages: int) -> list[tuple[Tensor, Tensor]]:
    """S_1, S_1 u S_2, ..., spelled out class by class."""
    rows, found = by_class(synthetic), []
    for stage in range(stages):
        images = torch.cat([of_class[: size * (stage + 1)] for of_class in rows])
        found.append((images, torch.tensor([c for c in range(len(rows)) for _ in range(size * (stage + 1))])))
    return found


@pytest.mark.parametrize(("name", "stages"), [("seqmatch", 2), ("seqmatch", 3), ("pdd", 3)])
def test_experts_of_a_stage_are_those_of_the_whole_chain(make_run: Make, name: str, stages: int) -> None:
    """Fresh, then on S_1, then on S_1 u S_2, each at its own learned rate, and on the real images from there.

    Where the rate drops within a stage, PDD's released code keeps the momentum; SeqMatch's clears it, as MTT's.
    """
    method = staged(make_run, "mtt", stages, augmentation="none", method=method_fields("mtt", stages, name=name))
    synthetic, rates = method.start(), []
    for index in steps(method, synthetic, (stages - 1) * STEPS + 1):
        if index % STEPS == STEPS - 1:
            rates.append(index)
    assert len(method._rates) == stages - 1 == len(set(method._rates)), "every stage has learned a rate of its own"
    base: object = method._base
    assert isinstance(base, TrajectoryMatching)
    assert len(base._experts) == 2
    for expert in range(2):
        slow = Reference(method.run, expert)
        for (images, labels), rate in zip(unions(synthetic, 2, stages - 1), method._rates, strict=True):
            slow.lesson(images, labels, rate, epochs=4, keep=name == "pdd")
        slow.close_to(base._experts.snapshot(expert, 0))
        for epoch in (1, 2, 3):
            slow.real_epoch(expert, epoch)
            slow.close_to(base._experts.snapshot(expert, epoch))


def test_a_rate_starts_anew_in_every_stage(make_run: Make) -> None:
    method = staged(make_run)
    synthetic = method.start()
    for index in steps(method, synthetic, 3 * STEPS):
        rate = synthetic.learned["lr"]
        if index % STEPS == 0:
            assert rate.value.item() == pytest.approx(0.05)
            assert rate.velocity.item() == 0
            assert synthetic.learned["images"].velocity.abs().max() == 0
    assert method.stages().rates == (*method._rates, synthetic.learning_rate)
    assert len(set(method.stages().rates)) == 3


@pytest.mark.parametrize("base", ["dc", "idc", "dream"])
def test_networks_to_match_with_come_from_those_that_learned_the_earlier_stages(make_run: Make, base: str) -> None:
    fields = method_fields(base, 3, pool=2, lr=0.03)
    run = make_run(ipc=6, method=fields, augmentation="none", decoder="identity")
    method = build_method(run.spec.method, run)
    method.prepare()
    synthetic = method.start()
    for index in steps(method, synthetic, 2 * STEPS + 1):
        if index not in (STEPS, 2 * STEPS):
            continue
        stage, first = index // STEPS, method.draw(index, synthetic).params
        wanted = []
        for place in range(2):
            slow = Reference(run, place)
            for images, labels in unions(synthetic, 2, stage):
                slow.lesson(images, labels, 0.03, epochs=4)
            wanted.append(slow.network.state_dict())
        differences = [max(float((first[n] - w[n]).abs().max()) for n in first) for w in wanted]
        assert min(differences) < 1e-4
        assert max(differences) > 1e-2, "the two are not mistaken for each other"


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("distance", ["squared", "row_cosine"])
def test_frozen_images_count_in_the_gradient_and_have_no_slope(make_run: Make, distance: str, norm: str) -> None:
    run = make_run(network={"name": "convnet", "width": 4, "norm": norm})
    gradients = Gradients(run.functional, training=True)
    params = run.functional.new(torch.Generator().manual_seed(0))
    images, labels = run.real_images(torch.arange(7)), torch.tensor([1] * 7)
    target = gradients.loss_and_gradient(params, run.real_images(torch.arange(9, 14)), torch.tensor([1] * 5))[1]
    moving = torch.tensor([False, True, True, False, False, True, False])
    reading = getattr(gradient_distances, distance)
    value, slope = gradients.distance_gradient(params, images, labels, target, reading)
    ours, of_moving = gradients.distance_gradient(params, images, labels, target, reading, moving=moving)
    assert ours.item() == pytest.approx(value.item(), rel=1e-4)
    torch.testing.assert_close(of_moving[moving], slope[moving], rtol=1e-3, atol=1e-6)
    assert of_moving[~moving].abs().max() == 0
    none, still = gradients.distance_gradient(params, images, labels, target, reading, moving=moving & False)
    assert none.item() == pytest.approx(value.item(), rel=1e-4)
    assert still.abs().max() == 0


def small_job(base: str, stages: int = 3, **fields: Any) -> dict[str, Any]:
    return {
        "dataset": "digits",
        "ipc": stages,
        "method": {**method_fields(base, stages), "epochs": 2, "pool": 2},
        "network": {"name": "convnet", "width": 4, "depth": 2},
        "compile": "off",
        "metrics": {"every": 1, "probe": "random"},
        "checkpoints": {"every": 2},
        "evaluation": {"repeats": 1, "epochs": 2},
    } | fields


def digest(out: Path) -> bytes:
    return (out / "distilled.safetensors").read_bytes()


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("base", ["mtt", "idc"])
def test_an_interruption_anywhere_changes_no_byte(base: str, cached: bool, tmp_path: Path) -> None:
    """Within each stage, and at both borders while the networks of the next stage are in training."""
    spec = parse(small_job(base))
    whole = Recorder()
    result = engine.run(spec, tmp_path / "whole", run_dir=tmp_path / "run", callback=whole)
    assert result.steps == 3 * STEPS
    assert [whole.metrics[step]["stage"] for step in range(1, 10)] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    phases = [phase for phase in whole.phases if phase in ("pretraining", "distilling")]
    assert phases[-1] == "distilling"
    assert phases.count("distilling") == 3, "the phase goes on when the networks of a stage are trained"

    class Stopping(Recorder):
        """Asks for a stop when a phase has begun, or a step been taken, so many times."""

        def __init__(self, phase: str, at: int) -> None:
            super().__init__()
            self.phase, self.at, self.now = phase, at, ""

        def on_phase(self, phase: Any, total: int | None) -> None:
            super().on_phase(phase, total)
            self.now = phase

        def should_stop(self) -> Stop | None:
            done = max([*self.metrics, 0])
            due = self.now == self.phase and done >= self.at
            return Stop.CHECKPOINT if due else None

    cache = tmp_path / "cache" if cached else None
    run = partial(engine.run, spec, tmp_path / "out", run_dir=tmp_path / "parts", cache=cache)
    stops = [("distilling", 2), ("pretraining", 3), ("distilling", 5), ("pretraining", 6), ("distilling", 7)]
    resumed: list[int] = []
    seen: dict[int, Any] = {}
    for phase, at in stops:
        part = Stopping(phase, at)
        if resumed:
            part.metrics[resumed[-1]] = whole.metrics[resumed[-1]]
        with pytest.raises(Interrupted) as stopped:
            run(callback=part)
        assert (stopped.value.step, part.now) == (at, phase)
        resumed.append(at)
        seen |= part.metrics
    last = Recorder()
    run(callback=last)
    assert digest(tmp_path / "out") == digest(tmp_path / "whole")
    assert {**seen, **last.metrics} == whole.metrics


def test_the_bundle_knows_the_stages_and_trains_on_them_alike(tmp_path: Path) -> None:
    spec = parse(small_job("mtt", evaluation={"protocol": "pdd", "repeats": 1, "epochs": 3}))
    result = engine.run(spec, tmp_path / "out", run_dir=tmp_path / "run", cache=tmp_path / "cache")
    tensors = load_file(tmp_path / "out" / "distilled.safetensors")
    assert tensors["stages"].tolist() == [0, 1, 2] * 10
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_bytes())
    rates = manifest["stages"]["learning_rates"]
    assert manifest["stages"]["sizes"] == [1, 1, 1]
    assert len(set(rates)) == 3
    assert manifest["learning_rate"] == rates[-1]
    assert manifest["recipe"]["staging"] == "with_momentum"
    assert result.results["protocol"]["stages"]["lr"] == rates
    table = pq.read_table(tmp_path / "out" / "data" / "train-00000-of-00001.parquet")
    assert table["stage"].to_pylist() == [0, 1, 2] * 10
    bundle.export_npz(tmp_path / "out", tmp_path / "set.npz")
    with np.load(tmp_path / "set.npz") as arrays:
        assert arrays["stages"].tolist() == [0, 1, 2] * 10
        assert arrays["learning_rates"].tolist() == rates
    assert "for each of its 3 stages in turn" in (tmp_path / "out" / "README.md").read_text()
    content = bundle.read(tmp_path / "out")
    assert content.stages is not None
    assert content.stages.rates == tuple(rates)
    assert bundle.train_on(tmp_path / "out")["accuracy"] == result.results["accuracy"]
    assert bundle.train_on(tmp_path / "out")["controls"] == result.results["controls"]


def test_finishing_early_delivers_stages_as_they_are(tmp_path: Path) -> None:
    class Hasty(Recorder):
        def should_stop(self) -> Stop | None:
            return Stop.FINALIZE if max([*self.metrics, 0]) >= STEPS + 1 else None

    engine.run(parse(small_job("mtt")), tmp_path / "out", run_dir=tmp_path / "run", callback=Hasty())
    content = bundle.read(tmp_path / "out")
    assert content.stages is not None
    assert len(content.images) == 30
    assert content.stages.rates[2] == pytest.approx(0.05)
    assert content.stages.rates[0] != pytest.approx(0.05, rel=1e-7)


def test_networks_of_later_stages_that_do_not_fit_are_refused(make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    size = make_run().functional.parameter_bytes
    monkeypatch.setattr("ddcore.machine.capacity.free_memory", lambda _: 2 * 2 * (2 * 5) * size)
    method = staged(make_run)
    assert method.config.networks == 2
    monkeypatch.setattr("ddcore.machine.capacity.free_memory", lambda _: 2 * 2 * (2 * 5) * size - 2)
    with pytest.raises(
        ConfigurationError,
        match=r"`method.pool` is 2, and the 5 states .* 3 stages keep .* a `method.pool` of at most 1, or",
    ):
        staged(make_run)
    run = make_run(ipc=6, method=method_fields())
    run.fresh = False
    build_method(run.spec.method, run)


def test_errors_of_the_base_name_its_fields_where_they_are(make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    method = staged(make_run)
    synthetic = method.start()
    synthetic.learned["lr"].value.data.fill_(1e30)
    with pytest.raises(
        DivergedError,
        match=r"in stage 1 of 3: .* lower `method\.base\.lr_img` and `method\.base\.lr_lr`",
    ):
        method.backward(method.draw(0, synthetic))
