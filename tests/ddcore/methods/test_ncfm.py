"""NCFM against the published loop, written plainly in pixel units, with the framework's optimisers and scheduler."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from ddcore import engine
from ddcore.augment import siamese
from ddcore.errors import ConfigurationError, DivergedError, Interrupted
from ddcore.methods import build_method
from ddcore.methods.ncfm import NCFM, Plateau
from ddcore.methods.shared.feature_matching import MatchingStep
from ddcore.methods.shared.frequencies import NetworkFrequencies
from ddcore.nets import Network, build
from ddcore.runtime.context import Run
from ddcore.spec import NCFMConfig, SpecError, parse
from tests.ddcore.recorder import Recorder

Make = Callable[..., Run]


def ready(make_run: Make, **fields: Any) -> NCFM:
    job = {key: fields.pop(key) for key in ("ipc", "network", "decoder", "augmentation", "init") if key in fields}
    small = {"batch_real": 12, "frequencies": 8, "pairs": {"count": 2, "epochs": 1}}
    run = make_run(method={"name": "ncfm", **small, **fields}, **job)
    method = build_method(run.spec.method, run)
    assert isinstance(method, NCFM)
    method.prepare()
    return method


def copied(generator: Generator) -> Generator:
    """Another generator in the same state."""
    return Generator().set_state(generator.get_state())


class Published:
    """The released loop with its intended ascent: pixels from 0 to 1, and one optimiser for all classes.

    Networks, real images and the augmentation of a matching step are told to it; noise and the augmentations of the
    calibration it draws itself. It computes in double precision: the loss is a root of differences that nearly vanish,
    of which single precision loses four digits on some processors.
    """

    def __init__(self, method: NCFM, pixels: Tensor) -> None:
        self.method, self.run, self.config = method, method.run, method.config
        self.pixels = pixels.double().requires_grad_()
        self.optimizer: torch.optim.Optimizer = (
            torch.optim.AdamW([self.pixels], lr=self.config.lr_img, weight_decay=self.config.weight_decay)
            if self.config.optimizer == "adamw"
            else torch.optim.SGD([self.pixels], lr=self.config.lr_img, momentum=self.config.momentum)
        )
        patience = 10**9 if self.config.patience is None else self.config.patience
        self.scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(self.optimizer, factor=0.5, patience=patience)
        self.noise = copied(self.run.random.stream("method/frequencies"))
        self.calibrating = copied(self.run.random.host_stream("method/calibration"))
        self.sampler, self.ascent = self._sampler()

    def _sampler(self) -> tuple[nn.Module, torch.optim.Optimizer | None]:
        ours = self.method._frequencies
        if not isinstance(ours, NetworkFrequencies):
            return nn.Identity(), None
        dimension = len(ours.weights[1])
        layers: list[nn.Module] = []
        for activation in (nn.LeakyReLU(0.2), nn.LeakyReLU(0.2), nn.Tanh()):
            layers += [nn.Linear(dimension, dimension), nn.BatchNorm1d(dimension), activation]
        network = nn.Sequential(*layers)
        rate, momentum = self.config.lr_frequencies, self.config.momentum_frequencies
        network.double()
        return network, torch.optim.SGD(network.parameters(), lr=rate, momentum=momentum, maximize=True)

    def take_over(self) -> None:
        """Begin with our weights of the frequencies, as far as there are any."""
        ours = self.method._frequencies
        if isinstance(ours, NetworkFrequencies):
            for theirs, weight in zip(self.sampler.parameters(), ours.weights, strict=True):
                theirs.data.copy_(weight.detach())

    def check_frequencies(self) -> None:
        """Compare the weights of the frequencies after a step."""
        ours = self.method._frequencies
        if isinstance(ours, NetworkFrequencies):
            for theirs, weight in zip(self.sampler.parameters(), ours.weights, strict=True):
                torch.testing.assert_close(weight.detach().double(), theirs.data, rtol=1e-3, atol=1e-3)

    def level(self, name: str) -> Tensor:
        return torch.tensor(getattr(self.run.dataset, name)).view(1, -1, 1, 1)

    def normalised(self, label: int) -> Tensor:
        """Images decoded from those of a class."""
        ipc = self.run.spec.ipc
        images = self.pixels[label * ipc : (label + 1) * ipc]
        if self.run.spec.decoder.name == "mosaic":
            half = images.shape[2] // 2
            tiles = [images[:, :, i : i + half, j : j + half] for i in (0, half) for j in (0, half)]
            images = F.interpolate(torch.cat(tiles), scale_factor=2, mode="bilinear", align_corners=False)
        return (images - self.level("mean")) / self.level("std")

    def descend(self, loss: Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward(retain_graph=True)
        self.optimizer.step()

    def match(self, step: MatchingStep, network: Network) -> float:
        total = 0.0
        for label, (rows, drawn) in enumerate(zip(step.rows, step.draws, strict=True)):
            real = self.run.dataset.normalize(self.run.dataset.train.images[rows]).double()
            both = siamese.apply(drawn, torch.cat([real, self.normalised(label)]))
            features = F.normalize(network.features(both))
            features = torch.cat([features[: len(real)].detach(), features[len(real) :]])
            noise = torch.randn(self.config.frequencies, features.shape[1], generator=self.noise).double()
            turned = torch.exp(1j * (features @ self.sampler(noise).T))
            r, s = turned[: len(real)].mean(0), turned[len(real) :].mean(0)
            phases = (2 * (r.abs() * s.abs() - (r * s.conj()).real)).clamp(min=1e-12)
            a = self.config.amplitude
            loss = 300 * (a * (r.abs() - s.abs()) ** 2 + (1 - a) * phases).sqrt().mean()
            climbing = list(self.sampler.parameters())
            upwards = torch.autograd.grad(loss, climbing, retain_graph=True) if climbing else ()
            self.descend(loss)
            for weight, slope in zip(climbing, upwards, strict=True):
                weight.grad = slope
            if self.ascent is not None:
                self.ascent.step()
            total += loss.item()
        return total

    def calibrate(self, network: Network) -> float:
        total = 0.0
        shape, strategy = self.run.dataset.shape, self.run.strategy
        for label in range(3):
            drawn = siamese.draw_stacked(strategy, None, shape, self.calibrating)
            logits = network(siamese.apply(drawn, self.normalised(label)))
            loss = F.cross_entropy(logits, torch.full((len(logits),), label))
            self.descend(self.config.calibration * loss)
            total += loss.item()
        return total


def network_of(run: Run, params: dict[str, Tensor]) -> Network:
    network = build(run.spec.network, run.dataset.shape, 3)
    network.load_state_dict({name: value.clone() for name, value in params.items()})
    return network.double()


def follow(method: NCFM, steps: int) -> list[float]:
    """Take steps of a method and of the published loop side by side; the rates of the images, step by step."""
    run, synthetic = method.run, method.start()
    reference = Published(method, run.dataset.denormalize(synthetic.stored.detach()))
    rates = []
    for index in range(steps):
        # Adam moves a pixel by its whole rate also where its slope is nothing but rounding, this way or that way by the
        # processor. So each step begins with our pixels, and with our network of frequencies.
        reference.pixels.data.copy_(run.dataset.denormalize(synthetic.stored.detach())).clamp_(0, 1)
        reference.take_over()
        method.enter(index, synthetic)
        synthetic.begin_step()
        step = method.draw(index, synthetic)
        rates.append(reference.optimizer.param_groups[0]["lr"])
        matched, final = network_of(run, step.params), network_of(run, method._trained)
        readings = method.backward(step)
        synthetic.step()
        readings |= method.advance(step)
        matching = reference.match(step, matched)
        misfit = reference.calibrate(final) if method.config.calibration else 0.0
        assert readings["loss/base"].item() == pytest.approx(matching, rel=1e-4)
        assert readings.get("loss/cross_entropy", torch.zeros(())).item() == pytest.approx(misfit, rel=1e-4)
        assert readings["lr_img"].item() == pytest.approx(rates[-1])
        ours = run.dataset.denormalize(synthetic.stored.detach())
        theirs = reference.pixels.detach().clamp(0, 1)
        # Where the slope is no more than rounding, AdamW follows its sign all the same: a few pixels may differ.
        assert (ours - theirs).abs().quantile(0.99) < 0.02 * method.config.lr_img
        assert (ours - theirs).abs().max() < 12 * method.config.lr_img
        reference.check_frequencies()
        reference.scheduler.step((matching + method.config.calibration * misfit) / 3)
    return rates


@pytest.mark.parametrize(
    "fields",
    [
        {"augmentation": "none", "decoder": "identity"},
        {"frequency_sampler": "network", "lr_frequencies": 0.05, "frequencies": 6},
        {"optimizer": "sgd", "lr_img": 0.002, "amplitude": 0.3},
        {"calibration": 0, "weight_decay": 0.5},
    ],
    ids=["plain", "network", "sgd", "uncalibrated"],
)
def test_steps_equal_the_published_loop(make_run: Make, fields: dict[str, Any]) -> None:
    """With mosaics under stacked augmentation unless something else is said."""
    follow(ready(make_run, **fields), 3)


def test_the_rate_falls_where_the_loss_no_longer_does(make_run: Make) -> None:
    """Without patience that is at the first larger loss, of whatever network and images."""
    rates = follow(ready(make_run, patience=0, lr_img=0.004), 6)
    assert rates[0] == 0.004
    assert rates[-1] < 0.004


def test_the_plateau_is_that_of_the_framework() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=2)
    ours = Plateau(2)
    losses = (5 + 3 * torch.sin(torch.arange(60.0))) * 0.999 ** torch.arange(60.0)
    for index, loss in enumerate(losses.tolist()):
        theirs.step(loss)
        assert ours.see(loss) == optimizer.param_groups[0]["lr"]
        if index == 20:
            state, ours = ours.state(), Plateau(2)
            ours.restore(state)
    assert 0 < ours.factor < 0.1
    patient = Plateau(None)
    assert {patient.see(1.0) for _ in range(1000)} == {1.0}


def test_the_matched_network_lies_between_the_ends_of_a_pair(make_run: Make) -> None:
    method = ready(make_run)
    synthetic = method.start()
    shares, used = set(), set()
    for index in range(12):
        step = method.draw(index, synthetic)
        pair = next(pair for pair in map(method._pairs.__getitem__, range(2)) if pair.final is method._trained)
        used.add(id(pair.final))
        names = method.run.functional.names
        ends = [torch.cat([end[name].flatten() for name in names]) for end in pair]
        here = torch.cat([step.params[name].flatten() for name in names])
        way = ends[1] - ends[0]
        share = float((here - ends[0]) @ way / (way @ way))
        torch.testing.assert_close(here, ends[0] + share * way, rtol=1e-4, atol=1e-6)
        shares.add(round(share, 6))
    assert len(used) == 2
    assert len(shares) == 12
    assert min(shares) >= 0
    assert 0.5 < max(shares) <= 1


def test_images_stay_pixels(make_run: Make) -> None:
    method = ready(make_run, lr_img=0.5)
    synthetic = method.start()
    for index in range(2):
        method.enter(index, synthetic)
        synthetic.begin_step()
        step = method.draw(index, synthetic)
        method.backward(step)
        synthetic.step()
        method.advance(step)
        pixels = method.run.dataset.denormalize(synthetic.stored.detach())
        assert pixels.min() > -1e-6
        assert pixels.max() < 1 + 1e-6


def test_a_run_whose_frequencies_and_rate_are_learned_goes_on_to_the_same_bytes(tmp_path: Path, cache: Path) -> None:
    """Stopped within it: a network with momentum, and a rate that falls without patience, of SGD."""
    method = {"name": "ncfm", **NCFMConfig.smoke, "iterations": 4, "optimizer": "sgd", "patience": 0}
    method |= {"frequency_sampler": "network", "lr_frequencies": 0.5}
    spec = parse(
        {
            "dataset": "digits", "ipc": 1, "method": method, "network": {"name": "convnet", "width": 4, "depth": 2},
            "metrics": {"every": 1, "probe": "random"}, "compile": "off", "evaluation": {"repeats": 0, "audit": False},
        }
    )  # fmt: skip
    whole, *parts = said = [Recorder(), Recorder(stop_after=3), Recorder()]
    for one, folder in zip(said, ("whole", "parts", "parts"), strict=True):
        with pytest.raises(Interrupted) if one is said[1] else nullcontext():
            engine.run(spec, tmp_path / folder / "out", run_dir=tmp_path / folder / "run", cache=cache, callback=one)
    assert parts[1].resumed == [(3, True)]
    files = [tmp_path / folder / "out" / "distilled.safetensors" for folder in ("whole", "parts")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert parts[0].metrics | parts[1].metrics == whole.metrics
    assert len({values["lr_img"] for step, values in whole.metrics.items() if step}) > 1


def test_a_calibration_that_overflows_is_refused_before_it_is_saved(make_run: Make) -> None:
    method = ready(make_run)
    synthetic = method.start()
    synthetic.begin_step()
    step = method.draw(0, synthetic)
    method.backward(step)
    synthetic.step()
    method._trained = {name: value + torch.inf for name, value in method._trained.items()}
    with pytest.raises(DivergedError, match="the synthetic images became NaN or infinite at step 1"):
        method.advance(step)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"whitening": True}, r"/whitening: `ncfm` learns and clamps pixels from 0 to 1, .*; use false"),
        ({"network": {"name": "convnet", "norm": "batch"}}, r"/network/norm: .* has no statistics; use another `norm`"),
        ({"method": {"name": "ncfm", "frequencies": 1}}, r"`frequencies` is 1, but must be .* 2"),
        ({"method": {"name": "ncfm", "amplitude": 1}}, r"`amplitude` is 1, but must be less than 1"),
        ({"method": {"name": "ncfm", "pairs": {"count": 0}}}, r"`count` is 0, but must be .* 1"),
    ],
)
def test_what_cannot_work_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse({"dataset": "digits", "ipc": 1, "method": "ncfm", **fields})


def test_so_is_a_network_from_elsewhere_that_has_batch_statistics(make_run: Make) -> None:
    """Whose configuration need not tell."""
    run = make_run()
    run.functional.per_sample = False
    with pytest.raises(ConfigurationError, match="for which batch normalisation has no statistics"):
        NCFM(NCFMConfig(), run)


def test_defaults_follow_the_optimiser_and_the_source_of_frequencies() -> None:
    def config(**fields: Any) -> NCFMConfig:
        method = parse({"dataset": "cifar10", "ipc": 10, "method": {"name": "ncfm", **fields}}).method
        assert isinstance(method, NCFMConfig)
        return method

    found = [config(**f) for f in ({}, {"optimizer": "sgd"}, {"frequency_sampler": "network"})]
    assert [(c.lr_img, c.frequencies) for c in found] == [(0.001, 4096), (0.01, 4096), (0.001, 256)]
    given = config(optimizer="sgd", frequency_sampler="network", lr_img=0.3, frequencies=7)
    assert (given.lr_img, given.frequencies) == (0.3, 7)
