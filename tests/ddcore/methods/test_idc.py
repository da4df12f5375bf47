"""IDC and DREAM against figures worked out beforehand and the published loop, written plainly in pixel units."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddcore.augment import siamese
from ddcore.augment.cutmix import cutmix
from ddcore.autograd.gradients import Gradients
from ddcore.errors import ConfigurationError
from ddcore.machine.compute import Compute
from ddcore.methods import build_method
from ddcore.methods.idc import DISTANCES, AlongRealTraining
from ddcore.methods.shared.feature_matching import MatchingStep
from ddcore.nets import Network, build
from ddcore.nets.functional import Functional
from ddcore.pretrained.teachers import teachers
from ddcore.regularizers import build_regularizer
from ddcore.runtime.context import Run
from ddcore.spec import CMIConfig, DREAMConfig, IDCConfig, MosaicConfig, SpecError, parse
from ddcore.spec.work import DataSizes, Load
from tests.ddcore.watching import watched

CPU = torch.device("cpu")
Make = Callable[..., Run]


def ready(make_run: Make, name: str = "idc", compute: Compute | None = None, **fields: Any) -> AlongRealTraining[Any]:
    job = {
        key: fields.pop(key)
        for key in ("ipc", "network", "init", "augmentation", "decoder", "regularizers")
        if key in fields
    }
    small = {"batch_real": 16, "train_images": 20, "batch_train": 10, "steps_per_network": 3}
    run = make_run(compute=compute, method={"name": name, **small, **fields}, **job)
    method = build_method(run.spec.method, run)
    assert isinstance(method, AlongRealTraining)
    return method


class OneConvolution(Network):
    """The network of the printed check: convolution, ReLU, mean over the map, classifier."""

    def __init__(self) -> None:
        super().__init__((1, 4, 4), 2)
        self.convolution = nn.Conv2d(1, 2, 3, padding=1, bias=False)
        self.classifier = nn.Linear(2, 2, bias=False)

    def block_outputs(self, x: Tensor) -> tuple[Tensor, ...]:
        return (F.relu(self.convolution(x)),)

    def pool(self, last: Tensor) -> Tensor:
        return last.mean(dim=(2, 3), keepdim=True)


@pytest.mark.parametrize(
    ("distance", "value", "norm"),
    [("mse", 3.778134905556211e-05, 9.552373670398475e-05), ("l1", 0.020425041516705322, None)],
)
def test_printed_loss_and_gradient(distance: str, value: float, norm: float | None) -> None:
    """Worked out beforehand in float64, by the published formula."""

    def s(count: int, delta: float = 0.0) -> Tensor:
        return torch.sin(1 + delta + torch.arange(count, dtype=torch.float64))

    functional = Functional(OneConvolution(), Compute(CPU))
    assert functional.convolutions == ("convolution.weight",)
    params = {"convolution.weight": 0.1 * s(18).view(2, 1, 3, 3), "classifier.weight": 0.1 * s(4, 1).view(2, 2)}
    gradients = Gradients(functional, names=functional.convolutions)
    labels = torch.zeros(2, dtype=torch.int64)
    target = gradients.class_gradients(params, s(32).view(2, 1, 4, 4), labels, [2])
    target = {name: gradient[0] for name, gradient in target.items()}
    loss, slope = gradients.distance_gradient(params, s(32, 5).view(2, 1, 4, 4), labels, target, DISTANCES[distance])
    assert loss.item() == pytest.approx(value, rel=1e-12)
    if norm is not None:
        assert slope.norm().item() == pytest.approx(norm, rel=1e-12)


class Published:
    """The released loop: pixels from 0 to 1, one optimiser step for each class, second derivatives by autograd."""

    def __init__(self, method: AlongRealTraining[Any], pixels: Tensor, lr: float) -> None:
        self.method, self.run = method, method.run
        self.pixels = pixels.clone().requires_grad_()
        self.optimizer = torch.optim.SGD([self.pixels], lr=lr, momentum=method.config.momentum)

    def decoded(self, label: int) -> Tensor:
        decoder, ipc = self.run.spec.decoder, self.run.spec.ipc
        images = self.pixels[label * ipc : (label + 1) * ipc]
        if decoder.name == "identity":
            return images
        assert isinstance(decoder, MosaicConfig)
        f, (_, height, width) = decoder.factor, self.run.dataset.shape
        tall, wide = -(-height // f), -(-width // f)
        images = F.pad(images, (0, wide * f - width, 0, tall * f - height), value=0.5)
        tiles = [images[:, :, i * tall : (i + 1) * tall, j * wide : (j + 1) * wide] for i in range(f) for j in range(f)]
        return F.interpolate(torch.cat(tiles), size=(height, width), mode="bilinear", align_corners=False)

    def sweep(self, step: MatchingStep, network: Network) -> float:
        weights = [weight for weight in network.parameters() if weight.ndim == 4]
        total = 0.0
        for label, (rows, drawn) in enumerate(zip(step.rows, step.draws, strict=True)):
            real = self.run.dataset.normalize(self.run.dataset.train.images[rows])
            images = self.decoded(label)
            if step.picks is not None:
                images = images[step.picks[label]]
            images = (images - self.level("mean")) / self.level("std")
            both = siamese.apply(drawn, torch.cat([real, images]))
            on_real = F.cross_entropy(network(both[: len(real)]), torch.full((len(real),), label))
            on_own = F.cross_entropy(network(both[len(real) :]), torch.full((len(images),), label))
            target = [g.detach() for g in torch.autograd.grad(on_real, weights, retain_graph=True)]
            own = torch.autograd.grad(on_own, weights, create_graph=True)
            apart = [g - r for g, r in zip(own, target, strict=True)]
            squared = self.method.config.distance == "mse"
            loss = sum(((d**2).sum() if squared else d.abs().sum() for d in apart), torch.zeros(()))
            self.optimizer.zero_grad(set_to_none=False)
            loss.backward()
            self.optimizer.step()
            total += loss.item()
        return total

    def level(self, name: str) -> Tensor:
        return torch.tensor(getattr(self.run.dataset, name)).view(1, -1, 1, 1)


def network_of(run: Run, params: dict[str, Tensor]) -> Network:
    network = build(run.spec.network, run.dataset.shape, len(run.dataset.classes))
    network.load_state_dict({name: value.detach().clone() for name, value in params.items()})
    return network


@pytest.mark.parametrize(
    ("decoder", "fields"),
    [
        ("identity", {"distance": "mse", "lr_img": 200.0}),
        ("mosaic", {"distance": "l1", "lr_img": 2.0, "momentum": 0.9}),
        ({"name": "mosaic", "factor": 3}, {"batch_syn": 5, "lr_img": 200.0}),
    ],
    ids=["identity", "mosaic", "padded"],
)
def test_sweeps_equal_the_published_loop(make_run: Make, decoder: Any, fields: dict[str, Any]) -> None:
    """Over two networks, with the clamp between them."""
    method = ready(make_run, decoder=decoder, **fields)
    run, synthetic = method.run, method.start()
    lr = method.config.lr_img * 2 / 10 * (8 / 32) ** 2
    reference = Published(method, run.dataset.denormalize(synthetic.stored.detach()), lr)
    clamped = 0
    for index in range(5):
        if index % 3 == 0:
            clamped += int(((reference.pixels < 0) | (reference.pixels > 1)).sum())
            reference.pixels.data.clamp_(0, 1)
        synthetic.begin_step()
        step = method.draw(index, synthetic)
        assert (step.picks is not None) == ("batch_syn" in fields)
        expected = reference.sweep(step, network_of(run, step.params))
        assert method.backward(step)["loss/base"].item() == pytest.approx(expected, rel=1e-3)
        synthetic.step()
        pixels = run.dataset.denormalize(synthetic.stored.detach())
        torch.testing.assert_close(pixels, reference.pixels.detach(), rtol=1e-3, atol=2e-4)
        method.advance(step)
    assert clamped
    start = run.dataset.denormalize(method.run.starting_images())
    assert (reference.pixels.detach() - start).abs().mean() > 0.01


def test_the_network_is_trained_on_mixed_augmented_real_images(make_run: Make) -> None:
    method = ready(make_run, "idc", augmentation="color_crop_cutout", train_images=25, cutmix=0.8)
    run, synthetic = method.run, method.start()
    step = method.draw(0, synthetic)
    network, state = network_of(run, step.params).train(), run.random.state()
    method.advance(step)

    run.random.load_state(state)
    generator = run.random.host_stream("method/train")
    sgd = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    rows = run.sampler.draw_mixed(30, generator)  # 25 rounded up to whole batches of 10
    for batch in rows.split(10):
        images = run.dataset.normalize(run.dataset.train.images[batch])
        drawn = siamese.draw_stacked(("color", "crop"), 10, run.dataset.shape, generator)
        assert drawn.operations == ("color", "crop")
        images, labels = cutmix(
            siamese.apply(drawn, images), run.dataset.train.labels[batch], 3, generator, probability=0.8
        )
        sgd.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        sgd.step()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(step.params[name], value, rtol=1e-4, atol=1e-5)


def test_a_network_serves_its_steps_and_then_the_images_are_clamped(
    make_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = ready(make_run, steps_per_network=2, pretrain_epochs=1)
    trained: list[int] = []
    monkeypatch.setattr(method, "_train", watched(method._train, lambda count: trained.append(count)))
    synthetic = method.start()
    weights = []
    for index in range(4):
        step = method.draw(index, synthetic)
        weights.append(step.params["classifier.weight"].clone())
        with torch.no_grad():
            synthetic.stored[0, 0, 0, 0] = 40.0
        method.advance(step)
        clamped = synthetic.stored[0, 0, 0, 0].item() < 40
        assert clamped == (index % 2 == 1)
    # Each network: one epoch on all 72 real images before, and one pass after the first of its two steps.
    assert trained == [72, 20, 72, 20]
    assert len({tuple(w.flatten().tolist()) for w in weights}) == 4
    pixels = method.run.dataset.denormalize(synthetic.stored.detach())
    assert -1e-6 < pixels.min() < pixels.max() < 1 + 1e-6


def test_the_start_is_made_of_valid_pixels_and_its_rate_follows_size_and_number(make_run: Make) -> None:
    method = ready(make_run, ipc=5, init="noise", decoder="identity", lr_img=0.3, lr_side=16)
    synthetic, run = method.start(), method.run
    pixels = run.dataset.denormalize(synthetic.stored.detach())
    assert (pixels.min().item(), pixels.max().item()) == pytest.approx((0, 1), abs=1e-6)
    rate = synthetic.learned["images"].lr
    assert isinstance(rate, Tensor)
    expected = [0.3 * 5 / 10 * (8 / 16) ** 2 / s**2 for s in run.dataset.std]
    assert rate.flatten().tolist() == pytest.approx(expected)


def test_stacked_draws_are_shared_by_a_class(make_run: Make) -> None:
    method = ready(make_run, augmentation="color_crop_cutout_flip_rotate")
    step = method.draw(0, method.start())
    for drawn in step.draws:
        first, second, _, last = drawn.operations
        assert (first, second, last) == ("flip", "color", "cutout")
        assert all(len(p) == 1 for p in drawn.parameters)
    assert len({drawn.parameters[0].item() for drawn in step.draws}) == len(step.draws)


def test_batch_norm_takes_the_statistics_of_each_batch_and_keeps_its_buffers(make_run: Make) -> None:
    method = ready(make_run, network={"name": "convnet", "width": 8, "norm": "batch"}, decoder="identity", lr_img=200.0)
    run, synthetic = method.run, method.start()
    step = method.draw(0, synthetic)
    before = step.params["blocks.0.1.running_mean"].clone()
    reference = Published(method, run.dataset.denormalize(synthetic.stored.detach()), 1.0)
    expected = reference.sweep(step, network_of(run, step.params).train())
    assert method.backward(step)["loss/base"].item() == pytest.approx(expected, rel=1e-3)
    assert torch.equal(step.params["blocks.0.1.running_mean"], before)


def test_cmi_beside_idc_weighs_the_number_of_classes_times_the_published_weight(make_run: Make) -> None:
    """The released code adds weight x (mean KL of one class) to the loss of each class."""
    teacher = {"network": {"name": "convnet", "width": 4}, "epochs": 1}
    terms = [{"name": "cmi", "weight": 300.0, "teacher": teacher}]
    method = ready(make_run, ipc=3, decoder="identity", regularizers=terms)
    run, synthetic = method.run, method.start()
    (config,) = run.spec.regularizers
    assert isinstance(config, CMIConfig)
    cmi = build_regularizer(config, run)
    cmi.prepare()
    step = method.draw(0, synthetic)
    cmi.backward(step, 3 * 100.0)
    pool = teachers(config.teacher, run)
    images = synthetic.images.detach().clone().requires_grad_()
    loss = torch.zeros(())
    for of_class in images.split(3):
        p = pool.functional.features(pool[0], of_class, training=False).softmax(1)
        loss = loss + 100.0 * (p * (p / p.mean(0)).log()).sum(1).mean()
    (gradient,) = torch.autograd.grad(loss, images)
    assert gradient.norm() > 0
    torch.testing.assert_close(synthetic.gradient, gradient, rtol=1e-3, atol=1e-4 * float(gradient.abs().max()))


def test_a_saved_network_goes_on_with_its_momentum(make_run: Make) -> None:
    method, other = ready(make_run), ready(make_run)
    synthetic = method.start()
    other.start()
    method.advance(method.draw(0, synthetic))
    saved = {name: tensor.clone() for name, tensor in method.state().items()}
    assert any(name.startswith("velocity/") and tensor.any() for name, tensor in saved.items())
    other.load_state(saved)
    assert all(torch.equal(tensor, saved[name]) for name, tensor in other.state().items())


def test_networks_without_convolutions_are_refused(make_run: Make) -> None:
    job = {"dataset": "digits", "ipc": 1, "method": "dream", "network": "mlp"}
    with pytest.raises(
        SpecError, match="`dream` matches the gradients of convolutions, and the network 'mlp' has none"
    ):
        parse(job)
    run = make_run(method="idc")
    run.functional.convolutions = ()
    with pytest.raises(ConfigurationError, match="`idc` matches the gradients of convolutions"):
        build_method(run.spec.method, run)


def test_defaults_are_those_of_the_papers() -> None:
    idc, dream = (parse({"dataset": "cifar10", "ipc": 10, "method": name}) for name in ("idc", "dream"))
    assert (idc.decoder.name, idc.augmentation, idc.sampler.name, idc.init) == (
        "mosaic", "color_crop_cutout", "random", "real",
    )  # fmt: skip
    assert (dream.decoder, dream.augmentation) == (idc.decoder, idc.augmentation)
    assert (dream.sampler.name, dream.init) == ("representative", "k_means")
    assert isinstance(idc.method, IDCConfig)
    assert isinstance(dream.method, DREAMConfig)
    assert (idc.method.batch_real, dream.method.batch_real) == (64, 128)
    assert parse({"dataset": "cifar10", "ipc": 10, "method": "idc", "decoder": "identity"}).images_per_class == 10
    # 10 classes of 64 real and 40 decoded images, and some 2000 images to train on.
    cifar10 = DataSizes((3, 32, 32), (5000,) * 10, 10_000)
    for images, matched in ((40, 40), (4000, 128)):
        # 99 of 100 sweeps are followed by training, on 2000 images rounded up to batches of 64.
        load = Load(cifar10, 100, images, images)
        assert math.isclose(idc.method.passes(load), 100 * 10 * (3 * 64 + 9 * matched) + 99 * 3 * 2048)
