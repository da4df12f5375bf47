"""First and second derivatives against plain autograd on the module, in float64, and numbers worked out beforehand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddcore.autograd.gradients import Gradients
from ddcore.autograd.second_order import WeightedBatch, double_backward, nested_transforms
from ddcore.formulas.gradient_distances import absolute, cosine, inner_product, row_cosine, squared
from ddcore.machine.compute import Compute, computes_bf16
from ddcore.nets import Functional, Network, Params, build
from ddcore.spec import ConvNetConfig
from tests.ddcore.compiler import compiles, needs_compiler
from tests.ddcore.watching import watched

Fill = Callable[..., Tensor]
CPU = torch.device("cpu")
SHAPE = (3, 8, 8)
CLASSES = 3


def functional(norm: Any = "instance", compute: Compute | None = None, depth: int = 2) -> Functional:
    """A ConvNet whose passes with autograd take 8 images at a time."""
    config = ConvNetConfig(width=8, depth=depth, norm=norm)
    return Functional(build(config, SHAPE, CLASSES), compute or Compute(CPU, training_piece=0))


def parameters(f: Functional, seed: int = 0) -> Params:
    """Random parameters, and running statistics that differ from the initial ones; float64."""
    params = f.new(torch.Generator().manual_seed(seed))
    for name, value in params.items():
        if name.endswith("running_mean"):
            value.copy_(torch.linspace(-0.3, 0.3, len(value)))
        elif name.endswith("running_var"):
            value.copy_(torch.linspace(0.5, 2.0, len(value)))
    return {name: value.double() if value.is_floating_point() else value for name, value in params.items()}


def module(f: Functional, params: Params, norm: Any, *, training: bool) -> Network:
    net = build(ConvNetConfig(width=8, depth=2, norm=norm), SHAPE, CLASSES).double().train(training)
    net.load_state_dict(params)
    return net


def batch(count: int, *, soft: bool = False, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, *SHAPE, generator=generator, dtype=torch.float64)
    scores = torch.randn(count, CLASSES, generator=generator, dtype=torch.float64)
    return images, scores.softmax(1) if soft else scores.argmax(1)


def direction(f: Functional, seed: int = 7) -> Params:
    return {name: value for name, value in parameters(f, seed).items() if name in f.names}


def close(got: Tensor | None, expected: Tensor, tolerance: float = 1e-10) -> None:
    assert got is not None
    assert got.shape == expected.shape
    assert not got.requires_grad
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


def close_all(got: Params | None, expected: Iterable[Tensor], tolerance: float = 1e-10) -> None:
    """Parameter by parameter, against the largest entry of all: a bias before a normalisation has none but rounding."""
    assert got is not None
    expected = list(expected)
    assert [part.shape for part in got.values()] == [part.shape for part in expected]
    whole, wanted = (torch.cat([part.flatten() for part in parts]) for parts in (got.values(), expected))
    close(whole, wanted, tolerance)


NORMS = pytest.mark.parametrize(("norm", "training"), [("instance", False), ("batch", False), ("batch", True)])


@NORMS
@pytest.mark.parametrize("soft", [False, True])
def test_loss_and_gradient_are_those_of_one_batch(norm: str, training: bool, soft: bool) -> None:
    f = functional(norm)
    params, (images, labels) = parameters(f), batch(21, soft=soft)
    net = module(f, params, norm, training=training)
    loss = F.cross_entropy(net(images), labels)
    expected = torch.autograd.grad(loss, list(net.parameters()))

    before = {name: value.clone() for name, value in params.items()}
    got_loss, got = Gradients(f, training=training).loss_and_gradient(params, images, labels)
    close(got_loss, loss.detach())
    close_all(got, expected)
    assert all(torch.equal(params[name], before[name]) for name in params), "buffers are left alone"


@NORMS
@pytest.mark.parametrize("counts", [(6, 6, 6), (1, 11, 6), (18,)])
@pytest.mark.parametrize("vectorized", [False, True])
def test_class_gradients_are_those_of_each_class_alone(
    norm: str, training: bool, counts: tuple[int, ...], vectorized: bool
) -> None:
    f = functional(norm)
    params, (images, labels) = parameters(f), batch(18)
    gradients = Gradients(f, training=training, vectorized=vectorized)
    got = gradients.class_gradients(params, images, labels, counts)
    for c, (part, expected_labels) in enumerate(zip(images.split(counts), labels.split(counts), strict=True)):
        net = module(f, params, norm, training=training)
        loss = F.cross_entropy(net(part), expected_labels)
        expected = torch.autograd.grad(loss, list(net.parameters()))
        close_all({name: value[c] for name, value in got.items()}, expected)


@pytest.mark.parametrize(("vectorized", "passes"), [(True, 0), (False, 3), (None, 3)])
def test_classes_are_taken_together_where_that_is_said_and_one_by_one_on_a_cpu(
    vectorized: bool | None, passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    f = functional()
    calls: list[int] = []
    monkeypatch.setattr(f, "logits", watched(f.logits, lambda *args, **how: calls.append(1)))
    Gradients(f, vectorized=vectorized).class_gradients(parameters(f), *batch(18), counts=[6, 6, 6])
    assert len(calls) == passes


def test_the_real_branch_holds_the_graph_of_one_piece_of_first_derivatives(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    walk = torch.autograd.grad

    def recorded(outputs: Tensor, inputs: Any, **how: Any) -> Any:
        asked.append(how)
        return walk(outputs, inputs, **how)

    monkeypatch.setattr(torch.autograd, "grad", recorded)
    f = functional()
    Gradients(f).class_gradients(parameters(f), *batch(32), counts=[16, 16])
    assert f.grad_piece == 8
    assert asked == [{}] * 4, "one walk for each piece of 8 images, none of which keeps or creates a graph"


@pytest.mark.parametrize("distance", [row_cosine, cosine, squared, absolute])
@NORMS
def test_distance_gradient_equals_plain_double_backward(distance: Any, norm: str, training: bool) -> None:
    f = functional(norm)
    params, (images, labels), (real, real_labels) = parameters(f), batch(9), batch(12, seed=3)
    gradients = Gradients(f, training=training)
    _, target = gradients.loss_and_gradient(params, real, real_labels)
    value, slope = gradients.distance_gradient(params, images, labels, target, distance)

    net = module(f, params, norm, training=training)
    images.requires_grad_()
    loss = F.cross_entropy(net(images), labels)
    gradient = torch.autograd.grad(loss, list(net.parameters()), create_graph=True)
    expected = distance(dict(zip(f.names, gradient, strict=True)), target)
    close(value, expected.detach())
    close(slope, torch.autograd.grad(expected, images)[0])


def test_what_is_not_in_the_target_is_not_compared() -> None:
    f = functional()
    params, (images, labels) = parameters(f), batch(4)
    whole = Gradients(f).loss_and_gradient(params, *batch(5, seed=3))[1]
    names = [name for name, value in params.items() if value.ndim == 4]
    target = Gradients(f, names=names).class_gradients(params, *batch(5, seed=3), counts=[5])
    assert set(target) == set(names)
    value, slope = Gradients(f).distance_gradient(
        params, images, labels, {name: target[name][0] for name in names}, squared
    )
    gradient = Gradients(f).loss_and_gradient(params, images, labels)[1]
    close(value, sum(((gradient[n] - whole[n]) ** 2).sum() for n in names) + torch.zeros((), dtype=torch.float64))
    assert not torch.allclose(slope, Gradients(f).distance_gradient(params, images, labels, whole, squared)[1])


@NORMS
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("curvature", [False, True])
def test_products_equal_plain_double_backward(norm: str, training: bool, soft: bool, curvature: bool) -> None:
    f = functional(norm)
    params, (images, labels), vector = parameters(f), batch(21, soft=soft), direction(f)
    products = Gradients(f, training=training).gradient_and_products(
        params, images, labels, vector, curvature=curvature
    )

    net = module(f, params, norm, training=training)
    images.requires_grad_()
    labels.requires_grad_(soft)
    loss = F.cross_entropy(net(images), labels)
    gradient = torch.autograd.grad(loss, list(net.parameters()), create_graph=True)
    inner = sum((g * vector[n]).sum() for g, n in zip(gradient, f.names, strict=True)) + torch.zeros(())
    close(products.inner, inner.detach())
    close_all(products.gradient, [part.detach() for part in gradient])
    inputs = [images, *net.parameters(), *([labels] if soft else [])]
    expected = torch.autograd.grad(inner, inputs)
    close(products.images, expected[0])
    if soft:
        close(products.labels, expected[-1])
    else:
        assert products.labels is None
    if curvature:
        close_all(products.params, expected[1 : len(f.names) + 1])
    else:
        assert products.params is None


def test_the_product_with_the_hessian_is_symmetric() -> None:
    f = functional()
    params, (images, labels), u, v = parameters(f), batch(12), direction(f, 3), direction(f, 4)
    gradients = Gradients(f)
    hu, hv = (gradients.gradient_and_products(params, images, labels, w).params for w in (u, v))
    assert hu is not None
    assert hv is not None
    close(inner_product(hu, v), inner_product(u, hv))


@pytest.mark.parametrize(("labels", "params"), [(False, False), (False, True), (True, False), (True, True)])
def test_both_ways_to_second_derivatives_agree(labels: bool, params: bool) -> None:
    f = functional()
    trained = parameters(f)
    images, targets = batch(5, soft=labels)
    weighted = WeightedBatch(images, targets, torch.tensor([0.3, 0.1, 0.0, 0.4, 0.2], dtype=torch.float64))

    def loss(trained: Params, others: Params, batch: WeightedBatch) -> Tensor:
        logits = f.plain("logits", trained, batch.images)[0]
        return (batch.weights * F.cross_entropy(logits, batch.labels, reduction="none")).sum()

    nested, walked = (
        way(loss, row_cosine, labels=labels, params=params)(trained, {}, weighted, direction(f))
        for way in (nested_transforms, double_backward)
    )
    close(nested[0], walked[0])
    close_all(nested[1], walked[1].values())
    close(nested[2].images, walked[2].images)
    assert nested[2].images[2].eq(0).all(), "an image of weight zero moves nothing and is not moved"
    if walked[2].labels is not None:
        close(nested[2].labels, walked[2].labels)
    if walked[2].params is not None:
        close_all(nested[2].params, walked[2].params.values())
    for slopes in (nested[2], walked[2]):
        assert (slopes.labels is not None) == labels
        assert (slopes.params is not None) == params


def test_the_criterion_may_be_any_loss_of_an_image() -> None:
    def squared_error(logits: Tensor, labels: Tensor) -> Tensor:
        return (logits - labels).square().sum(1)

    f = functional()
    params, (images, labels) = parameters(f), batch(10, soft=True)
    products = Gradients(f, squared_error).gradient_and_products(params, images, labels, direction(f))
    net = module(f, params, "instance", training=True)
    loss = (net(images) - labels).square().sum() / 10
    close_all(products.gradient, torch.autograd.grad(loss, list(net.parameters())))


def test_printed_end_to_end_gradient_matching(fill: Fill) -> None:
    """On a tiny ConvNet whose parameter tensor j is 0.3 sin(0.7 k + j)."""
    f = Functional(build(ConvNetConfig(width=4, depth=2), SHAPE, 2), Compute(CPU))
    params = f.new(torch.Generator())
    for j, name in enumerate(f.names):
        params[name] = (0.3 * fill(params[name].numel(), a=0.7, b=j)).view_as(params[name])
    gradients = Gradients(f)
    ones = torch.ones(3, dtype=torch.int64)
    target = gradients.class_gradients(params, fill(3, *SHAPE, a=0.37), ones, [3])
    value, slope = gradients.distance_gradient(
        params, fill(2, *SHAPE, a=0.51, b=0.2), ones[:2], {n: t[0] for n, t in target.items()}, row_cosine
    )
    assert value.item() == pytest.approx(3.252180, rel=1e-5)
    assert slope.norm().item() == pytest.approx(2.108739, rel=1e-3)
    assert slope.abs().sum().item() == pytest.approx(32.659195, rel=1e-3)


class _MeanNet(Network):
    """Convolution without bias, ReLU, mean over the map, linear without bias."""

    def __init__(self) -> None:
        super().__init__((1, 4, 4), 2)
        self.conv = nn.Conv2d(1, 2, 3, padding=1, bias=False)
        self.classifier = nn.Linear(2, 2, bias=False)

    def block_outputs(self, x: Tensor) -> tuple[Tensor, ...]:
        return (F.relu(self.conv(x)),)

    def pool(self, last: Tensor) -> Tensor:
        return last.mean(dim=(2, 3))


def sines(*shape: int, shift: float = 0.0) -> Tensor:
    size = torch.Size(shape).numel()
    return torch.sin(torch.arange(1, size + 1, dtype=torch.float64) + shift).reshape(shape)


@pytest.mark.parametrize(
    ("distance", "value", "norm"),
    [(squared, 3.778134905556211e-05, 9.552373670398475e-05), (absolute, 0.020425041516705322, None)],
)
def test_printed_matching_of_idc(distance: Any, value: float, norm: float | None) -> None:
    """Worked out beforehand in float64: the weights of convolutions only."""
    params = {"conv.weight": 0.1 * sines(2, 1, 3, 3), "classifier.weight": 0.1 * sines(2, 2, shift=1)}
    gradients = Gradients(Functional(_MeanNet(), Compute(CPU)), names=["conv.weight"])
    zeros = torch.zeros(2, dtype=torch.int64)
    _, target = gradients.loss_and_gradient(params, sines(2, 1, 4, 4), zeros)
    got, slope = gradients.distance_gradient(params, sines(2, 1, 4, 4, shift=5), zeros, target, distance)
    assert got.item() == pytest.approx(value, rel=1e-12)
    if norm is not None:
        assert slope.norm().item() == pytest.approx(norm, rel=1e-12)


def test_results_depend_on_the_arguments_alone_and_leave_them_alone() -> None:
    f = functional()
    params, (images, labels), vector = parameters(f), batch(9), direction(f)
    for value in (images, *params.values()):
        value.requires_grad_()
    gradients = Gradients(f)
    with torch.no_grad():
        first = gradients.gradient_and_products(params, images, labels, vector)
    torch.rand(3)
    again = Gradients(f).gradient_and_products(params, images, labels, vector)
    assert torch.equal(first.images, again.images)
    assert first.params is not None
    assert again.params is not None
    assert all(torch.equal(first.params[name], again.params[name]) for name in f.names)
    assert images.grad is None
    assert all(value.grad is None for value in params.values())


@pytest.mark.parametrize("counts", [[9, 8], [18, 0], [], [-1, 19]])
def test_counts_that_are_not_of_the_images_are_refused(counts: list[int]) -> None:
    f = functional()
    with pytest.raises(ValueError, match="do not divide 18 images into classes"):
        Gradients(f).class_gradients(parameters(f), *batch(18), counts=counts)


@pytest.mark.parametrize(("images", "labels"), [(0, 0), (3, 2)])
def test_batches_without_a_label_for_every_image_are_refused(images: int, labels: int) -> None:
    f = functional()
    x, y = batch(4)
    with pytest.raises(ValueError, match=f"{labels} labels for {images} images"):
        Gradients(f).loss_and_gradient(parameters(f), x[:images], y[:labels])


def single(params: Params) -> Params:
    return {name: value.float() for name, value in params.items()}


@needs_compiler
@compiles
@pytest.mark.slow
def test_compiled_second_derivatives_equal_eager_ones_in_pieces_and_do_not_recompile() -> None:
    compiled = Compute(CPU, compiled=True, training_piece=0)
    eager, fast = Gradients(functional(depth=1)), Gradients(functional(compute=compiled, depth=1))
    target = single(direction(eager.functional))
    torch._dynamo.utils.counters.clear()
    for seed in (0, 1):
        params = single(parameters(eager.functional, seed))
        images, labels = batch(15, seed=seed)
        got, expected = (g.gradient_and_products(params, images.float(), labels, target) for g in (fast, eager))
        close(got.images, expected.images, 1e-4)
        close(got.inner, expected.inner, 1e-4)
        assert expected.params is not None
        close_all(got.params, expected.params.values(), 1e-4)
        pair = [g.distance_gradient(params, images[:4].float(), labels[:4], target, row_cosine) for g in (fast, eager)]
        close(pair[0][0], pair[1][0], 1e-5)
        close(pair[0][1], pair[1][1], 1e-3)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2, "15 images are two pieces of one size"


@needs_compiler
@compiles
@pytest.mark.slow
@pytest.mark.skipif(not computes_bf16(CPU), reason="the processor does not compute in bfloat16")
def test_bf16_stays_inside_the_network() -> None:
    exact = Gradients(functional(depth=1))
    rough = Gradients(functional(compute=Compute(CPU, "bf16", compiled=True), depth=1))
    params, (images, labels) = single(parameters(exact.functional)), batch(8)
    _, target = exact.loss_and_gradient(params, *(images.float().flip(3), labels))
    (_, expected), (value, slope) = (
        g.distance_gradient(params, images.float(), labels, target, row_cosine) for g in (exact, rough)
    )
    assert value.dtype == slope.dtype == torch.float32
    assert not torch.equal(slope, expected), "bfloat16 was not used"
    assert F.cosine_similarity(slope.flatten(), expected.flatten(), dim=0) > 0.99
