"""The adjoint against unrolled autograd, the printed numbers, and its promise of constant memory.

What is printed here was worked out beforehand in float64, without this code.
Printed losses, norms and rates agree to 1e-12. A few entries of the printed rows are wrong from the eighth digit
on, which the printed norms and unrolled autograd both contradict, so rows are held against the print to 5e-8 and
against unrolled autograd to 1e-12.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from ddcore.augment import siamese
from ddcore.autograd.adjoint import Batch, InnerAdam, InnerSGD, InnerTraining, OuterGradient
from ddcore.autograd.gradients import Gradients
from ddcore.machine.compute import Compute
from ddcore.nets import Functional, Network, Params, build
from ddcore.spec import ConvNetConfig
from tests.ddcore.compiler import compiles, needs_compiler

CPU = torch.device("cpu")
SHAPE, CLASSES = (3, 8, 8), 3

Query = Callable[[Params], Tensor]

PRINTED_ROW = 5e-8


def sines(*shape: int, shift: float = 0.0) -> Tensor:
    size = torch.Size(shape).numel()
    return torch.sin(torch.arange(1, size + 1, dtype=torch.float64) + shift).reshape(shape)


class _Linear(Network):
    """Logits X W^T of images with three values."""

    def __init__(self) -> None:
        super().__init__((3, 1, 1), 2)
        self.classifier = nn.Linear(3, 2, bias=False)

    def block_outputs(self, x: Tensor) -> tuple[Tensor, ...]:
        return (x,)


def whole(step: int, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    return images, labels


class Printed:
    """Problem Q: four samples of three sines, a linear classifier of two classes, and an expert near its start."""

    def __init__(self) -> None:
        self.gradients = Gradients(Functional(_Linear(), Compute(CPU)))
        self.images = sines(4, 3).view(4, 3, 1, 1)
        self.labels = torch.tensor([0, 1, 0, 1])
        self.start = {"classifier.weight": 0.1 * sines(2, 3, shift=0.5)}
        self.target = self.start["classifier.weight"] + 0.05 * sines(2, 3, shift=2)

    def expert_distance(self, end: Params) -> Tensor:
        start, weight = self.start["classifier.weight"], end["classifier.weight"]
        return (weight - self.target).square().sum() / (start - self.target).square().sum()

    def query_loss(self, end: Params) -> Tensor:
        return F.cross_entropy(sines(4, 3, shift=7) @ end["classifier.weight"].T, self.labels)


def differentiate(
    sgd: InnerTraining, start: Params, images: Tensor, labels: Tensor, query: Query, *, curvature: bool = True
) -> tuple[Tensor, OuterGradient]:
    """The outer loss and its gradient by the adjoint."""
    path = sgd.forward(start, images, labels)
    names = sgd.gradients.names
    end = {**path[-1], **{name: path[-1][name].clone().requires_grad_() for name in names}}
    loss = query(end)
    final = dict(zip(names, torch.autograd.grad(loss, [end[name] for name in names]), strict=True))
    return loss.detach(), sgd.backward(path, final, images, labels, curvature=curvature)


def unrolled(
    network: Network, sgd: InnerSGD, start: Params, images: Tensor, labels: Tensor, query: Query
) -> tuple[Tensor, Sequence[Tensor]]:
    """The same by one graph of all steps, on the plain module: loss, and slopes in images, lr and soft labels."""
    images = images.clone().requires_grad_()
    labels = labels.clone().requires_grad_(labels.is_floating_point())
    lr = torch.as_tensor(sgd.lr, dtype=images.dtype).clone().requires_grad_()
    theta = {name: value.clone().requires_grad_() for name, value in start.items()}
    velocity = {name: torch.zeros_like(value) for name, value in start.items()}
    for step in range(sgd.steps):
        x, y = sgd.batch(step, images, labels)
        loss = F.cross_entropy(functional_call(network, theta, (x,)), y)
        gradient = torch.autograd.grad(loss, list(theta.values()), create_graph=True)
        velocity = {n: sgd.momentum * velocity[n] + g for n, g in zip(theta, gradient, strict=True)}
        theta = {name: theta[name] - lr * velocity[name] for name in theta}
    outer = query(theta)
    return outer.detach(), torch.autograd.grad(outer, [images, lr, *([labels] if labels.requires_grad else [])])


def close(got: Tensor | None, expected: Tensor, tolerance: float = 1e-10) -> None:
    assert got is not None
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


def printed(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_printed_trajectory_matching() -> None:
    q = Printed()
    sgd = InnerSGD(q.gradients, whole, steps=3, lr=0.5)
    loss, slope = differentiate(sgd, q.start, q.images, q.labels, q.expert_distance)
    assert loss.item() == pytest.approx(100.16996838388324, rel=1e-12)
    assert slope.images.norm().item() == pytest.approx(24.066940035979798, rel=1e-12)
    close(slope.images[0].flatten(), printed(2.2719617969612, 9.1949728315983, 7.6641682496537), PRINTED_ROW)
    close(slope.images, unrolled(_Linear(), sgd, q.start, q.images, q.labels, q.expert_distance)[1][0], 1e-12)
    assert slope.lr.item() == pytest.approx(260.2931384658736, rel=1e-12)
    assert slope.labels is None


def test_printed_approximation_of_tesla() -> None:
    q = Printed()
    sgd = InnerSGD(q.gradients, whole, steps=3, lr=torch.tensor(0.5, dtype=torch.float64))
    _, exact = differentiate(sgd, q.start, q.images, q.labels, q.expert_distance)
    _, slope = differentiate(sgd, q.start, q.images, q.labels, q.expert_distance, curvature=False)
    assert slope.images.norm().item() == pytest.approx(40.41171191132556, rel=1e-12)
    close(slope.images[0].flatten(), printed(6.2300257596841, 15.8904325201644, 10.9412484839814), PRINTED_ROW)
    assert slope.lr.item() == pytest.approx(375.11091900738523, rel=1e-12)
    cosine = F.cosine_similarity(slope.images.flatten(), exact.images.flatten(), dim=0)
    assert cosine.item() == pytest.approx(0.986151600883842, rel=1e-12)


def test_printed_back_propagation_through_time_with_momentum() -> None:
    q = Printed()
    sgd = InnerSGD(q.gradients, whole, steps=3, lr=0.1, momentum=0.9)
    loss, slope = differentiate(sgd, q.start, q.images, q.labels, q.query_loss)
    assert loss.item() == pytest.approx(0.36718533801047953, rel=1e-12)
    assert slope.images.norm().item() == pytest.approx(0.06854422213302662, rel=1e-12)
    close(slope.images[0].flatten(), printed(-0.0268206468400, -0.0134984854187, 0.0122341212351), PRINTED_ROW)
    close(slope.images, unrolled(_Linear(), sgd, q.start, q.images, q.labels, q.query_loss)[1][0], 1e-12)


@pytest.mark.parametrize("how", ["beside the images", "among the images"])
def test_printed_sequential_matching_with_frozen_rows(how: str) -> None:
    q = Printed()
    old = q.images[:2]
    if how == "beside the images":
        learned = q.images[2:]
        batch: Batch = lambda step, images, labels: (torch.cat([old, images]), labels)  # noqa: E731
    else:
        learned = q.images
        batch = lambda step, images, labels: (torch.cat([images[:2].detach(), images[2:]]), labels)  # noqa: E731
    sgd = InnerSGD(q.gradients, batch, steps=3, lr=0.5)
    loss, slope = differentiate(sgd, q.start, learned, q.labels, q.expert_distance)
    assert loss.item() == pytest.approx(100.16996838388324, rel=1e-12)
    expected = printed(
        1.8067759391023, 8.8129846995903, 7.7165759704362, -1.9619563783221, -9.1516391092907, -7.92734724419
    )
    close(slope.images[-2:].flatten(), expected, PRINTED_ROW)
    close(slope.images, unrolled(_Linear(), sgd, q.start, learned, q.labels, q.expert_distance)[1][0], 1e-12)
    assert slope.images[:-2].eq(0).all()


def problem(dtype: torch.dtype = torch.float64, *, soft: bool = False) -> tuple[Params, Tensor, Tensor, Query]:
    """A ConvNet of width 6 and depth 2, six images of three classes, and an expert nearby."""
    f = functional()
    params = {name: value.to(dtype) for name, value in f.new(torch.Generator().manual_seed(0)).items()}
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(6, *SHAPE, generator=generator, dtype=torch.float64).to(dtype)
    scores = torch.randn(6, CLASSES, generator=generator, dtype=torch.float64).to(dtype)
    expert = {n: v + 0.05 * torch.randn(v.shape, generator=generator, dtype=dtype) for n, v in params.items()}

    def distance(end: Params) -> Tensor:
        far = sum((params[name] - expert[name]).square().sum() for name in params)
        total = sum((end[name] - expert[name]).square().sum() for name in params) + torch.zeros(())
        return total / far

    return params, images, scores.softmax(1) if soft else torch.tensor([0, 0, 1, 1, 2, 2]), distance


def functional(piece: int = 128) -> Functional:
    return Functional(network(), Compute(CPU, training_piece=piece // 16))


def network() -> Network:
    return build(ConvNetConfig(width=6, depth=2), SHAPE, CLASSES)


def minibatches(steps: int) -> Batch:
    """Rows in another order at every step, and another augmentation of every image."""
    generator = torch.Generator().manual_seed(2)
    rows = [torch.randperm(6, generator=generator)[:4] for _ in range(steps)]
    strategy = siamese.strategy_for("color_crop_cutout_flip", flip=True)
    draws = [siamese.draw(strategy, 4, SHAPE, generator) for _ in range(steps)]

    def batch(step: int, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return siamese.apply(draws[step], images[rows[step]]), labels[rows[step]]

    return batch


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("steps", [1, 4])
def test_the_adjoint_is_the_gradient_of_the_unrolled_training(momentum: float, soft: bool, steps: int) -> None:
    params, images, labels, distance = problem(soft=soft)
    sgd = InnerSGD(Gradients(functional()), whole, steps, 0.05, momentum)
    loss, slope = differentiate(sgd, params, images, labels, distance)
    expected_loss, expected = unrolled(network(), sgd, params, images, labels, distance)
    close(loss, expected_loss)
    close(slope.images, expected[0])
    close(slope.lr, expected[1])
    if soft:
        close(slope.labels, expected[2])
    else:
        assert slope.labels is None


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_rows_and_augmentation_are_replayed(momentum: float) -> None:
    params, images, labels, distance = problem()
    sgd = InnerSGD(Gradients(functional()), minibatches(8), 8, 0.05, momentum)
    loss, slope = differentiate(sgd, params, images, labels, distance)
    expected_loss, expected = unrolled(network(), sgd, params, images, labels, distance)
    close(loss, expected_loss)
    close(slope.images, expected[0])
    close(slope.lr, expected[1])


def test_a_decoder_passes_the_slope_on() -> None:
    """Half-size images that every step enlarges: what is learned need not be what is trained on."""

    def enlarged(step: int, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return F.interpolate(images, scale_factor=2, mode="bilinear"), labels

    params, images, labels, distance = problem()
    small = F.avg_pool2d(images, 2)
    sgd = InnerSGD(Gradients(functional()), enlarged, 3, 0.05)
    _, slope = differentiate(sgd, params, small, labels, distance)
    close(slope.images, unrolled(network(), sgd, params, small, labels, distance)[1][0])


def test_a_batch_larger_than_a_piece_changes_nothing() -> None:
    params, images, labels, distance = problem()
    images, labels = images.repeat(3, 1, 1, 1) + torch.arange(18).view(-1, 1, 1, 1) / 10, labels.repeat(3)
    slopes = [
        differentiate(InnerSGD(Gradients(functional(piece)), whole, 3, 0.05), params, images, labels, distance)[1]
        for piece in (8 * 16, 1024 * 16)
    ]
    close(slopes[0].images, slopes[1].images)
    close(slopes[0].lr, slopes[1].lr)


def test_float32_keeps_four_digits_through_twenty_steps() -> None:
    params, images, labels, distance = problem(torch.float32)
    sgd = InnerSGD(Gradients(functional()), whole, 20, 0.02)
    loss, slope = differentiate(sgd, params, images, labels, distance)
    expected_loss, expected = unrolled(network(), sgd, params, images, labels, distance)
    close(loss, expected_loss, 1e-5)
    assert slope.images.dtype == torch.float32
    close(slope.images, expected[0], 1e-4)
    close(slope.lr, expected[1], 1e-4)


def test_a_rate_of_zero_still_has_a_slope() -> None:
    params, images, labels, distance = problem()
    sgd = InnerSGD(Gradients(functional()), whole, 3, 0.0, 0.9)
    _, slope = differentiate(sgd, params, images, labels, distance)
    _, expected = unrolled(network(), sgd, params, images, labels, distance)
    assert slope.images.eq(0).all()
    close(slope.lr, expected[1])
    assert slope.lr != 0


def test_the_same_training_twice_gives_the_same_bytes_and_changes_nothing() -> None:
    params, images, labels, distance = problem()
    before = {name: value.clone() for name, value in params.items()}
    lr = torch.tensor(0.05, dtype=torch.float64, requires_grad=True)
    images.requires_grad_()
    sgd = InnerSGD(Gradients(functional()), minibatches(4), 4, lr, 0.5)
    first, again = (differentiate(sgd, params, images, labels, distance)[1] for _ in range(2))
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.lr, again.lr)
    assert all(torch.equal(params[name], before[name]) for name in params)
    assert images.grad is None
    assert lr.grad is None
    assert not first.images.requires_grad
    assert not first.lr.requires_grad


def test_constant_batches_have_no_slope_in_the_images() -> None:
    params, images, labels, distance = problem()
    sgd = InnerSGD(Gradients(functional()), lambda step, *_: (images, labels), 2, 0.05)
    _, slope = differentiate(sgd, params, torch.zeros_like(images), labels, distance)
    assert slope.images.eq(0).all()
    assert slope.lr != 0


@pytest.mark.parametrize("steps", [0, -1])
def test_a_training_has_steps(steps: int) -> None:
    with pytest.raises(ValueError, match=f"{steps} steps of training"):
        InnerSGD(Gradients(functional()), whole, steps, 0.1)


def test_the_path_of_another_training_is_refused() -> None:
    params, images, labels, _ = problem()
    gradients = Gradients(functional())
    path = InnerSGD(gradients, whole, 2, 0.1).forward(params, images, labels)
    with pytest.raises(ValueError, match="a path of 2 steps for a training of 3"):
        InnerSGD(gradients, whole, 3, 0.1).backward(path, params, images, labels)


def peak_bytes(work: Callable[[], object]) -> int:
    """Largest sum of tensor memory that ``work`` holds at a time, beyond what was there before."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        work()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def test_memory_does_not_grow_with_the_steps_beyond_the_stored_parameters() -> None:
    params, images, labels, distance = problem(torch.float32)
    size = sum(value.numel() * value.element_size() for value in params.values())

    def peak(steps: int) -> int:
        sgd = InnerSGD(Gradients(functional()), whole, steps, 0.02)
        return peak_bytes(lambda: differentiate(sgd, params, images, labels, distance)) - steps * size

    def unrolled_peak(steps: int) -> int:
        sgd = InnerSGD(Gradients(functional()), whole, steps, 0.02)
        return peak_bytes(lambda: unrolled(network(), sgd, params, images, labels, distance)) - steps * size

    assert peak(50) < 1.15 * peak(10)
    assert unrolled_peak(50) > 3 * unrolled_peak(10), "the measurement would notice"


@needs_compiler
@compiles
@pytest.mark.slow
def test_the_compiled_adjoint_keeps_four_digits() -> None:
    _, images, labels, _ = problem(torch.float32)
    config = ConvNetConfig(width=6, depth=1)
    net = build(config, SHAPE, CLASSES)
    f = Functional(net, Compute(CPU, compiled=True))
    params = f.new(torch.Generator().manual_seed(0))

    def norm(end: Params) -> Tensor:
        return sum((value.square().sum() for value in end.values()), torch.zeros(()))

    torch._dynamo.utils.counters.clear()
    sgd = InnerSGD(Gradients(f), whole, 20, 0.02)
    _, slope = differentiate(sgd, params, images, labels, norm)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2, "one for each way, whatever the step"
    _, expected = unrolled(net, sgd, params, images, labels, norm)
    close(slope.images, expected[0], 1e-4)
    close(slope.lr, expected[1], 1e-4)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("window", [None, 1, 2, 5])
def test_a_window_counts_the_last_steps_only(momentum: float, window: int | None) -> None:
    params, images, labels, distance = problem()
    lr = torch.tensor(0.05, dtype=torch.float64, requires_grad=True)
    sgd = InnerSGD(Gradients(functional()), minibatches(5), 5, lr, momentum, window=window)
    loss, slope = differentiate(sgd, params, images, labels, distance)
    images.requires_grad_()
    end = distance(sgd.unroll(params, images, labels))
    close(loss, end.detach())
    expected = torch.autograd.grad(end, [images, lr])
    close(slope.images, expected[0])
    if momentum == 0 or window in (None, 5):
        close(slope.lr, expected[1])
    if window is None:
        _, whole_way = unrolled(network(), sgd, params, images.detach(), labels, distance)
        close(slope.images, whole_way[0])


def test_a_window_keeps_no_more_than_it_needs() -> None:
    params, images, labels, _ = problem()
    sgd = InnerSGD(Gradients(functional()), whole, 4, 0.05, 0.9, window=2)
    path = sgd.forward(params, images, labels)
    everything = InnerSGD(Gradients(functional()), whole, 4, 0.05, 0.9).forward(params, images, labels)
    assert len(path) == 3
    for kept, full in zip(path, everything[-3:], strict=True):
        assert all(torch.equal(kept[name], full[name]) for name in kept)


@pytest.mark.parametrize("window", [0, 4])
def test_a_window_lies_within_the_training(window: int) -> None:
    with pytest.raises(ValueError, match=f"a window of {window} of 3 steps"):
        InnerSGD(Gradients(functional()), whole, 3, 0.1, window=window)


def unrolled_adam(
    network: Network, adam: InnerAdam, start: Params, images: Tensor, labels: Tensor, query: Query
) -> tuple[Tensor, Sequence[Tensor]]:
    """Adam as its paper has it, in one graph of the window on the plain module; slopes as of :func:`unrolled`."""
    images, labels = images.clone().requires_grad_(), labels.clone().requires_grad_(labels.is_floating_point())
    lr = torch.as_tensor(adam.lr, dtype=images.dtype).clone().requires_grad_()
    theta = {name: value.clone().requires_grad_() for name, value in start.items()}
    m, v = ({name: torch.zeros_like(value) for name, value in start.items()} for _ in range(2))
    beta, gamma = adam.betas
    for t in range(1, adam.steps + 1):
        if adam.window is not None and t == adam.steps - adam.window + 1:
            theta = {name: value.detach().requires_grad_() for name, value in theta.items()}
            m, v = ({name: value.detach() for name, value in moment.items()} for moment in (m, v))
        loss = F.cross_entropy(functional_call(network, theta, (adam.batch(t - 1, images, labels)[0],)), labels)
        slopes = torch.autograd.grad(loss, list(theta.values()), create_graph=True)
        moved = {}
        for name, g in zip(theta, slopes, strict=True):
            m[name] = beta * m[name] + (1 - beta) * g
            v[name] = gamma * v[name] + (1 - gamma) * g**2
            # An entry without a gradient has a root of 1e-150, which does not count beside eps, and no slope there.
            root = (v[name] / (1 - gamma**t)).clamp(min=1e-300).sqrt()
            moved[name] = theta[name] - lr * (m[name] / (1 - beta**t)) / (root + adam.eps)
        theta = moved
    outer = query(theta)
    return outer.detach(), torch.autograd.grad(outer, [images, lr, *([labels] if labels.requires_grad else [])])


def every_image(steps: int) -> Batch:
    """All images in each step, shifted by another number of pixels."""
    return lambda step, images, labels: (images.roll(step % 3, dims=3), labels)


def query_loss(end: Params) -> Tensor:
    """The loss on other images, which biases before a normalisation do not move.

    Their gradients are rounding, which one over epsilon makes large where an outer loss counts them.
    """
    images = sines(6, *SHAPE, shift=4).to(end["classifier.weight"])
    return F.cross_entropy(functional_call(network(), end, (images,)), torch.tensor([0, 1, 2, 0, 1, 2]))


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(("steps", "window"), [(4, None), (20, 5), (5, 1)])
def test_the_adjoint_of_adam_is_the_gradient_of_the_unrolled_training(
    steps: int, window: int | None, soft: bool
) -> None:
    params, images, labels, _ = problem(soft=soft)
    adam = InnerAdam(Gradients(functional()), every_image(steps), steps, 0.003, window=window)
    loss, slope = differentiate(adam, params, images, labels, query_loss)
    expected_loss, expected = unrolled_adam(network(), adam, params, images, labels, query_loss)
    close(loss, expected_loss)
    close(slope.images, expected[0])
    close(slope.lr, expected[1])
    if soft:
        close(slope.labels, expected[2])
    else:
        assert slope.labels is None


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("betas", [(0.0, 0.9), (0.5, 0.0), (0.99, 0.5)])
def test_other_moments_and_epsilons(betas: tuple[float, float], steps: int) -> None:
    """The first step of Adam moves each weight by lr g / (|g| + eps), whose slope is rounding unless eps is large."""
    params, images, labels, _ = problem()
    adam = InnerAdam(Gradients(functional()), every_image(steps), steps, 0.003, betas, 1e-2)
    _, slope = differentiate(adam, params, images, labels, query_loss)
    _, expected = unrolled_adam(network(), adam, params, images, labels, query_loss)
    close(slope.images, expected[0])
    close(slope.lr, expected[1])


def test_an_entry_without_a_gradient_has_the_slope_of_one_over_epsilon() -> None:
    """Where a channel is black its weights have no gradient, nor a root with a slope, but brightening it moves them."""
    params, images, labels, _ = problem()
    images[:, 0] = 0
    adam = InnerAdam(Gradients(functional()), whole, 3, 0.003)
    _, slope = differentiate(adam, params, images, labels, query_loss)
    _, expected = unrolled_adam(network(), adam, params, images, labels, query_loss)
    assert bool(torch.isfinite(slope.images).all())
    assert slope.images[:, 0].abs().max() > 1000 * slope.images[:, 1].abs().max()
    close(slope.images[:, 0], expected[0][:, 0])
    close(slope.images[:, 1:], expected[0][:, 1:])


def test_adam_goes_where_that_of_torch_goes() -> None:
    params, images, labels, _ = problem()
    net = network().double()
    net.load_state_dict(params)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.003)
    norms = list[Tensor]()

    def note(gradient: Params) -> None:
        norms.append(torch.stack([part.norm() for part in gradient.values()]).norm())

    path = InnerAdam(Gradients(functional()), every_image(6), 6, 0.003, window=2).forward(
        params, images, labels, seen=note
    )
    for step in range(6):
        optimizer.zero_grad()
        F.cross_entropy(net(images.roll(step % 3, dims=3)), labels).backward()
        gradient = torch.stack([p.grad.norm() for p in net.parameters() if p.grad is not None]).norm()
        close(norms[step], gradient)
        optimizer.step()
    assert len(path) == len(path.moments) == 3
    for name, value in net.named_parameters():
        close(path[-1][name], value.detach(), 1e-9)


def test_memory_of_adam_does_not_grow_with_the_window_beyond_the_places_it_keeps() -> None:
    params, images, labels, _ = problem(torch.float32)
    size = sum(value.numel() * value.element_size() for value in params.values())

    def peak(steps: int, window: int) -> int:
        adam = InnerAdam(Gradients(functional()), whole, steps, 0.002, window=window)
        return peak_bytes(lambda: differentiate(adam, params, images, labels, query_loss)) - 3 * window * size

    few = peak(3, 3)
    assert peak(9, 9) < 1.15 * few
    assert peak(9, 3) < 1.05 * few


@pytest.mark.parametrize(("betas", "eps"), [((1.0, 0.9), 1e-8), ((0.9, -0.1), 1e-8), ((0.9, 0.999), 0.0)])
def test_what_adam_cannot_be_is_refused(betas: tuple[float, float], eps: float) -> None:
    with pytest.raises(ValueError, match="betas lie from 0 on and below 1, eps above 0"):
        InnerAdam(Gradients(functional()), whole, 3, 0.1, betas, eps)
