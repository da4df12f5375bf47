"""IDM and BACON against figures worked out beforehand and against the published loop, written plainly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ddcore.augment import siamese
from ddcore.errors import ConfigurationError
from ddcore.formulas.feature_distances import Moments, mean_embedding_distance, printed_risk, released_risk
from ddcore.machine.compute import Compute
from ddcore.methods import build_method
from ddcore.methods.idm import QueueMatching
from ddcore.nets import Network, build
from ddcore.nets.functional import Functional
from ddcore.runtime.context import Run
from ddcore.spec import ConvNetConfig, DMConfig, IDMConfig, SpecError, parse
from ddcore.spec.work import DataSizes, Load
from tests.ddcore.watching import watched

CPU = torch.device("cpu")
Make = Callable[..., Run]


def ready(make_run: Make, name: str = "idm", **fields: Any) -> QueueMatching[Any]:
    job = {key: fields.pop(key) for key in ("ipc", "network", "compute", "decoder", "augmentation") if key in fields}
    small = {"name": name, "batch_real": 12, "batch_train": 9, "network_steps": 2, "queue_size": 4, **fields}
    run = make_run(method=small, **job)
    method = build_method(run.spec.method, run)
    assert isinstance(method, QueueMatching)
    return method


def printed_convnet(fill: Callable[..., Tensor]) -> tuple[Functional, dict[str, Tensor]]:
    """A tiny ConvNet whose parameter tensor j is 0.3 sin(0.7 k + j)."""
    functional = Functional(build(ConvNetConfig(depth=2, width=4), (3, 8, 8), 2), Compute(CPU))
    params = functional.new(torch.Generator().manual_seed(0))
    for j, name in enumerate(functional.names):
        params[name].copy_(0.3 * torch.sin(0.7 * torch.arange(params[name].numel()).double() + j).view_as(params[name]))
    return functional, params


def test_printed_risk_and_gradient_of_the_tiny_convnet(fill: Callable[..., Tensor]) -> None:
    functional, params = printed_convnet(fill)
    synthetic = fill(2, 3, 8, 8, a=0.51, b=0.2).requires_grad_()
    real = functional.features(params, fill(3, 3, 8, 8, a=0.37))
    risk = released_risk(Moments.of(real), functional.features(params, synthetic).mean(0)).total()
    risk.backward()
    assert risk.item() == pytest.approx(15.374670, rel=1e-5)
    assert synthetic.grad is not None
    assert synthetic.grad.norm().item() == pytest.approx(0.241281, rel=1e-4)


def test_printed_loss_of_a_class(make_run: Make, fill: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    """The features, logits and accuracy of the printed figures, put in the place of a network's."""
    idm = ready(make_run)
    step = idm.draw(0, idm.start())
    idm._matched.meter.copy_(torch.tensor([4, 10]))
    step.__dict__["real_moments"] = Moments(*(moment[None] for moment in Moments.of(fill(6, 4))))
    features = fill(1, 3, 4, a=0.7, b=0.5) + 0 * step.synthetic.stored.sum()
    entropy = F.cross_entropy(fill(4, 3), torch.ones(4).long())
    monkeypatch.setattr(type(step), "class_groups", lambda self: iter([range(1)]))
    monkeypatch.setattr(type(step), "synthetic_features", lambda self, classes: features)
    monkeypatch.setattr(idm, "_cross_entropy", lambda *args: entropy)
    readings = idm.backward(step)
    assert readings["queue/accuracy"].item() == 40
    assert readings["loss/cross_entropy"].item() == pytest.approx(1.209242, rel=1e-5)
    assert readings["loss/base"].item() == pytest.approx(24.331465, rel=1e-5)


class PublishedLoop:
    """The released loop on modules: class after class, one optimiser over all images, and a list of networks.

    What is random is told to it: the step's batches and augmentations, and the numbers of the networks.
    """

    def __init__(self, method: QueueMatching[Any], images: Tensor) -> None:
        self.method, self.run = method, method.run
        self.images = images.clone().requires_grad_()
        self.optimizer = torch.optim.SGD([self.images], lr=0.2, momentum=0.5)
        self.networks: list[tuple[Network, torch.optim.SGD]] = []
        self.counts: list[list[int]] = []

    def push(self, weights: dict[str, Tensor]) -> None:
        if len(self.networks) == self.method.config.queue_size:
            self.networks.pop(0)
            self.counts.pop(0)
        network = build(self.run.spec.network, self.run.dataset.shape, 3)
        network.load_state_dict({name: value.clone() for name, value in weights.items()})
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
        self.networks.append((network, optimizer))
        self.counts.append([0, 0])

    def decode(self, images: Tensor) -> Tensor:
        if self.run.spec.decoder.name == "identity":
            return images
        h, w = images.shape[2] // 2, images.shape[3] // 2
        quarters = [images[:, :, i * h : (i + 1) * h, j * w : (j + 1) * w] for i in (0, 1) for j in (0, 1)]
        return torch.cat([F.interpolate(q, scale_factor=2, mode="bilinear", align_corners=False) for q in quarters])

    def distance(self, real: Tensor, synthetic: Tensor) -> Tensor:
        config = self.method.config
        if config.comparison == "mean":
            return mean_embedding_distance(real.mean(0), synthetic.mean(0))
        if config.comparison == "bacon":
            return released_risk(Moments.of(real), synthetic.mean(0)).total()
        return printed_risk(real, synthetic).total()

    def match(self, number: int, rows: tuple[Tensor, ...], draws: tuple[siamese.Draw, ...]) -> float:
        network, ipc = self.networks[number][0].eval(), self.run.spec.ipc
        correct, seen = self.counts[number]
        total = 0.0
        for c in range(3):
            real = siamese.apply(draws[c], self.run.dataset.normalize(self.run.dataset.train.images[rows[c]]))
            own = siamese.apply(draws[c], self.decode(self.images[c * ipc : (c + 1) * ipc]))
            loss = self.distance(network.features(real).detach(), network.features(own))
            percent = 100 * correct / seen if seen else 0.0
            loss = loss + 0.5 * percent * F.cross_entropy(network(own), torch.full((len(own),), c))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.item()
        return total

    def train(self, number: int, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
        network, optimizer = self.networks[number]
        network.train()
        for images, labels in batches:
            logits = network(images)
            optimizer.zero_grad()
            F.cross_entropy(logits, labels).backward()
            optimizer.step()
            self.counts[number][0] += int((logits.argmax(1) == labels).sum())
            self.counts[number][1] += len(labels)


def follow(method: QueueMatching[Any], steps: int) -> None:
    """Take steps of a method and of the published loop side by side, and compare losses and images."""
    synthetic = method.start()
    start, random = synthetic.stored.detach().clone(), method.run.random
    loop = PublishedLoop(method, start)
    for queued in method._queue._networks:
        loop.push(queued.params)
    for index in range(steps):
        synthetic.begin_step()
        step = method.draw(index, synthetic)
        synthetic.clear_gradient()
        if index % method.config.grow_every == 0:
            loop.push(method._queue._networks[-1].params)
        if index and index % method.config.eval_interval == 0:
            loop.counts = [[0, 0] for _ in loop.counts]
        number = [id(queued) for queued in method._queue._networks].index(id(method._matched))
        ours = method.backward(step)["loss/base"].item()
        assert ours == pytest.approx(loop.match(number, step.rows, step.draws), rel=1e-4)
        synthetic.step()

        before = random.state()
        method.advance(step)
        after = random.state()
        random.load_state(before)
        numbers = torch.randperm(len(method._queue), generator=random.host_stream("method/train"))
        for k in numbers[: method.config.networks_trained].tolist():
            loop.train(k, method._real_batches())
        assert torch.equal(random.state()["host/method/train"], after["host/method/train"])
    travelled = (loop.images.detach() - start).abs().max().item()
    assert travelled > 0.005
    torch.testing.assert_close(synthetic.stored.detach(), loop.images.detach(), rtol=1e-5, atol=1e-5 * travelled)
    for queued, (network, _), counts in zip(method._queue._networks, loop.networks, loop.counts, strict=True):
        assert queued.meter.tolist() == counts
        for name, value in network.state_dict().items():
            torch.testing.assert_close(queued.params[name], value, rtol=1e-4, atol=1e-6)


SMOOTH = {"name": "convnet", "width": 8, "activation": "swish"}
"""A network without kinks, at which rounding alone would turn a gradient."""


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("idm", {}),
        ("idm", {"distance": "bacon"}),
        ("idm", {"distance": "bacon_paper"}),
        ("bacon", {}),
        ("bacon", {"variant": "paper", "trade_off": 0.8}),
        ("idm", {"decoder": "identity"}),
        ("idm", {"network": {**SMOOTH, "norm": "batch"}}),
        ("idm", {"compute": Compute(CPU, piece=1, training_piece=1, graph=0)}),
    ],
    ids=["idm", "idm-bacon", "idm-paper", "bacon", "bacon-paper", "identity", "batch-norm", "pieces"],
)
def test_a_run_follows_the_published_loop(make_run: Make, name: str, options: dict[str, Any]) -> None:
    follow(ready(make_run, name, **{"network": SMOOTH, "grow_every": 2, "eval_interval": 3, **options}), steps=5)


def test_one_synthetic_pass_serves_both_terms_and_the_real_ones_build_no_graph(
    make_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    idm = ready(make_run)
    step = idm.draw(0, idm.start())
    passes: list[tuple[int, bool]] = []
    features = idm.run.functional.features

    def counted(params: dict[str, Tensor], x: Tensor, **mode: bool) -> Tensor:
        output = features(params, x, **mode)
        passes.append((len(x), output.requires_grad))
        return output

    monkeypatch.setattr(idm.run.functional, "features", counted)
    monkeypatch.setattr(idm.run.functional, "logits", lambda *args, **mode: pytest.fail("a second pass"))
    idm.backward(step)
    assert sorted(passes) == [(24, True), (36, False)]
    assert all(not value.requires_grad for value in step.params.values())


def test_accuracies_start_over_after_every_interval_whatever_is_evaluated(make_run: Make) -> None:
    idm = ready(make_run, eval_interval=2, grow_every=100, networks_trained=4)
    synthetic, seen = idm.start(), []
    for index in range(5):
        step = idm.draw(index, synthetic)
        seen.append(int(idm._matched.meter[1]))
        idm.advance(step)
    assert seen == [0, 18, 0, 18, 0]


def test_the_queue_grows_to_its_size_and_only_some_networks_are_trained(make_run: Make) -> None:
    idm = ready(make_run, grow_every=2, networks_trained=2, queue_size=5)
    synthetic, lengths = idm.start(), []
    for index in range(6):
        step = idm.draw(index, synthetic)
        lengths.append(len(idm._queue))
        before = [int(queued.meter[1]) for queued in idm._queue._networks]
        idm.advance(step)
        gained = [int(q.meter[1]) - b for q, b in zip(idm._queue._networks, before, strict=True)]
        assert sorted(gained) == [0] * (len(gained) - 2) + [18, 18]
    assert lengths == [4, 4, 5, 5, 5, 5]


def test_a_network_without_accuracy_adds_no_cross_entropy(make_run: Make) -> None:
    one, other = (ready(make_run, ce_weight=weight) for weight in (0.0, 100.0))
    gradients = []
    for method in (one, other):
        synthetic = method.start()
        method.backward(method.draw(0, synthetic))
        gradients.append(synthetic.gradient.clone())
    assert torch.equal(*gradients)


def test_whole_classes_are_matched_a_group_at_a_time(make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    idm = ready(make_run, batch_real=5000, ipc=1, compute=Compute(CPU, graph=1))
    step, sizes = idm.draw(0, idm.start()), []
    assert [len(rows) for rows in step.rows] == [24] * 3
    fetch = idm.run.real_images
    monkeypatch.setattr(idm.run, "real_images", watched(fetch, lambda rows: sizes.append(len(rows))))
    idm.backward(step)
    assert sizes == [24] * 3


def test_images_start_as_mosaics_and_step_class_by_class(make_run: Make) -> None:
    synthetic = ready(make_run).start()
    assert (len(synthetic.stored), len(synthetic), synthetic.per_class) == (6, 24, 8)
    rows = synthetic.learned["images"]
    assert (type(rows).__name__, rows.lr, rows.momentum) == ("LearnedByClass", 0.2, 0.5)


def test_defaults_are_those_of_ten_images_a_class_of_cifar10() -> None:
    assert IDMConfig().model_dump() == {
        "name": "idm", "iterations": 20_000, "lr_img": 0.2, "momentum": 0.5, "batch_real": 256, "distance": "mean",
        "ce_weight": 0.5, "queue_start": 3, "queue_size": 100, "grow_every": 30, "networks_trained": 2,
        "network_steps": 10, "batch_train": 256, "lr_net": 0.01, "momentum_net": 0.9, "weight_decay": 5e-4,
        "eval_interval": 100,
    }  # fmt: skip
    spec = parse({"dataset": "cifar10", "ipc": 10, "method": "bacon"})
    assert (spec.decoder.name, spec.images_per_class) == ("mosaic", 40)
    assert parse({"dataset": "cifar10", "ipc": 10, "method": "idm", "decoder": "identity"}).images_per_class == 10


def test_work_of_a_step_counts_the_training_of_networks() -> None:
    cifar10 = DataSizes((3, 32, 32), (5000,) * 10, 10_000)
    assert IDMConfig().image_passes(Load(cifar10, 1, 40, 40)) == 10 * (256 + 3 * 40) + 3 * 2 * 10 * 256
    assert DMConfig().image_passes(Load(cifar10, 1, 10, 10)) == 10 * (256 + 3 * 10)


@pytest.mark.parametrize(
    ("method", "detail"),
    [
        ({"name": "idm", "queue_start": 5, "queue_size": 4}, "/method/queue_start: .*is 5, but .*allows 4"),
        ({"name": "bacon", "batch_real": 1}, "/method/batch_real: `bacon` measures the spread .* is 1; use 2 or more"),
        ({"name": "idm", "batch_real": 1, "distance": "bacon"}, "/method/batch_real: `idm` measures the spread"),
        ({"name": "dm", "batch_real": 1, "distance": "bacon_paper"}, "/method/batch_real: `dm` measures the spread"),
    ],
)
def test_what_cannot_work_is_refused_before_it_is_queued(method: dict[str, Any], detail: str) -> None:
    with pytest.raises(SpecError, match=detail):
        parse({"dataset": "digits", "ipc": 2, "method": method})


@pytest.mark.parametrize("name", ["bacon", "dm"])
def test_a_class_of_one_image_has_no_spread(make_run: Make, name: str) -> None:
    options = {"variant": "paper"} if name == "bacon" else {"distance": "bacon"}
    run = make_run(method={"name": name, **options})
    run.sampler.counts = (24, 1, 24)
    with pytest.raises(ConfigurationError, match="class 'class 1'"):
        build_method(run.spec.method, run)
