"""Class means equal those of the plain module's maps, in pieces or not, eager or compiled."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from ddcore.autograd.class_means import ClassMeans
from ddcore.machine.compute import Compute
from ddcore.nets import Functional, Params, build
from ddcore.spec import ConvNetConfig, LeNetConfig, MLPConfig, NetworkConfig
from tests.ddcore.compiler import compiles, needs_compiler
from tests.ddcore.watching import watched

CPU = torch.device("cpu")
SHAPE = (3, 16, 16)
SMALL = ConvNetConfig(width=4, depth=2)


def functional(config: NetworkConfig = SMALL, *, piece: int = 64, compiled: bool = False) -> Functional:
    """Pieces of ``piece`` images of 16 x 16 (a quarter of that of 32 x 32)."""
    compute = Compute(CPU, compiled=compiled, piece=piece // 4, training_piece=piece // 4)
    return Functional(build(config, SHAPE, 3), compute)


def images(count: int) -> Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(1))


def plain(config: NetworkConfig, params: Params, x: Tensor, sizes: Sequence[int]) -> tuple[list[Tensor], Tensor]:
    """All maps of all images at once, then the mean of each class."""
    net = build(config, SHAPE, 3)
    net.load_state_dict(params)
    levels = net.levels(x)
    means = [torch.stack([part.mean(0).flatten() for part in level.split(list(sizes))]) for level in levels]
    return means, net.features(x)


@pytest.mark.parametrize("config", [SMALL, MLPConfig(width=5), LeNetConfig()], ids=lambda config: config.name)
@pytest.mark.parametrize(
    "sizes",
    [(4, 4, 4), (3,) * 7, (16, 16), (40, 40), (1, 1), (5, 20, 3), (9,)],
    ids=lambda sizes: "-".join(map(str, sizes)),
)
def test_means_and_their_gradient_equal_those_of_all_maps_at_once(
    config: NetworkConfig, sizes: tuple[int, ...]
) -> None:
    f = functional(config, piece=16)
    params = f.new(torch.Generator().manual_seed(0))
    x, reference = images(sum(sizes)).requires_grad_(), images(sum(sizes)).requires_grad_()
    found = ClassMeans(f)(params, x, sizes)
    expected, features = plain(config, params, reference, sizes)
    torch.testing.assert_close(found.features, features, rtol=1e-4, atol=1e-5)
    assert len(found.levels) == len(expected)
    for mean, other in zip(found.levels, expected, strict=True):
        torch.testing.assert_close(mean, other, rtol=1e-4, atol=1e-6)
    for means, leaf in ((found.levels, x), (expected, reference)):
        torch.stack([mean.square().sum() for mean in means]).sum().backward()
        assert leaf.grad is not None
    torch.testing.assert_close(x.grad, reference.grad, rtol=1e-3, atol=1e-6)


def test_no_graph_is_kept_where_none_is_asked_for() -> None:
    f = functional()
    found = ClassMeans(f)(f.new(torch.Generator().manual_seed(0)), images(4), (2, 2))
    assert not any(tensor.requires_grad for tensor in (*found.levels, found.features))


def test_no_pass_takes_more_than_a_piece_unless_a_class_must_be_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    f = functional(piece=16)
    lengths: list[int] = []
    monkeypatch.setattr(f, "plain", watched(f.plain, lambda tap, params, x, **_: lengths.append(len(x))))
    means, params = ClassMeans(f), f.new(torch.Generator().manual_seed(0))
    for sizes, expected in (((6,) * 5, [12, 12, 6]), ((20,), [16, 4]), ((3, 18), [3, 16, 2])):
        lengths.clear()
        means(params, images(sum(sizes)), sizes)
        assert lengths == expected


@pytest.mark.parametrize("sizes", [(2, 3), (4, 0), ()])
def test_sizes_that_are_not_of_the_images_are_refused(sizes: tuple[int, ...]) -> None:
    f = functional()
    with pytest.raises(ValueError, match="do not divide 4 images"):
        ClassMeans(f)(f.new(torch.Generator().manual_seed(0)), images(4), sizes)


def test_batch_normalisation_is_refused() -> None:
    with pytest.raises(ValueError, match="batch normalisation"):
        ClassMeans(functional(ConvNetConfig(width=4, norm="batch")))


@pytest.mark.slow
@needs_compiler
@compiles
def test_compiled_means_equal_eager_ones_whatever_was_filled_up() -> None:
    eager, fast = functional(piece=64), functional(piece=32, compiled=True)
    params = eager.new(torch.Generator().manual_seed(0))
    means, expected = ClassMeans(fast), ClassMeans(eager)
    torch._dynamo.utils.counters.clear()
    for sizes in ((10,) * 7, (70,), (69,)):
        x, reference = images(sum(sizes)).requires_grad_(), images(sum(sizes)).requires_grad_()
        found, other = means(params, x, sizes), expected(params, reference, sizes)
        torch.testing.assert_close(found.features, other.features, rtol=1e-4, atol=1e-5)
        for mean, right in zip(found.levels, other.levels, strict=True):
            torch.testing.assert_close(mean, right, rtol=1e-4, atol=1e-6)
        for one in (found, other):
            torch.stack([mean.square().sum() for mean in one.levels]).sum().backward()
        torch.testing.assert_close(x.grad, reference.grad, rtol=1e-3, atol=1e-6)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2, "whole classes, and parts of one"
