"""Staging against the base alone, plain chains of training, and interruption anywhere."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from ddcore import bundle, engine, evaluation
from ddcore.adjoint import InnerSGD
from ddcore.context import Run
from ddcore.data import augment
from ddcore.data.sampling import batches
from ddcore.errors import ConfigurationError, DivergedError, Interrupted
from ddcore.gradients import Gradients
from ddcore.hooks import Stop
from ddcore.methods.mtt import TrajectoryMatching, trajectory_loss, trajectory_slope
from ddcore.methods.staged import Staged
from ddcore.methods.students import training_on
from ddcore.nets import build
from ddcore.randomness import stream_seed
from ddcore.registry import build_method
from ddcore.spec import METHODS, PROTOCOLS, SpecError, parse
from ddcore.starts import Lesson, Starts
from ddcore.synthetic import SyntheticSet
from tests.ddcore.test_adjoint import PRINTED_ROW, Printed, close, printed

Make = Callable[..., Run]
MTT = {"name": "mtt", "student_steps": 3, "max_start": 2, "lr_init": 0.05, "lr_lr": 1e-3, "lr_img": 5.0}
MTT |= {"experts": {"count": 2, "batch_size": 24, "lr": 0.05}}
GRADIENTS = {"batch_real": 8, "lr_img": 0.5}
ALONG_REAL = {**GRADIENTS, "steps_per_network": 2, "train_images": 24, "batch_train": 12}
BASES: dict[str, dict[str, Any]] = {
    "mtt": MTT,
    "tesla": {**MTT, "name": "tesla"},
    "dc": {"name": "dc", **GRADIENTS, "inner_loop": 1},
    "dsa": {"name": "dsa", **GRADIENTS, "inner_loop": 1},
    "idc": {"name": "idc", **ALONG_REAL},
    "dream": {"name": "dream", **ALONG_REAL},
}
STEPS = 3


def method_fields(base: str | dict[str, Any] = "mtt", stages: int = 3, **fields: Any) -> dict[str, Any]:
    base = BASES[base] if isinstance(base, str) else base
    return {"name": "seqmatch", "stages": stages, "base": base, "iterations": stages * STEPS, "epochs": 4, **fields}


def staged(make_run: Make, base: str | dict[str, Any] = "mtt", stages: int = 3, **fields: Any) -> Staged:
    job = {"ipc": 2 * stages, "method": method_fields(base, stages), **fields}
    method = build_method((run := make_run(**job)).spec.method, run)
    assert isinstance(method, Staged)
    method.prepare()
    return method


def steps(method: Any, synthetic: SyntheticSet, count: int) -> Iterator[int]:
    """Take steps as the engine does; yields before each, once its stage has begun."""
    for index in range(count):
        method.enter(index, synthetic)
        yield index
        synthetic.begin_step()
        step = method.draw(index, synthetic)
        method.backward(step)
        synthetic.step()
        method.advance(step)


def by_class(synthetic: SyntheticSet) -> Tensor:
    return synthetic.stored.detach().unflatten(0, (synthetic.classes, synthetic.ipc)).clone()


def test_printed_gradient_of_a_set_with_frozen_rows() -> None:
    """Section 11, SeqMatch and PDD: the loss is that of all rows, the slope that of the last two alone."""
    q = Printed()
    moving, target = torch.tensor([False, False, True, True]), {"classifier.weight": q.target}
    batch = training_on([torch.arange(4)] * 3, [augment.Draw(None)] * 3, q.images, moving)
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
        [torch.tensor([0, 1]), torch.tensor([2, 0])], [augment.Draw(None)] * 2, images, images.new_tensor([0, 0, 1]) > 0
    )
    live = torch.full((1, 1, 1, 2), 9.0, requires_grad=True)
    x, y = batch(0, live, torch.tensor([5, 6, 7]))
    assert (x.flatten().tolist(), y.tolist(), x.requires_grad) == ([0, 1, 2, 3], [5, 6], False)
    x, y = batch(1, live, torch.tensor([5, 6, 7]))
    assert (x.flatten().tolist(), y.tolist(), x.requires_grad) == ([9, 9, 0, 1], [7, 5], True)


@pytest.mark.parametrize("base", ["mtt", "tesla", "dc", "dsa"])
def test_the_first_stage_is_the_base_alone(make_run: Make, base: str) -> None:
    """Byte for byte: the same images, networks, batches and augmentations."""
    fields = {"augmentation": "none"} if base == "dc" else {}
    ours = staged(make_run, base, init="real", **fields)
    run = make_run(ipc=2, method=BASES[base], init="real", **fields)
    alone = build_method(run.spec.method, run)
    if base in ("dc", "dsa"):  # their loops follow the images of the whole set
        ours._base._steps_per_network = alone._steps_per_network  # type: ignore[attr-defined]
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


def test_a_mosaic_cut_by_changing_factors_cannot_be_frozen() -> None:
    job = {"dataset": "digits", "ipc": 4, "method": method_fields("idc", 2)}
    with pytest.raises(SpecError, match=r"/decoder/scales: .* earlier stages would not stay as they are"):
        parse({**job, "decoder": {"name": "mosaic", "factor": 3, "scales": "bound"}})


class Reference:
    """A plain network trained by the framework's SGD: the slow chain of 4.2 and 5.2."""

    def __init__(self, run: Run, index: int) -> None:
        self.network = build(run.spec.network, run.dataset.shape, len(run.dataset.classes))
        generator = torch.Generator().manual_seed(stream_seed(index, "expert"))
        self.network.load_state_dict(run.functional.new(generator))
        self.run = run

    def _step(self, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> None:
        optimizer.zero_grad()
        F.cross_entropy(self.network(images), labels).backward()
        optimizer.step()

    def lesson(self, images: Tensor, labels: Tensor, lr: float, epochs: int) -> None:
        """E + 1 passes of the whole set; a tenth of the rate, at rest, after E // 2 + 2 of them."""
        optimizer = torch.optim.SGD(self.network.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
        for passed in range(1, epochs + 2):
            self._step(optimizer, images, labels)
            if passed == epochs // 2 + 2:
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


@pytest.mark.parametrize("stages", [2, 3])
def test_experts_of_a_stage_are_those_of_the_whole_chain(make_run: Make, stages: int) -> None:
    """Fresh, then on S_1, then on S_1 u S_2, each at its own learned rate, and on the real images from there."""
    method = staged(make_run, "mtt", stages, augmentation="none")
    synthetic, rates = method.start(), []
    for index in steps(method, synthetic, (stages - 1) * STEPS + 1):
        if index % STEPS == STEPS - 1:
            rates.append(index)
    assert len(method._rates) == stages - 1 == len(set(method._rates)), "every stage has learned a rate of its own"
    base = method._base
    assert isinstance(base, TrajectoryMatching)
    assert len(base._experts) == 2
    for expert in range(2):
        slow = Reference(method.run, expert)
        for (images, labels), rate in zip(unions(synthetic, 2, stages - 1), method._rates, strict=True):
            slow.lesson(images, labels, rate, epochs=4)
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
        distances = [max(float((first[n] - w[n]).abs().max()) for n in first) for w in wanted]
        assert min(distances) < 1e-4
        assert max(distances) > 1e-2, "the two are not mistaken for each other"


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("distance", ["squared", "row_cosine"])
def test_frozen_images_count_in_the_gradient_and_have_no_slope(make_run: Make, distance: str, norm: str) -> None:
    from ddcore import distances

    run = make_run(network={"name": "convnet", "width": 4, "norm": norm})
    gradients = Gradients(run.functional, training=True)
    params = run.functional.new(torch.Generator().manual_seed(0))
    images, labels = run.real_images(torch.arange(7)), torch.tensor([1] * 7)
    target = gradients.loss_and_gradient(params, run.real_images(torch.arange(9, 14)), torch.tensor([1] * 5))[1]
    moving, reading = torch.tensor([False, True, True, False, False, True, False]), getattr(distances, distance)
    value, slope = gradients.distance_gradient(params, images, labels, target, reading)
    ours, of_moving = gradients.distance_gradient(params, images, labels, target, reading, moving=moving)
    assert ours.item() == pytest.approx(value.item(), rel=1e-4)
    torch.testing.assert_close(of_moving[moving], slope[moving], rtol=1e-3, atol=1e-6)
    assert of_moving[~moving].abs().max() == 0
    none, still = gradients.distance_gradient(params, images, labels, target, reading, moving=moving & False)
    assert none.item() == pytest.approx(value.item(), rel=1e-4)
    assert still.abs().max() == 0


class TestScoring:
    """Networks learn the stages in turn (4.2 step 4, 5.2), against the framework's own optimiser."""

    SIZES, RATES, EPOCHS = (2, 1, 1), (0.05, 0.02, 0.08), 4

    def slow(self, run: Run, seed: int, images: Tensor, labels: Tensor, rates: Sequence[float], carry: bool) -> Any:
        network = build(run.spec.network, run.dataset.shape, len(run.dataset.classes))
        network.load_state_dict(run.functional.new(torch.Generator().manual_seed(seed)))
        momentum: dict[Any, Any] = {}
        of_class = images.unflatten(0, (len(run.dataset.classes), 4))
        for end, rate in zip((2, 3, 4), rates, strict=True):
            x = of_class[:, :end].flatten(0, 1)
            y = torch.arange(len(of_class)).repeat_interleave(end)
            optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4)
            if carry:
                optimizer.state.update(momentum)
            for passed in range(1, self.EPOCHS + 2):
                optimizer.zero_grad()
                F.cross_entropy(network(x), y).backward()
                optimizer.step()
                if passed == self.EPOCHS // 2 + 2:
                    optimizer = torch.optim.SGD(network.parameters(), lr=rate / 10, momentum=0.9, weight_decay=5e-4)
            momentum = dict(optimizer.state)
        assert torch.equal(y, labels)
        return network.state_dict()

    @pytest.mark.parametrize("name", ["seqmatch", "pdd"])
    @pytest.mark.parametrize("lr", [None, 0.04])
    def test_stages_are_learned_in_turn(
        self, make_run: Make, monkeypatch: pytest.MonkeyPatch, name: str, lr: float | None
    ) -> None:
        scoring = {"protocol": name, "repeats": 2, "epochs": self.EPOCHS, "augmentation": "none", "lr": lr}
        fields = {**method_fields(), "name": name, "sizes": self.SIZES}
        run = make_run(
            ipc=4, method=fields, augmentation="none", evaluation={**scoring, "controls": ["random", "full"]}
        )
        generator = torch.Generator().manual_seed(3)
        images, labels = torch.randn((12, 3, 8, 8), generator=generator), torch.arange(3).repeat_interleave(4)
        stages = evaluation.Stages.of(torch.arange(4).repeat(3), self.SIZES, self.RATES)
        trained, sets, original = [], [], evaluation.train

        def watched(functional: Any, params: Any, x: Tensor, y: Tensor, *args: Any, **kwargs: Any) -> Any:
            sets.append(len(x))
            return original(functional, params, x, y, *args, **kwargs)

        def kept(functional: Any, params: Any, *_: Any, **__: Any) -> float:
            trained.append({n: v.clone() for n, v in params.items()})
            return 50.0

        monkeypatch.setattr(evaluation, "train", watched)
        monkeypatch.setattr(evaluation, "accuracy", kept)
        results = evaluation.Evaluation(run).score(images, labels, learning_rate=0.08, stages=stages)
        rates = self.RATES if lr is None else (lr,) * 3
        assert sets[:9] == [6, 9, 12] * 3, "controls are divided alike"
        assert sets[-2:] == [72, 72], "but the full training set is one"
        assert results["protocol"]["stages"] == {
            "sizes": [2, 1, 1], "lr": list(rates), "begin": {"seqmatch": "at_rest", "pdd": "with_momentum"}[name],
        }  # fmt: skip
        for repeat in range(2):
            seed = stream_seed(run.spec.seed, f"evaluation/0/distilled/{repeat}")
            wanted = self.slow(run, seed, images, labels, rates, carry=name == "pdd")
            for key, value in wanted.items():
                torch.testing.assert_close(trained[repeat][key], value, rtol=1e-3, atol=1e-4)
        first = "classifier.weight"
        assert not torch.equal(trained[0][first], trained[1][first]), "every network starts afresh"

    def test_another_protocol_takes_the_union_as_one_set(self, make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        run = make_run(ipc=6, method=method_fields(), evaluation={"protocol": "mtt", "repeats": 1, "epochs": 1})
        sets: list[tuple[int, float]] = []
        original = evaluation.train

        def watched(functional: Any, params: Any, x: Tensor, y: Tensor, recipe: Any, *args: Any, **kwargs: Any) -> Any:
            sets.append((len(x), recipe.lr))
            return original(functional, params, x, y, recipe, *args, **kwargs)

        monkeypatch.setattr(evaluation, "train", watched)
        images, labels = torch.randn(18, 3, 8, 8), torch.arange(3).repeat_interleave(6)
        stages = evaluation.Stages.of(torch.arange(6).repeat(3), (2, 2, 2), self.RATES)
        results = evaluation.Evaluation(run).score(images, labels, learning_rate=0.08, stages=stages)
        assert sets == [(18, 0.08), (18, 0.08)]
        assert "stages" not in results["protocol"]

    def test_a_method_of_one_stage_cannot_be_scored_so(self) -> None:
        with pytest.raises(SpecError, match=r"/evaluation/staging: .*'at_rest' .*'seqmatch'.*`mtt` does not learn in"):
            parse({"dataset": "digits", "ipc": 1, "method": "mtt", "evaluation": {"protocol": "seqmatch"}})

    @pytest.mark.parametrize("name", ["seqmatch", "pdd"])
    def test_the_usual_protocol_is_the_method_s_own(self, name: str) -> None:
        job = {"dataset": "digits", "ipc": 4, "method": name}
        usual = parse(job).evaluation
        assert (usual.protocol, usual.staging, usual.lr) == (name, PROTOCOLS[name].fields["staging"], None)
        assert (usual.epochs, usual.repeats) == (300, 3)
        idc = parse({**job, "method": {"name": name, "base": "idc"}})
        assert (idc.evaluation.protocol, idc.evaluation.lr, idc.decoder.name) == (name, 0.01, "mosaic")
        assert idc.augmentation == "color_crop_cutout"
        assert parse({**job, "evaluation": {"protocol": "mtt"}}).evaluation.staging == "together"


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
def test_an_interruption_anywhere_changes_no_byte(base: str, cached: bool, tmp_path: Path, recorder: Any) -> None:
    """Within each stage, and at both borders while the networks of the next stage are in training."""
    spec = parse(small_job(base))
    whole = recorder()
    result = engine.run(spec, tmp_path / "whole", run_dir=tmp_path / "run", callback=whole)
    assert result.steps == 3 * STEPS
    assert [whole.metrics[step]["stage"] for step in range(1, 10)] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    phases = [phase for phase in whole.phases if phase in ("pretraining", "distilling")]
    assert phases[-1] == "distilling"
    assert phases.count("distilling") == 3, "the phase goes on when the networks of a stage are trained"

    class Stopping(recorder):  # type: ignore[misc]
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
    run = {"run_dir": tmp_path / "parts", "cache": cache}
    stops = [("distilling", 2), ("pretraining", 3), ("distilling", 5), ("pretraining", 6), ("distilling", 7)]
    resumed = []
    seen: dict[int, Any] = {}
    for phase, at in stops:
        part = Stopping(phase, at)
        if resumed:
            part.metrics[resumed[-1]] = whole.metrics[resumed[-1]]
        with pytest.raises(Interrupted) as stopped:
            engine.run(spec, tmp_path / "out", callback=part, **run)
        assert (stopped.value.step, part.now) == (at, phase)
        resumed.append(at)
        seen |= part.metrics
    last = recorder()
    engine.run(spec, tmp_path / "out", callback=last, **run)
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


def test_finishing_early_delivers_stages_as_they_are(tmp_path: Path, recorder: Any) -> None:
    class Hasty(recorder):  # type: ignore[misc]
        def should_stop(self) -> Stop | None:
            return Stop.FINALIZE if max([*self.metrics, 0]) >= STEPS + 1 else None

    engine.run(parse(small_job("mtt")), tmp_path / "out", run_dir=tmp_path / "run", callback=Hasty())
    content = bundle.read(tmp_path / "out")
    assert content.stages is not None
    assert len(content.images) == 30
    assert content.stages.rates[2] == pytest.approx(0.05)
    assert content.stages.rates[0] != pytest.approx(0.05, rel=1e-7)


class TestStarts:
    def pool(self, run: Run, count: int = 2, before: Starts | None = None, lr: float = 0.05) -> Starts:
        generator = torch.Generator().manual_seed(1)
        images, labels = torch.randn((6, 3, 8, 8), generator=generator), torch.tensor([0, 0, 1, 1, 2, 2])
        return Starts(count, Lesson(images, labels, lr), 4, run, before)

    def test_they_are_kept_and_shared(self, make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        run = make_run()
        run.cache = tmp_path
        starts = self.pool(run)
        starts.prepare()
        monkeypatch.setattr("ddcore.train.train", lambda *_, **__: pytest.fail("trained again"))
        again = self.pool(run)
        again.prepare()
        assert all(torch.equal(again[1][name], value) for name, value in starts[1].items())
        with pytest.raises(IndexError, match="no network 2 in a pool of 2"):
            starts[2]

    def test_a_lost_lesson_is_taught_again(self, make_run: Make, tmp_path: Path) -> None:
        """Network i of a stage needs network i of the stage before, and no other."""
        run = make_run()
        run.cache = tmp_path / "a"
        later = self.pool(run, before=self.pool(run))
        later.prepare()
        other = make_run()
        last = self.pool(other, before=self.pool(other))[1]
        assert all(torch.equal(later[1][name], value) for name, value in last.items())

    def test_whatever_changes_the_weights_changes_the_hash(self, make_run: Make) -> None:
        run = make_run()
        first = self.pool(run)
        assert len({p.digest() for p in (first, self.pool(run, lr=0.06), self.pool(run, before=first))}) == 3
        assert self.pool(run, count=9).digest() == first.digest()

    def test_progress_counts_epochs(self, make_run: Make, recorder: Any) -> None:
        run, seen = make_run(), []

        class Heard(recorder):  # type: ignore[misc]
            def on_progress(self, done: int, total: int) -> None:
                seen.append((done, total))

        run.callback = heard = Heard()
        self.pool(run).prepare()
        assert heard.phases == ["pretraining"]
        assert [done for done, _ in seen] == [0, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10, 10]
        assert {total for _, total in seen} == {10}


def test_networks_of_later_stages_that_do_not_fit_are_refused(make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    size = make_run().functional.parameter_bytes
    monkeypatch.setattr("ddcore.room.free_memory", lambda _: 2 * 2 * (2 * 5) * size)
    method = staged(make_run)
    assert method.config.networks == 2
    monkeypatch.setattr("ddcore.room.free_memory", lambda _: 2 * 2 * (2 * 5) * size - 2)
    with pytest.raises(
        ConfigurationError, match=r"`method.pool` is 2, and 3 stages keep 5 states .* a `method.pool` of at most 1, or"
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
        DivergedError, match=r"in stage 1 of 3: .* Lower `method\.base\.lr_lr`, `method\.base\.lr_init`"
    ):
        method.backward(method.draw(0, synthetic))


STAGED = {"dataset": "digits", "ipc": 6}


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"stages": 4}, r"/method/stages: `stages` is 4, which does not divide `ipc` = 6; choose one of 1, 2, 3, 6, "),
        ({"sizes": [3, 2]}, r"/method/sizes: .* 5 stored images of each class, but `ipc` is 6; let them agree"),
        ({"sizes": [3, 2, 1]}, r"/method/sizes: `sizes` is \[3, 2, 1\], but there are 2 `stages`"),
        ({"sizes": [6, 0]}, r"give each at least one image of each class"),
        ({"base": "dm"}, r"/method/base: `dm` cannot be learned in stages, .* use one of .*idc.*mtt"),
        ({"base": "seqmatch"}, r"/method/base: `seqmatch` cannot be learned in stages"),
        ({"base": "mt"}, r"/method/base: unknown method 'mt', did you mean 'mtt'"),
        ({"base": 3}, r"/method/base: a method is given by its name"),
        ({"base": {"name": "mtt", "lr_imgs": 1}}, r"/method/base/lr_imgs: unknown field `lr_imgs`; did you mean `lr_i"),
        ({"base": {"name": "idc", "lr_img": 0}}, r"/method/base/lr_img: `lr_img` is 0, but must be greater than 0"),
        ({"base": {"name": "mtt", "experts": {"epochs": 1}}}, r"/method/base/experts/epochs: experts of 1 epochs are"),
        ({"base": {"name": "tesla", "labels": "soft"}}, r"/method/base/labels: .* would not keep the labels"),
        ({"iterations": 7}, r"/method/iterations: `iterations` is 7, which 2 stages cannot share .* multiple of 2"),
        (
            {"iterations": 8, "base": {"name": "mtt", "iterations": 3}},
            r"/method/iterations: .* 2 stages of `base.iterations` = 3 steps are 6; give one of the two",
        ),
        ({"stages": 0}, r"/method/stages: `stages` is 0, but must be at least 1"),
        ({"pool": 0}, r"/method/pool: `pool` is 0, but must be at least 1"),
    ],
    ids=str,
)  # fmt: skip
def test_bad_input_is_refused_by_name(fields: dict[str, Any], detail: str) -> None:
    with pytest.raises(SpecError, match=detail):
        parse({**STAGED, "method": {"name": "pdd", **fields}})


def test_either_count_of_steps_is_enough() -> None:
    def counts(**fields: Any) -> tuple[int, int]:
        method = parse({**STAGED, "method": {"name": "seqmatch", "stages": 3, **fields}}).method
        return method.iterations, method.matcher.iterations

    assert counts(iterations=30) == (30, 10)
    assert counts(base={"name": "idc", "iterations": 20}) == (60, 20)
    assert counts(base={"name": "idc", "iterations": 20}, iterations=60) == (60, 20)
    assert counts() == (15_000, 5000)
    assert counts(base="tesla") == (30_000, 10_000)


def test_terms_that_need_several_images_need_them_in_the_first_stage() -> None:
    job = {"dataset": "digits", "method": {"name": "pdd", "stages": 3}, "regularizers": {"cmi": 1.0}}
    parse({**job, "ipc": 6})
    with pytest.raises(SpecError, match=r"/regularizers/0: .* use `ipc` 6 or more or fewer `method.stages`"):
        parse({**job, "ipc": 3})


def test_every_base_that_says_so_can_be_staged_and_no_other() -> None:
    assert {name for name, config in METHODS.items() if config.stageable} == set(BASES)


def test_work_grows_with_the_stages() -> None:
    """Experts of every stage, and the lessons: 3 passes a training image of 1 and 2 thirds of the set."""
    job = {"dataset": "digits", "ipc": 6, "method": {"name": "pdd", "stages": 3, "epochs": 9, "base": MTT}}
    method = parse(job).method
    real = 3 * 2 * 3 * 1000
    assert method.pretraining_passes(1000, 60) == pytest.approx(3 * real + 3 * 2 * 10 * (20 + 40))
    assert method.networks_pretrained == 2 + 2 * 2
    assert math.isclose(method.image_passes(6, 10, 100), 12 * 3 * 20)
    idc = parse({**job, "method": {"name": "pdd", "stages": 3, "base": "idc"}}).method
    matcher = idc.matcher
    assert idc.image_passes(6, 10, 100) == pytest.approx(sum(matcher.image_passes(n, 10, 100) for n in (2, 4, 6)) / 3)
