"""CAFE against figures worked out beforehand and against the published loop, written plainly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ddcore import engine
from ddcore.augment import siamese
from ddcore.data.dataset import ImageSet, describe
from ddcore.errors import ConfigurationError, Interrupted
from ddcore.formulas.feature_distances import mean_embedding_distance
from ddcore.machine.compute import Compute
from ddcore.methods import build_method
from ddcore.methods.cafe import CAFE, Watch, discrimination
from ddcore.methods.shared.feature_matching import MatchingStep
from ddcore.nets import Network, build
from ddcore.runtime.context import Run
from ddcore.spec import parse
from ddcore.synthetic.set import SyntheticSet
from tests.ddcore.recorder import Recorder
from tests.ddcore.watching import watched

CPU = torch.device("cpu")
Make = Callable[..., Run]
Fill = Callable[..., Tensor]


def ready(make_run: Make, compute: Compute | None = None, **fields: Any) -> CAFE:
    outside = ("dataset", "ipc", "network", "init", "augmentation", "decoder")
    job = {key: fields.pop(key) for key in outside if key in fields}
    run = make_run(compute=compute, method={"name": "cafe", "batch_real": 16, "query_images": 8, **fields}, **job)
    method = build_method(run.spec.method, run)
    assert isinstance(method, CAFE)
    return method


def blobs_of(counts: tuple[int, ...], shape: tuple[int, int, int] = (3, 8, 8)) -> Any:
    """Random pixels, as many of each class as ``counts`` says."""
    generator = torch.Generator().manual_seed(3)

    def split(each: tuple[int, ...]) -> ImageSet:
        labels = torch.arange(len(each)).repeat_interleave(torch.tensor(each))
        pixels = torch.randint(0, 256, (len(labels), *shape), generator=generator, dtype=torch.uint8)
        return ImageSet(pixels, labels, tuple(map(str, range(len(each)))))

    return describe("blobs", split(counts), split((1,) * len(counts)))


def test_printed_distance_of_one_layer(fill: Fill) -> None:
    real, synthetic = fill(20, 3, 2, 2).unflatten(0, (10, 2)).mean(1), fill(10, 3, 2, 2, a=0.7, b=0.5)
    assert mean_embedding_distance(real, synthetic).item() == pytest.approx(116.970238, rel=1e-5)


def test_printed_loss_of_the_head(fill: Fill) -> None:
    real, centres = fill(20, 6), fill(10, 6, a=0.7, b=0.5)
    classification = discrimination(real, torch.arange(10).repeat_interleave(2), centres)
    distance = mean_embedding_distance(real.unflatten(0, (10, 2)).mean(1), centres)
    assert classification.item() == pytest.approx(64.909264, rel=1e-5)
    assert distance.item() == pytest.approx(52.967720, rel=1e-5)
    assert (distance + 0.01 * classification).item() == pytest.approx(53.616814, rel=1e-5)


def test_printed_loss_and_gradient_of_the_tiny_convnet(
    make_run: Make, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    cafe = ready(make_run, dataset=blobs_of((2,) * 10), ipc=1, network={"name": "convnet", "width": 4, "depth": 3})
    params = cafe.run.functional.new(torch.Generator().manual_seed(0))
    for j, name in enumerate(cafe.run.functional.names):
        params[name].copy_(0.3 * torch.sin(0.7 * torch.arange(params[name].numel()).double() + j).view_as(params[name]))
    real = fill(20, 3, 8, 8, a=0.37)
    monkeypatch.setattr(cafe.run, "real_images", lambda rows: real[rows])
    synthetic = SyntheticSet(fill(10, 3, 8, 8, a=0.51, b=0.2), 1, lr=0.1, momentum=0.5)
    unmoved = siamese.draw((), None, (3, 8, 8), torch.Generator())
    rows = tuple(torch.tensor([2 * c, 2 * c + 1]) for c in range(10))
    readings = cafe.backward(MatchingStep(0, synthetic, cafe.run, params, rows, (unmoved,) * 10))
    assert readings["cafe/alignment"].item() == pytest.approx(4.342973 + 0.00089652, rel=1e-5)
    assert readings["cafe/discrimination"].item() == pytest.approx(46.051689, rel=1e-5)
    assert readings["loss/base"].item() == pytest.approx(4.804386, rel=1e-5)
    assert synthetic.gradient.norm().item() == pytest.approx(0.569101, rel=1e-4)


def network_of(run: Run, params: dict[str, Tensor]) -> Network:
    network = build(run.spec.network, run.dataset.shape, len(run.dataset.classes))
    network.load_state_dict({name: value.detach().clone() for name, value in params.items()})
    return network


def published_loss(cafe: CAFE, step: MatchingStep) -> tuple[float, Tensor]:
    """One graph for everything, real images included, as the released code keeps it; with its term without slope."""
    run, config, n = cafe.run, cafe.config, step.synthetic.per_class
    network = network_of(run, step.params)
    stored = step.synthetic.stored.detach().clone().requires_grad_()
    images = step.synthetic.decoder.decode(stored, step.synthetic.ipc)
    real, own, labels = [], [], []
    for c, (rows, drawn) in enumerate(zip(step.rows, step.draws, strict=True)):
        real.append(siamese.apply(drawn, run.dataset.normalize(run.dataset.train.images[rows])))
        own.append(siamese.apply(drawn, images[c * n : (c + 1) * n]))
        labels += [c] * len(rows)
    sizes, targets = [len(rows) for rows in step.rows], torch.tensor(labels)
    of_real, of_own = network.levels(torch.cat(real)), network.levels(torch.cat(own))
    weights = [config.weight_early] * (len(of_real) - 3) + [config.weight_late] * 3
    loss = torch.zeros(())
    for weight, r, s in zip(weights, of_real, of_own, strict=True):
        means = torch.stack([part.mean(0) for part in r.split(sizes)])
        loss = loss + weight * ((means - s.unflatten(0, (-1, n)).mean(1)) ** 2).sum()
    logits = of_real[-1] @ of_own[-1].unflatten(0, (-1, n)).mean(1).T
    loss = loss + config.weight_discrimination * F.cross_entropy(logits, targets, reduction="sum")
    without_slope = F.cross_entropy(network(torch.cat(real)), targets)
    (loss + without_slope).backward()
    assert stored.grad is not None
    return loss.item(), stored.grad


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"ipc": 5, "augmentation": "auto"},
        {"ipc": 1, "decoder": "mosaic", "weight_early": 0.7, "weight_late": 0.3, "weight_discrimination": 0.5},
        {"network": {"name": "mlp", "width": 12}},
        {"dataset": blobs_of((3, 30, 9, 14, 2)), "ipc": 3},
        {"dataset": blobs_of((8,) * 12, (1, 6, 10)), "network": {"name": "convnet", "width": 6, "depth": 1}},
    ],
    ids=["cafe", "dsa", "mosaic", "mlp", "uneven", "twelve"],
)
@pytest.mark.parametrize("piece", [1, 128], ids=["pieces", "whole"])
def test_two_passes_class_by_class_equal_one_graph_for_all(make_run: Make, fields: dict[str, Any], piece: int) -> None:
    cafe = ready(make_run, Compute(CPU, piece=piece, training_piece=piece), window=3, **fields)
    synthetic = cafe.start()
    for index in range(3):
        synthetic.clear_gradient()
        step = cafe.draw(index, synthetic)
        expected, gradient = published_loss(cafe, step)
        readings = cafe.backward(step)
        assert readings["loss/base"].item() == pytest.approx(expected, rel=1e-5)
        assert torch.allclose(synthetic.gradient, gradient, rtol=1e-4, atol=1e-5 * gradient.abs().max().item())
        assert not any(value.requires_grad for value in readings.values())
        synthetic.step()
        cafe.advance(step)


def test_real_images_have_no_graph_and_synthetic_ones_that_of_few_classes(
    make_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    cafe = ready(make_run, Compute(CPU, piece=1, training_piece=1), dataset=blobs_of((20,) * 12), ipc=5)
    piece = cafe.run.functional.grad_piece
    assert piece == cafe.run.functional.piece == 16
    synthetic = cafe.start()
    step = cafe.draw(0, synthetic)
    passes: list[tuple[int, bool]] = []
    plain = cafe.run.functional.plain
    monkeypatch.setattr(
        cafe.run.functional,
        "plain",
        watched(plain, lambda tap, params, x, **_: passes.append((len(x), torch.is_grad_enabled()))),
    )
    cafe.backward(step)
    assert passes == [(15, False)] * 4 + [(16, False)] * 12 + [(15, True)] * 4


Accuracies = Iterator[float]


def published_loops(accuracies: Accuracies, classes: int, events: int, leaky: bool) -> list[str]:
    """What the released code does next, given what its queries find: lambda_1 = 0.04, lambda_2 = 0.03, ten values."""
    told: list[str] = []
    while True:
        told.append("network")
        watched: list[float] = []
        leaked = 0.0
        while True:
            told.append("images")
            leaked = next(accuracies) + (leaked / classes if leaky else 0.0)
            watched.append(leaked)
            if len(watched) == 10:
                if max(watched) - min(watched) < 0.04:
                    break
                watched.pop(0)
            inner: list[float] = []
            inner_leaked = 0.0
            while True:
                told.append("epoch")
                if len(told) > events:
                    return told[:events]
                inner_leaked = next(accuracies) + (inner_leaked / classes if leaky else 0.0)
                inner.append(inner_leaked)
                if len(inner) == 10:
                    if max(inner) - min(inner) > 0.03:
                        break
                    inner.pop(0)


def found_by_queries(drift: float, noise: float) -> Accuracies:
    """Accuracies that wander by ``drift`` from one query to the next, and are read with ``noise``."""
    generator = torch.Generator().manual_seed(1)
    accuracy = 0.5
    while True:
        wandered, read = torch.randn(2, generator=generator).tolist()
        accuracy = min(1.0, max(0.0, accuracy + drift * wandered))
        yield accuracy + noise * read


def told_by(cafe: CAFE, monkeypatch: pytest.MonkeyPatch, accuracies: Accuracies, events: int) -> list[str]:
    told: list[str] = []
    monkeypatch.setattr(cafe, "_query", lambda params: next(accuracies))
    monkeypatch.setattr(cafe.run.functional, "init_", lambda *_: told.append("network"))
    monkeypatch.setattr("ddcore.methods.cafe.train", lambda *_: told.append("epoch"))
    synthetic = cafe.start()
    told.clear()
    index = 0
    while len(told) < events:
        step = cafe.draw(index, synthetic)
        told.append("images")
        cafe.advance(step)
        index += 1
    return told[:events]


@pytest.mark.parametrize("leaky", [True, False])
@pytest.mark.parametrize(("drift", "noise"), [(0.003, 0.0), (0.02, 0.0), (0.0, 0.011)])
def test_networks_steps_and_epochs_follow_the_published_loops(
    make_run: Make, monkeypatch: pytest.MonkeyPatch, drift: float, noise: float, leaky: bool
) -> None:
    cafe = ready(make_run, leaky=leaky, max_image_steps=10_000, max_network_epochs=10_000)
    told = told_by(cafe, monkeypatch, found_by_queries(drift, noise), 1500)
    assert told == published_loops(found_by_queries(drift, noise), 3, 1500, leaky)
    if noise and not leaky:
        assert told.count("network") > 4
        assert told.count("epoch") > 12 * (told.count("images") - told.count("network")), "some train for longer"


def test_loops_that_would_not_end_are_cut(make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    flat = ready(make_run, leaky=False, max_network_epochs=12)
    told = told_by(flat, monkeypatch, iter(lambda: 0.5, None), 300)
    one = ["network", *(["images", *["epoch"] * 12] * 9), "images"]
    assert told == (one * 3)[:300]

    restless = ready(make_run, max_image_steps=15)
    alternating = (0.2 + 0.5 * (i % 2) for i in range(10**6))
    told = told_by(restless, monkeypatch, alternating, 400)
    one = ["network", *(["images", *["epoch"] * 10] * 14), "images"]
    assert told == (one * 3)[:400]


def test_the_leak_ends_training_after_one_window_and_keeps_a_network_for_one_more(
    make_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first value of a window lacks what leaks into the others: 1 / C of the accuracy, more than both limits."""
    told = told_by(ready(make_run), monkeypatch, iter(lambda: 0.5, None), 300)
    one = ["network", *(["images", *["epoch"] * 10] * 11), "images"]
    assert told == (one * 3)[:300]


def test_a_watch_compares_the_last_values_only_and_goes_on_from_saved_ones() -> None:
    watch = Watch(3, leak=0.5)
    for accuracy in (1.0, 0.0, 0.0):
        assert watch.spread is None
        watch.add(accuracy)
    assert watch.accuracies == [1.0, 0.5, 0.25]
    assert watch.spread == 0.75
    other = Watch(3, leak=0.5)
    other.restore(watch.accuracies)
    for each in (watch, other):
        each.add(0.5)
        assert each.accuracies == [0.5, 0.25, 0.625]
        assert each.spread == 0.375


def test_a_query_is_the_mean_over_classes_of_unaugmented_new_real_images(
    make_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    cafe = ready(make_run, dataset=blobs_of((3, 30, 9)), augmentation="auto", query_images=8)
    cafe.start()
    random, drawn = cafe.run.random, []
    real = cafe.run.real_images
    monkeypatch.setattr(cafe.run, "real_images", watched(real, lambda rows: drawn.append(rows)))
    found = []
    for _ in range(2):
        state = random.state()
        found.append(cafe._query(cafe._params))
        random.load_state(state)
        network, rows = (
            network_of(cafe.run, cafe._params),
            cafe.run.sampler.draw_each(8, random.host_stream("method/query")),
        )
        assert [len(of_class) for of_class in rows] == [3, 8, 8]
        shares = [(network(real(r)).argmax(1) == c).float().mean().item() for c, r in enumerate(rows)]
        assert found[-1] == pytest.approx(sum(shares) / 3)
        assert torch.equal(drawn.pop(), torch.cat(rows))
    assert 0 < found[0] < 1


def test_the_network_learns_from_the_moved_images_by_plain_sgd(make_run: Make) -> None:
    cafe = ready(make_run, lr_net=0.05, max_network_epochs=2)
    synthetic = cafe.start()
    step = cafe.draw(0, synthetic)
    start = {name: value.clone() for name, value in step.params.items()}
    cafe.backward(step)
    synthetic.step()
    assert all(torch.equal(step.params[name], value) for name, value in start.items())
    cafe.advance(step)
    network = network_of(cafe.run, start)
    weights = list(network.parameters())
    for _ in range(2):
        loss = F.cross_entropy(network(synthetic.images.detach()), synthetic.labels)
        with torch.no_grad():
            for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                weight.sub_(0.05 * gradient)
    for name, weight in network.named_parameters():
        torch.testing.assert_close(step.params[name], weight.detach(), rtol=1e-4, atol=1e-5)


def test_augmentation_is_that_of_the_job_in_matching_and_training(
    make_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes: list[Any] = []
    monkeypatch.setattr("ddcore.methods.cafe.train", lambda *args: recipes.append(args[4]))
    for augmentation, operations in (("none", set()), ("auto", {"color", "crop", "cutout", "flip", "scale", "rotate"})):
        cafe = ready(make_run, augmentation=augmentation, max_network_epochs=1)
        step = cafe.draw(0, cafe.start())
        cafe.advance(step)
        assert set(recipes[-1].strategy) == set(cafe.run.strategy) <= operations
        assert bool(cafe.run.strategy) == bool(operations)
        assert all((drawn.operation is None) == (not operations) for drawn in step.draws)
    assert {(r.lr, r.momentum, r.weight_decay, r.batch_size, r.epochs) for r in recipes} == {(0.01, 0, 0, 256, 1)}


def test_the_learning_rate_of_the_images_is_halved_by_the_number_of_finished_networks(make_run: Make) -> None:
    cafe = ready(make_run, max_image_steps=2, max_network_epochs=1, halve_at=(1, 3), lr_img=0.4)
    synthetic = cafe.start()
    rates, fresh = [], []
    for index in range(8):
        step = cafe.draw(index, synthetic)
        rates.append(synthetic.learned["images"].lr)
        fresh.append(step.fresh_network)
        cafe.advance(step)
    assert rates == [0.4, 0.4, 0.2, 0.2, 0.2, 0.2, 0.1, 0.1]
    assert fresh == [True, False] * 4, "regularisers keep their teacher as long"

    resumed = ready(make_run, max_image_steps=2, max_network_epochs=1, halve_at=(1, 3), lr_img=0.4)
    other = resumed.start()
    resumed.load_state({name: value.clone() for name, value in cafe.state().items()})
    resumed.draw(8, other)
    assert other.learned["images"].lr == 0.1


def test_a_saved_position_is_taken_up_again(make_run: Make) -> None:
    fields: dict[str, Any] = {"window": 4, "max_network_epochs": 2}
    cafe, other = ready(make_run, **fields), ready(make_run, **fields)
    synthetic = cafe.start()
    for index in range(2):
        cafe.advance(cafe.draw(index, synthetic))
    saved = {name: value.clone() for name, value in cafe.state().items()}
    fresh = other.start()
    other.load_state(saved)
    assert len(other._watch.accuracies) == 2
    assert other._watch.accuracies == cafe._watch.accuracies
    resumed = other.draw(2, fresh)
    assert all(torch.equal(resumed.params[name], value) for name, value in cafe._params.items()), "not drawn anew"


def job(**method: Any) -> dict[str, Any]:
    return {
        "dataset": "digits",
        "ipc": 1,
        "method": {"name": "cafe", "batch_real": 4, "query_images": 4, "max_network_epochs": 2, **method},
        "network": {"name": "convnet", "width": 4, "depth": 2},
        "metrics": {"every": 1, "probe": "random"},
        "evaluation": {"repeats": 1, "epochs": 1, "controls": []},
    }


def test_the_run_ends_with_the_last_network_and_is_scored(tmp_path: Path, cache: Path) -> None:
    spec = parse(job(iterations=50, networks=2, max_image_steps=3))
    whole = Recorder()
    result = engine.run(spec, tmp_path / "a" / "out", run_dir=tmp_path / "a", cache=cache, callback=whole)
    assert result.steps == 6
    assert list(whole.metrics) == list(range(7))
    assert list(whole.snapshots)[-1] == whole.checkpoints[-1] == 6
    assert result.results["accuracy"]["networks"] == 1

    again = Recorder(stop_after=6)
    with pytest.raises(Interrupted):
        engine.run(spec, tmp_path / "b" / "out", run_dir=tmp_path / "b", cache=cache, callback=again)
    rest = Recorder()
    resumed = engine.run(spec, tmp_path / "b" / "out", run_dir=tmp_path / "b", cache=cache, callback=rest)
    assert (resumed.steps, resumed.results) == (result.steps, result.results)
    assert list(rest.metrics) == []


def test_without_a_number_of_networks_every_step_is_taken(tmp_path: Path, cache: Path) -> None:
    spec = parse(job(iterations=5, networks=None, max_image_steps=1))
    assert engine.run(spec, tmp_path / "out", run_dir=tmp_path, cache=cache, callback=Recorder()).steps == 5


def test_batch_normalisation_is_refused_with_a_way_out(make_run: Make) -> None:
    run = make_run(network={"name": "convnet", "width": 8, "norm": "batch"})
    config = parse({"dataset": "digits", "ipc": 1, "method": "cafe"}).method
    with pytest.raises(ConfigurationError, match=r"takes classes one by one.*use another `norm`"):
        build_method(config, run)


def test_starting_images_are_noise_and_the_optimiser_is_the_published_one(make_run: Make) -> None:
    cafe = ready(make_run, ipc=8)
    images = cafe.start()
    assert images.stored.mean().item() == pytest.approx(0, abs=0.05)
    assert images.stored.std().item() == pytest.approx(1, abs=0.05)
    assert (images.learned["images"].lr, images.learned["images"].momentum) == (0.1, 0.5)
