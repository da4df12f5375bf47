"""Functional passes equal the plain module's, in pieces or not, eager or compiled."""

from __future__ import annotations

import copy
import hashlib
import math
import subprocess
import sys
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from ddcore.machine.compute import Compute, computes_bf16
from ddcore.nets import Functional, Network, Params, build
from ddcore.nets.functional import piece_size
from ddcore.nets.norm_relu_pool import LANES
from ddcore.spec import AlexNetConfig, ConvNetConfig, LeNetConfig, MLPConfig, NetworkConfig, ResNet18Config
from ddcore.spec.networks import Norm
from tests.ddcore.compiler import compiles, needs_compiler

CPU = torch.device("cpu")
SHAPE = (3, 8, 8)
SMALL = ConvNetConfig(width=8, depth=2)
ONE_BLOCK = ConvNetConfig(width=LANES, depth=1)
"""Wide enough for our own kernel."""


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int, seed: int = 1) -> Tensor:
    return torch.randn(count, *SHAPE, generator=generator(seed))


def functional(config: NetworkConfig = SMALL, *, piece: int = 128, compute: Compute | None = None) -> Functional:
    """Pieces of ``piece`` images of 8 x 8 (a sixteenth of that of 32 x 32), so that few images make several."""
    return Functional(build(config, SHAPE, 3), compute or Compute(CPU, piece=piece // 16, training_piece=piece // 16))


def module(config: NetworkConfig, params: Params) -> Network:
    net = build(config, SHAPE, 3)
    net.load_state_dict(params)
    return net


@pytest.mark.parametrize("fused", [False, pytest.param(True, marks=needs_compiler)])
@pytest.mark.parametrize(
    "config", [SMALL, ONE_BLOCK, ConvNetConfig(width=4, depth=1, norm="layer"), ResNet18Config(norm="batch")]
)
def test_passes_equal_the_module_with_the_same_parameters(config: NetworkConfig, fused: bool) -> None:
    f = functional(config, compute=Compute(CPU, piece=8, training_piece=8, fused=fused))
    params = f.new(generator())
    net = module(config, params).train()
    x = images(5)
    taps = net.taps(x)
    torch.testing.assert_close(f.logits(params, x), taps.logits)
    torch.testing.assert_close(f.features(params, x), taps.features)
    for got, expected in zip(f.taps(params, x).blocks, taps.blocks, strict=True):
        torch.testing.assert_close(got, expected)


def test_new_networks_follow_the_frameworks_default_initialisation() -> None:
    f = Functional(build(ConvNetConfig(width=64), (3, 32, 32), 10), Compute(CPU))
    params = f.new(generator())
    assert params.keys() == dict(build(ConvNetConfig(width=64), (3, 32, 32), 10).named_parameters()).keys()
    for name, fan_in in (("blocks.0.0", 27), ("blocks.1.0", 576), ("classifier", 1024)):
        bound = 1 / math.sqrt(fan_in)
        weight = params[f"{name}.weight"]
        assert weight.abs().max() <= bound
        assert params[f"{name}.bias"].abs().max() <= bound
        assert weight.abs().max() > 0.99 * bound
        assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
        assert abs(weight.mean().item()) < 0.05 * bound
    assert params["blocks.0.1.weight"].eq(1).all()
    assert params["blocks.0.1.bias"].eq(0).all()


def test_initialisation_in_place_depends_on_the_generator_alone() -> None:
    f = functional()
    params = f.new(generator(3))
    storage = {name: value.data_ptr() for name, value in params.items()}
    first = copy.deepcopy(params)
    f.init_(params, generator(4))
    assert any(not torch.equal(params[name], first[name]) for name in params)
    f.init_(params, generator(3))
    assert all(torch.equal(params[name], first[name]) for name in params)
    assert {name: value.data_ptr() for name, value in params.items()} == storage


def test_initialisation_resets_the_running_statistics() -> None:
    f = functional(ConvNetConfig(width=4, depth=1, norm="batch"))
    params = f.new(generator())
    f.logits(params, images(6))
    assert params["blocks.0.1.num_batches_tracked"] == 1
    assert params["blocks.0.1.running_mean"].abs().sum() > 0
    f.init_(params, generator())
    assert params["blocks.0.1.num_batches_tracked"] == 0
    assert params["blocks.0.1.running_mean"].eq(0).all()
    assert params["blocks.0.1.running_var"].eq(1).all()


def test_the_global_generator_decides_nothing() -> None:
    before = torch.get_rng_state()
    template = build(SMALL, SHAPE, 3)
    torch.set_rng_state(before)
    f = Functional(template, Compute(CPU))
    f.logits(f.new(generator()), images(3))
    assert torch.equal(torch.get_rng_state(), before)


def test_pieces_equal_one_batch_with_gradients_to_images_and_parameters() -> None:
    def gradients(f: Functional) -> tuple[Tensor, ...]:
        params = f.new(generator())
        weights = [params[name].requires_grad_() for name in f.names]
        x = images(300).requires_grad_()
        loss = f.features(params, x).square().mean() + f.logits(params, x).square().mean()
        return loss, *torch.autograd.grad(loss, [x, *weights])

    whole, cut = gradients(functional(piece=4096)), gradients(functional(piece=128))
    for expected, got in zip(whole, cut, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-7)


def test_a_pass_without_gradients_keeps_no_graph_and_takes_streams() -> None:
    f = functional(piece=128)
    params = f.new(generator())
    x = images(300)
    assert not f.features(params, x).requires_grad
    streamed = f.features_no_grad({k: v.requires_grad_() for k, v in params.items()}, iter(x.split(90)))
    assert not streamed.requires_grad
    torch.testing.assert_close(streamed, f.features(params, x).detach())


def test_batch_statistics_are_of_the_whole_batch_when_training_and_kept_when_not() -> None:
    config = ConvNetConfig(width=4, depth=1, norm="batch")
    f = functional(config, piece=128)
    assert not f.per_sample
    params = f.new(generator())
    net = module(config, params)
    x = images(300)
    torch.testing.assert_close(f.logits(params, x), net.train()(x))
    for name, buffer in net.named_buffers():
        torch.testing.assert_close(params[name], buffer)
    torch.testing.assert_close(f.logits(params, x, training=False), net.eval()(x))
    torch.testing.assert_close(params["blocks.0.1.num_batches_tracked"], torch.tensor(1))


def test_instance_normalised_networks_treat_every_image_by_itself() -> None:
    f = functional()
    assert f.per_sample
    params, x = f.new(generator()), images(6)
    torch.testing.assert_close(f.logits(params, x)[2:4], f.logits(params, x[2:4]))


@pytest.mark.parametrize("shape", [(4, 3, 8, 9), (4, 1, 8, 8), (3, 8, 8), (0, 3, 8, 8)])
def test_images_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    f = functional()
    with pytest.raises(ValueError, match="not a batch"):
        f.logits(f.new(generator()), torch.zeros(shape))


def test_the_template_is_left_alone() -> None:
    template = build(SMALL, SHAPE, 3).eval()
    Functional(template, Compute(CPU))
    assert not template.training
    assert all(p.device == CPU and p.requires_grad for p in template.parameters())


@pytest.mark.parametrize(
    ("config", "shape", "expected"),
    [
        (ConvNetConfig(), (3, 32, 32), (128, 4, 4)),
        (ConvNetConfig(width=8, norm="batch"), (1, 28, 28), (8, 4, 4)),
        (ConvNetConfig(pooling="none", depth=1), (3, 8, 8), (128, 8, 8)),
        (AlexNetConfig(), (3, 32, 32), (192, 4, 4)),
        (ResNet18Config(), (3, 32, 32), (512, 1, 1)),
        (ResNet18Config(), (3, 64, 64), (512, 2, 2)),
        (MLPConfig(width=16), (3, 32, 32), (16, 1, 1)),
        (LeNetConfig(), (3, 32, 32), None),
    ],
)
def test_features_are_flattened_from_maps_of_a_known_shape(
    config: NetworkConfig, shape: tuple[int, int, int], expected: tuple[int, int, int] | None
) -> None:
    functional = Functional(build(config, shape, 10), Compute(torch.device("cpu")))
    assert functional.feature_map == expected
    if expected is not None:
        features = functional.features(functional.new(torch.Generator()), torch.zeros(1, *shape), training=False)
        assert features.shape == (1, math.prod(expected))


def test_parameters_are_those_of_the_published_tables() -> None:
    for config, count in ((ConvNetConfig(), 320_010), (ResNet18Config(), 11_173_962)):
        functional = Functional(build(config, (3, 32, 32), 10), Compute(torch.device("cpu")))
        assert functional.parameter_count == count
        assert functional.parameter_bytes == 4 * count
    norm = Functional(build(ConvNetConfig(norm="batch"), (3, 32, 32), 10), Compute(torch.device("cpu")))
    assert norm.parameter_bytes == 4 * (norm.parameter_count + 3 * 2 * 128) + 3 * 8, "running statistics, and counters"


@pytest.mark.parametrize("most", [8, 32, 64, 1000])
def test_equal_pieces_cover_a_batch_and_come_in_few_sizes(most: int) -> None:
    sizes = set()
    for count in range(1, 5 * most):
        size = piece_size(count, most)
        pieces = -(-count // size)
        assert size <= most
        assert pieces == -(-count // most), "no more pieces than necessary"
        assert size * pieces - count < pieces * max(1, most // 16) + 1, "little padding"
        sizes.add(size)
    assert len(sizes) <= 17


def test_second_derivatives_go_through_plain_passes() -> None:
    f = functional()
    params = {name: value.double() for name, value in f.new(generator()).items()}
    x, direction = images(2).double(), images(2, seed=9).double()

    def penalty(x: Tensor) -> Tensor:
        gradients = torch.func.grad(lambda p: f.plain("logits", p, x)[0].square().sum())(params)
        return sum((g.square().sum() for g in gradients.values()), torch.zeros(()))

    slope = (torch.func.grad(penalty)(x) * direction).sum()
    numeric = (penalty(x + 1e-6 * direction) - penalty(x - 1e-6 * direction)) / 2e-6
    assert slope.item() == pytest.approx(numeric.item(), rel=1e-5)


def compiled(precision: str) -> Compute:
    return Compute(CPU, "bf16" if precision == "bf16" else "fp32", compiled=True, piece=2, training_piece=2)


@needs_compiler
@compiles
@pytest.mark.slow
@pytest.mark.parametrize("config", [SMALL, ONE_BLOCK], ids=["the compiler's kernels", "ours"])
def test_compiled_passes_equal_eager_ones_and_do_not_recompile_for_new_weights_or_remainders(
    config: ConvNetConfig,
) -> None:
    eager, fast = functional(config), functional(config, compute=compiled("fp32"))
    params = fast.new(generator())
    torch._dynamo.utils.counters.clear()

    def gradients(f: Functional, count: int) -> tuple[Tensor, ...]:
        x = images(count).requires_grad_()
        weights = [params[name].requires_grad_() for name in f.names]
        features = f.features(params, x)
        return features, *torch.autograd.grad(features.square().mean(), [x, *weights[:-2]])

    for seed, count in enumerate((70, 69, 70)):
        fast.init_({k: v.detach() for k, v in params.items()}, generator(seed))
        for expected, got in zip(gradients(eager, count), gradients(fast, count), strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-6)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


@needs_compiler
@compiles
@pytest.mark.slow
def test_compiled_batch_normalisation_updates_its_statistics() -> None:
    config = ConvNetConfig(width=4, depth=1, norm="batch")
    f = functional(config, compute=compiled("fp32"))
    params = f.new(generator())
    net = module(config, params)
    x = images(40)
    torch.testing.assert_close(f.logits(params, x), net.train()(x), rtol=1e-4, atol=1e-6)
    for name, buffer in net.named_buffers():
        torch.testing.assert_close(params[name], buffer)


@needs_compiler
@compiles
@pytest.mark.slow
def test_compiled_statistics_of_a_batch_equal_eager_ones() -> None:
    config = ConvNetConfig(width=4, depth=1, norm="batch")
    eager, fast = functional(config), functional(config, compute=compiled("fp32"))
    params = eager.new(generator())
    of_images = []
    for f in (eager, fast):
        x = images(40).requires_grad_()
        logits, statistics = f.with_moments(params, x)
        (mean, variance) = statistics["blocks.0.1"]
        slope = torch.autograd.grad(logits.square().sum() + mean.square().sum() + variance.square().sum(), x)[0]
        of_images.append([logits, mean, variance, slope])
    for expected, got in zip(*of_images, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.skipif(not computes_bf16(CPU), reason="the processor does not compute in bfloat16")
@pytest.mark.parametrize("is_compiled", [False, pytest.param(True, marks=[needs_compiler, compiles])])
def test_bf16_passes_return_float32_close_to_float32_passes(is_compiled: bool) -> None:
    exact, rough = functional(ONE_BLOCK), functional(ONE_BLOCK, compute=Compute(CPU, "bf16", is_compiled))
    params = exact.new(generator())
    x = images(40)

    def image_gradient(f: Functional) -> Tensor:
        leaf = x.clone().requires_grad_()
        return torch.autograd.grad(f.features(params, leaf).square().mean(0).sum(), leaf)[0]

    features = rough.features(params, x)
    assert features.dtype == torch.float32
    assert not torch.equal(features, exact.features(params, x)), "bfloat16 was not used"
    torch.testing.assert_close(features, exact.features(params, x), rtol=0.05, atol=0.05)
    similarity = nn.functional.cosine_similarity(
        image_gradient(rough).flatten(), image_gradient(exact).flatten(), dim=0
    )
    assert similarity > 0.99
    assert image_gradient(rough).dtype == torch.float32


def image_gradients(counts: Sequence[int]) -> str:
    """Digest of the image gradients of batches computed in the order of ``counts``."""
    f = functional(ONE_BLOCK, compute=compiled("bf16"))
    params = f.new(generator())
    parts = {}
    for count in counts:
        x = images(count).requires_grad_()
        f.features(params, x).square().sum().backward()
        assert x.grad is not None
        parts[count] = x.grad.numpy().tobytes()
    return hashlib.sha256(b"".join(parts[count] for count in sorted(parts))).hexdigest()


@needs_compiler
@compiles
@pytest.mark.slow
def test_a_fresh_process_computes_the_same_bytes_in_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both compile their graphs themselves, and share only what the C++ compiler makes of one source."""
    monkeypatch.setenv("TORCHINDUCTOR_FX_GRAPH_CACHE", "0")  # for the process
    monkeypatch.setenv("TORCHINDUCTOR_AUTOGRAD_CACHE", "0")
    program = f"import runpy; print(runpy.run_path({__file__!r})['image_gradients']([63, 64]))"
    fresh = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=300)
    with (
        torch._inductor.config.patch(fx_graph_cache=False),
        torch._functorch.config.patch(enable_autograd_cache=False),
    ):
        assert fresh.stdout.strip() == image_gradients([64, 63])


@pytest.mark.parametrize("norm", ["instance", "group", "layer", "batch"])
def test_maps_far_from_zero_are_normalised_as_exactly_as_by_a_plain_module(norm: Norm) -> None:
    """Feature maps with a mean of several deviations, and slopes in the weights, against float64."""
    config = ConvNetConfig(width=16, depth=1, norm=norm, activation="swish")
    template = build(config, (3, 32, 32), 3)
    f = Functional(template, Compute(CPU))
    params = f.new(generator())
    params["blocks.0.0.bias"] += 3
    pixels = torch.randn((16, 3, 32, 32), generator=generator(1))

    def outcome(kind: torch.dtype, ours: bool) -> list[Tensor]:
        of_kind = {n: p.to(kind, copy=True) if p.is_floating_point() else p.clone() for n, p in params.items()}
        weights = [of_kind[name].requires_grad_() for name in f.names]
        x = pixels.to(kind)
        features = f.features(of_kind, x) if ours else functional_call(template, of_kind, (x,), {"tap": "features"})
        return [features.detach(), *torch.autograd.grad(features.square().sum(), weights[:1])]

    exact = outcome(torch.float64, ours=False)
    plain, ours = (
        [float((a - b).norm() / b.norm()) for a, b in zip(outcome(torch.float32, ours=way), exact, strict=True)]
        for way in (False, True)
    )
    assert max(plain) < 5e-6
    assert all(own <= 1.2 * published for own, published in zip(ours, plain, strict=True))
