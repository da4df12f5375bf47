import math
from collections.abc import Callable

import kornia
import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ddcore.augment import siamese
from ddcore.augment.siamese import Draw, apply, apply_by_class, draw, draw_stacked, strategy_for
from ddcore.spec import AUGMENTATIONS

SHAPE = (3, 12, 12)
ALL = strategy_for("auto", flip=True)


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def images(n: int, shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> Tensor:
    return torch.randn(n, *shape, generator=generator(seed))


class Check:
    """Input of the printed checks, and the sums they print: worked out beforehand by the published formulas."""

    def __init__(self, fill: Callable[..., Tensor]) -> None:
        self.x = fill(2, 3, 8, 8, a=0.37)
        self.weights = fill(2, 3, 8, 8, a=0.11, b=0.3).double()

    def sums(self, y: Tensor) -> tuple[float, float]:
        return y.double().sum().item(), (y.double() * self.weights).sum().item()


@pytest.fixture
def check(fill: Callable[..., Tensor]) -> Check:
    return Check(fill)


def test_input_of_the_checks(check: Check) -> None:
    assert check.sums(check.x) == pytest.approx((5.026177, -1.739566), rel=1e-5)


@pytest.mark.parametrize(
    ("operation", "u", "total", "weighted"),
    [
        ("brightness", 0.25, -90.973822, -3.778558),
        ("brightness", 0.80, 120.226181, 0.707225),
        ("saturation", 0.25, 5.026177, 1.419239),
        ("saturation", 0.80, 5.026178, -5.530132),
        ("contrast", 0.25, 5.026177, -1.258539),
        ("contrast", 0.80, 5.026178, -2.316798),
        ("flip", 0.25, 5.026177, -1.912080),
        ("flip", 0.80, 5.026177, -1.739566),
        ("rotate", 0.25, 5.275783, -2.090148),
        ("rotate", 0.80, 2.642127, -0.775555),
    ],
)
def test_operation_gives_the_printed_sums(
    check: Check, operation: str, u: float, total: float, weighted: float
) -> None:
    y = getattr(siamese, operation)(check.x, torch.tensor([u]))
    assert check.sums(y) == pytest.approx((total, weighted), rel=1e-5)


@pytest.mark.parametrize(("u", "total", "weighted"), [(0.25, 2.459417, -0.837079), (0.80, 3.856883, -1.562397)])
def test_scale_gives_the_printed_sums(check: Check, u: float, total: float, weighted: float) -> None:
    y = siamese.scale(check.x, torch.tensor([u]), torch.tensor([u]))
    assert check.sums(y) == pytest.approx((total, weighted), rel=1e-5)


def test_crop_gives_the_printed_sums(check: Check) -> None:
    y = siamese.crop(check.x, torch.tensor([1]), torch.tensor([-1]))
    assert check.sums(y) == pytest.approx((0.635304, 1.208925), rel=1e-5)


def test_cutout_gives_the_printed_sums(check: Check) -> None:
    y = siamese.cutout(check.x, torch.tensor([2]), torch.tensor([7]))
    assert check.sums(y) == pytest.approx((4.862812, 0.741852), rel=1e-5)


def test_color_is_brightness_then_saturation_then_contrast() -> None:
    x = images(5)
    u = tuple(torch.rand(5, generator=generator(i)) for i in range(3))
    expected = siamese.contrast(siamese.saturation(siamese.brightness(x, u[0]), u[1]), u[2])
    torch.testing.assert_close(siamese.color(x, *u), expected)


def test_crop_moves_pixels_and_fills_with_zero() -> None:
    x = images(4)
    rows, columns = torch.tensor([-2, 0, 1, 2]), torch.tensor([1, -1, 0, 2])
    expected = torch.zeros_like(x)
    for n in range(4):
        for i in range(12):
            for j in range(12):
                source = i + int(rows[n]), j + int(columns[n])
                if all(0 <= s < 12 for s in source):
                    expected[n, :, i, j] = x[n, :, source[0], source[1]]
    assert torch.equal(siamese.crop(x, rows, columns), expected)


@pytest.mark.parametrize("side", [7, 8, 28])
def test_cutout_erases_a_clamped_square_around_every_centre(side: int) -> None:
    size = int(0.5 * side + 0.5)
    centres = range(side + 1 - size % 2)
    for centre in centres:
        y = siamese.cutout(torch.ones(1, 1, side, side), torch.tensor([centre]), torch.tensor([side // 2]))
        reference = {min(max(centre - size // 2 + k, 0), side - 1) for k in range(size)}
        assert set((y[0, 0] == 0).any(dim=1).nonzero().flatten().tolist()) == reference


@pytest.mark.parametrize("shape", [(3, 12, 12), (1, 9, 14)])
def test_scale_and_rotate_agree_with_kornia(shape: tuple[int, int, int]) -> None:
    x = images(3, shape)
    u, v = torch.tensor([0.1, 0.5, 0.9]), torch.tensor([0.7, 0.2, 0.4])
    low = 1 / 1.2
    sx, sy, zero = u * (1.2 - low) + low, v * (1.2 - low) + low, torch.zeros(3)
    cos, sin = torch.cos((u - 0.5) * math.pi / 6), torch.sin((u - 0.5) * math.pi / 6)
    for actual, rows in (
        (siamese.scale(x, u, v), ((sx, zero), (zero, sy))),
        (siamese.rotate(x, u), ((cos, -sin), (sin, cos))),
    ):
        matrix = torch.zeros(3, 3, 3)
        matrix[:, 2, 2] = 1
        for i, row in enumerate(rows):
            for j, entry in enumerate(row):
                matrix[:, i, j] = entry
        # kornia maps source to destination in pixel-centre coordinates; the grid maps the other way, in
        # coordinates that run from -1 to 1 between the outer edges of the outer pixels.
        height, width = shape[1:]
        half = torch.tensor([[width / 2, 0, (width - 1) / 2], [0, height / 2, (height - 1) / 2], [0, 0, 1.0]])
        homography = torch.linalg.inv(half @ matrix @ torch.linalg.inv(half))
        expected = kornia.geometry.warp_perspective(x, homography, (height, width), align_corners=False)
        torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shape", [(3, 12, 12), (1, 9, 9)])
def test_aligned_corners_would_change_nothing(shape: tuple[int, int, int]) -> None:
    """MTT and TESLA resample with aligned corners: about the centre of a square that is the same map."""
    x, u, v = images(3, shape), torch.tensor([0.1, 0.5, 0.9]), torch.tensor([0.7, 0.2, 0.4])
    low, zero = 1 / 1.2, torch.zeros(3)
    sx, sy = u * (1.2 - low) + low, v * (1.2 - low) + low
    cos, sin = torch.cos((u - 0.5) * math.pi / 6), torch.sin((u - 0.5) * math.pi / 6)
    for actual, entries in (
        (siamese.scale(x, u, v), (sx, zero, zero, zero, sy, zero)),
        (siamese.rotate(x, u), (cos, -sin, zero, sin, cos, zero)),
    ):
        grid = F.affine_grid(torch.stack(entries, dim=1).view(3, 2, 3), list(x.shape), align_corners=True)
        torch.testing.assert_close(actual, F.grid_sample(x, grid, align_corners=True), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("operation", AUGMENTATIONS)
def test_shared_draw_is_the_same_transformation_for_any_batch(operation: str) -> None:
    real, synthetic = images(17), images(3, seed=1)
    for seed in range(5):
        drawn = draw((operation,), None, SHAPE, generator(seed))
        together = apply(drawn, torch.cat([real, synthetic]))
        torch.testing.assert_close(apply(drawn, real), together[:17])
        torch.testing.assert_close(apply(drawn, synthetic), together[17:])


@pytest.mark.parametrize("operation", AUGMENTATIONS)
def test_draw_for_each_image_transforms_it_like_a_draw_of_its_own(operation: str) -> None:
    x = images(6)
    drawn = draw((operation,), 6, SHAPE, generator())
    assert all(len(p) == 6 for p in drawn.parameters)
    alone = [apply(Draw(operation, tuple(p[n : n + 1] for p in drawn.parameters)), x[n : n + 1]) for n in range(6)]
    torch.testing.assert_close(apply(drawn, x), torch.cat(alone))


@pytest.mark.parametrize("size", [2, 80])
def test_draws_by_class_equal_a_loop_over_the_classes(size: int) -> None:
    counts = [size, 1, size + 3, size, 5, 2, size, size]
    x = images(sum(counts)).requires_grad_()
    draws = [draw(ALL, None, SHAPE, generator(seed)) for seed in range(8)]
    assert 1 < len({d.operation for d in draws}) < 8
    expected = torch.cat([apply(d, part) for d, part in zip(draws, x.split(counts), strict=True)])
    actual = apply_by_class(draws, x, counts)
    torch.testing.assert_close(actual, expected)
    weights = torch.randn(actual.shape, generator=generator())
    (expected_gradient,) = torch.autograd.grad((expected * weights).sum(), x)
    (gradient,) = torch.autograd.grad((actual * weights).sum(), x)
    torch.testing.assert_close(gradient, expected_gradient)


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (ALL, {("flip", "color", middle, "cutout") for middle in ("crop", "scale", "rotate")}),
        (("crop", "color"), {("color", "crop")}),
        (("rotate", "scale"), {("rotate",), ("scale",)}),
        (("cutout", "flip"), {("flip", "cutout")}),
    ],
    ids=["all", "one", "two", "ends"],
)
def test_stacked_draws_choose_only_what_is_neither_first_nor_last(
    strategy: tuple[str, ...], expected: set[tuple[str, ...]]
) -> None:
    shared = generator()
    drawn = [draw_stacked(strategy, None, SHAPE, shared).operations for _ in range(300)]
    assert set(drawn) == expected
    # 300 / k expected of each of k choices, standard deviation at most 8.7
    assert all(abs(drawn.count(operations) - 300 / len(expected)) < 40 for operations in expected)


@pytest.mark.parametrize("n", [None, 5])
def test_stacked_operations_are_applied_one_after_the_other(n: int | None) -> None:
    x = images(5)
    for seed in range(6):
        drawn = draw_stacked(ALL, n, SHAPE, generator(seed))
        expected, level = x, drawn
        for name in drawn.operations:
            assert name is not None
            assert all(len(p) == (n or 1) for p in level.parameters)
            expected = getattr(siamese, name)(expected, *level.parameters)
            level = level.then or level
        torch.testing.assert_close(apply(drawn, x), expected)


def test_stacked_draws_for_each_image_differ_between_images() -> None:
    drawn = draw_stacked(("color", "crop"), 50, SHAPE, generator())
    assert drawn.then is not None
    assert all(len(p.unique()) > 1 for p in (*drawn.parameters, *drawn.then.parameters))


@pytest.mark.parametrize("size", [2, 80])
def test_stacked_draws_by_class_equal_a_loop_over_the_classes(size: int) -> None:
    counts = [size, 1, size + 3, size, 5, 2]
    x = images(sum(counts))
    draws = [draw_stacked(ALL, None, SHAPE, generator(seed)) for seed in range(6)]
    assert 1 < len({drawn.operations for drawn in draws}) < 6
    expected = torch.cat([apply(d, part) for d, part in zip(draws, x.split(counts), strict=True)])
    torch.testing.assert_close(apply_by_class(draws, x, counts), expected)


def test_a_stack_of_nothing_touches_neither_images_nor_generator() -> None:
    shared, x = generator(), images(2)
    before = shared.get_state()
    assert apply(draw_stacked((), None, SHAPE, shared), x) is x
    assert torch.equal(shared.get_state(), before)


def test_draws_by_class_may_leave_images_alone() -> None:
    x = images(4)
    assert torch.equal(apply_by_class([Draw(None)] * 2, x, [2, 2]), x)


def test_draws_by_class_refuse_other_counts() -> None:
    with pytest.raises(ValueError, match="2 draws and 2 counts of 5 images for 4 images"):
        apply_by_class([Draw(None)] * 2, images(4), [2, 3])


@pytest.mark.parametrize("operation", AUGMENTATIONS)
def test_gradients_reach_the_pixels(operation: str) -> None:
    x = images(2, (3, 6, 6)).requires_grad_()
    change, weights = images(2, (3, 6, 6), seed=1), images(2, (3, 6, 6), seed=2)
    drawn = draw((operation,), 2, (3, 6, 6), generator(3))
    y = apply(drawn, x)
    (gradient,) = torch.autograd.grad((y * weights).sum(), x)
    # Every operation is affine in the pixels, so the gradient predicts any change of them, large ones too.
    difference = ((apply(drawn, x + change) - y) * weights).sum()
    torch.testing.assert_close(difference, (gradient * change).sum(), rtol=1e-4, atol=1e-4)
    assert gradient.abs().sum() > 1


@pytest.mark.parametrize("operation", AUGMENTATIONS)
def test_bfloat16_and_channels_last_give_the_same_images(operation: str) -> None:
    x = images(4)
    drawn = draw((operation,), None, SHAPE, generator(1))
    expected = apply(drawn, x)
    low = apply(drawn, x.to(torch.bfloat16))
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), expected, atol=0.06, rtol=0.02)
    torch.testing.assert_close(apply(drawn, x.to(memory_format=torch.channels_last)), expected)


def test_every_operation_is_drawn_equally_often() -> None:
    shared = generator()
    counts = dict.fromkeys(ALL, 0)
    for _ in range(3000):
        operation = draw(ALL, None, SHAPE, shared).operation
        assert operation is not None
        counts[operation] += 1
    # 500 expected, standard deviation 20.4
    assert all(abs(count - 500) < 90 for count in counts.values()), counts


@pytest.mark.parametrize(
    ("side", "shifts", "centres"),
    [(28, range(-4, 5), range(29)), (32, range(-4, 5), range(33)), (9, range(-1, 2), range(9))],
)
def test_pixel_parameters_cover_their_range(side: int, shifts: range, centres: range) -> None:
    for operation, expected in (("crop", shifts), ("cutout", centres)):
        drawn = draw((operation,), 2000, (3, side, side), generator())
        assert [set(p.tolist()) for p in drawn.parameters] == [set(expected)] * 2


def test_uniform_parameters_cover_the_unit_interval() -> None:
    for operation, count in (("color", 3), ("flip", 1), ("scale", 2), ("rotate", 1)):
        parameters = draw((operation,), 2000, SHAPE, generator()).parameters
        assert len(parameters) == count
        for p in parameters:
            assert 0 <= p.min() < 0.01
            assert 0.99 < p.max() < 1
            assert p.mean().item() == pytest.approx(0.5, abs=0.03)


def test_same_seed_draws_the_same_and_another_seed_another() -> None:
    def parameters(seed: int) -> list[Tensor]:
        shared = generator(seed)
        return [p for _ in range(20) for p in draw(ALL, 3, SHAPE, shared).parameters]

    first = parameters(0)
    assert all(torch.equal(a, b) for a, b in zip(first, parameters(0), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, parameters(1), strict=False))


def test_no_augmentation_touches_neither_images_nor_generator() -> None:
    shared, x = generator(), images(2)
    before = shared.get_state()
    assert apply(draw((), 2, SHAPE, shared), x) is x
    assert torch.equal(shared.get_state(), before)


def test_strategy_names_an_unknown_operation() -> None:
    with pytest.raises(ValueError, match="unknown augmentation 'solarize'; known: color"):
        strategy_for("crop_solarize", flip=True)


def test_non_square_images_use_each_side() -> None:
    drawn = draw(("crop",), 4000, (1, 8, 40), generator())
    assert [(int(p.min()), int(p.max())) for p in drawn.parameters] == [(-1, 1), (-5, 5)]


@pytest.mark.gpu
@pytest.mark.parametrize("operation", AUGMENTATIONS)
def test_gpu_gives_the_same_images_without_waiting_for_the_device(operation: str) -> None:
    x = images(8)
    drawn = draw((operation,), None, SHAPE, generator(1))
    on_gpu = x.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        actual = apply(drawn, on_gpu)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(actual.cpu(), apply(drawn, x))
