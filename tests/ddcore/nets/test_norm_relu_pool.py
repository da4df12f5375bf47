"""The kernel computes what the three layers do, and their slopes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ddcore.nets.norm_relu_pool import LANES, can_fuse, norm_relu_pool
from tests.ddcore.compiler import needs_compiler

EPSILON = 1e-5
BF16 = 2.0**-8
"""Half of the distance between two neighbours in bfloat16, relative to them."""

pytestmark = needs_compiler


def layers(maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The same, written out."""
    mean = maps.mean(dim=(2, 3), keepdim=True)
    variance = (maps - mean).square().mean(dim=(2, 3), keepdim=True)
    normal = (maps - mean) / (variance + EPSILON).sqrt()
    positive = (normal * weight.view(-1, 1, 1) + bias.view(-1, 1, 1)).clamp(min=0)
    even = positive[..., : maps.shape[2] // 2 * 2, : maps.shape[3] // 2 * 2]
    return (even[..., ::2, ::2] + even[..., 1::2, ::2] + even[..., ::2, 1::2] + even[..., 1::2, 1::2]) / 4


def made(images: int, channels: int, height: int, width: int) -> tuple[Tensor, ...]:
    """Maps of mean 1, a scale and a shift, and a slope in the result."""
    generator = torch.Generator().manual_seed(0)
    sizes = ((images, channels, height, width), (channels,), (channels,), (images, channels, height // 2, width // 2))
    maps, weight, bias, slope = (torch.randn(size, generator=generator) for size in sizes)
    return maps + 1, weight, bias, slope


def off(found: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the largest number."""
    return float(((found.double() - expected).abs().max() / expected.abs().max()).detach())


def test_this_machine_compiles_it() -> None:
    assert can_fuse()


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float32, 2e-6), (torch.bfloat16, BF16)])
@pytest.mark.parametrize("shape", [(3, 4 * LANES, 8, 8), (2, 3 * LANES, 7, 9), (2, LANES, 32, 32), (1, LANES, 2, 2)])
def test_it_is_the_layers_and_their_slopes(
    shape: tuple[int, int, int, int], dtype: torch.dtype, rounding: float
) -> None:
    maps, weight, bias, slope = made(*shape)
    maps, slope = maps.to(dtype), slope.to(dtype)
    expected_of = [one.double().requires_grad_() for one in (maps, weight, bias)]
    expected = layers(*expected_of)
    of = [one.clone().requires_grad_() for one in (maps, weight, bias)]
    found = norm_relu_pool(*of, EPSILON)[0]
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert off(found, expected) < rounding
    expected_slopes = torch.autograd.grad(expected, expected_of, slope.double())
    slopes = torch.autograd.grad(found, of, slope)
    for one, other, source in zip(slopes, expected_slopes, of, strict=True):
        assert one.dtype == source.dtype
        assert off(one, other) < rounding


def test_it_is_the_layers_of_the_network() -> None:
    maps, weight, bias, _ = made(2, LANES, 6, 6)
    expected = F.avg_pool2d(F.relu(F.group_norm(maps, LANES, weight, bias, EPSILON)), 2)
    torch.testing.assert_close(norm_relu_pool(maps, weight, bias, EPSILON)[0], expected)


@pytest.mark.parametrize("mean", [0.0, 5.0, 50.0])
def test_maps_far_from_zero_are_normalised_as_exactly_as_by_the_framework(mean: float) -> None:
    """By many deviations, against float64: differences from the mean have fewer digits than the maps."""
    maps, weight, bias, slope = made(4, 2 * LANES, 32, 32)
    maps += mean - 1
    expected_of = [one.double().requires_grad_() for one in (maps, weight, bias)]
    exact = layers(*expected_of)
    exact_slopes = torch.autograd.grad(exact, expected_of, slope.double())

    def errors(result: Callable[..., Tensor]) -> list[float]:
        of = [one.clone().requires_grad_() for one in (maps, weight, bias)]
        found = result(*of)
        pairs = zip((found, *torch.autograd.grad(found, of, slope)), (exact, *exact_slopes), strict=True)
        return [float(((one.double() - other).norm() / other.norm()).detach()) for one, other in pairs]

    def framework_layers(maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.avg_pool2d(F.relu(F.group_norm(maps, len(weight), weight, bias, EPSILON)), 2)

    framework = errors(framework_layers)
    ours = errors(lambda *of: norm_relu_pool(*of, EPSILON)[0])
    assert all(own < 2 * other for own, other in zip(ours, framework, strict=True)), (ours, framework)


def test_maps_may_lie_image_by_image() -> None:
    maps, weight, bias, slope = made(2, LANES, 6, 6)
    layouts = [maps.clone(memory_format=form) for form in (torch.contiguous_format, torch.channels_last)]
    found = []
    for one in layouts:
        pooled = norm_relu_pool(one.requires_grad_(), weight, bias, EPSILON)[0]
        found.append((pooled, *torch.autograd.grad(pooled, [one], slope)))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_not_a_number_stays_none(dtype: torch.dtype) -> None:
    maps, weight, bias, _ = made(2, LANES, 4, 4)
    maps[1, 3, 2, 2] = torch.nan
    pooled = norm_relu_pool(maps.to(dtype), weight, bias, EPSILON)[0]
    assert pooled[1, 3].isnan().all()
    assert pooled.isnan().sum() == 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_bytes_do_not_depend_on_the_number_of_threads(dtype: torch.dtype) -> None:
    maps, weight, bias, slope = made(5, 3 * LANES, 8, 8)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            of = [maps.to(dtype).requires_grad_(), weight.clone().requires_grad_(), bias.clone().requires_grad_()]
            pooled = norm_relu_pool(*of, EPSILON)[0]
            found.append((pooled, *torch.autograd.grad(pooled, of, slope.to(dtype))))
    finally:
        torch.set_num_threads(before)
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


@pytest.mark.filterwarnings("ignore")  # of what the check itself compiles
def test_the_compiler_may_rely_on_what_it_is_told() -> None:
    maps, weight, bias, _ = made(2, LANES, 4, 6)
    of = (maps.requires_grad_(), weight.requires_grad_(), bias.requires_grad_(), EPSILON)
    torch.library.opcheck(
        norm_relu_pool, of, test_utils=("test_schema", "test_autograd_registration", "test_faketensor")
    )
