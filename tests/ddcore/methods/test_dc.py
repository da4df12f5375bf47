"""DC and DSA against figures worked out beforehand and against the published loops, written plainly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ddcore.augment import siamese
from ddcore.autograd.gradients import Gradients
from ddcore.machine.compute import Compute
from ddcore.methods import build_method
from ddcore.methods.dc import DISTANCES
from ddcore.methods.shared.feature_matching import MatchingStep
from ddcore.methods.shared.gradient_matching import GradientMatching
from ddcore.nets import Network, build
from ddcore.nets.functional import Functional
from ddcore.runtime.context import Run
from ddcore.spec import ConvNetConfig, DCConfig
from tests.ddcore.watching import watched

CPU = torch.device("cpu")
Make = Callable[..., Run]


def ready(make_run: Make, name: str = "dc", compute: Compute | None = None, **fields: Any) -> GradientMatching[Any]:
    job = {key: fields.pop(key) for key in ("ipc", "network", "init", "augmentation") if key in fields}
    run = make_run(compute=compute, method={"name": name, "batch_real": 16, **fields}, **job)
    method = build_method(run.spec.method, run)
    assert isinstance(method, GradientMatching)
    return method


def test_printed_loss_and_gradient_of_the_tiny_convnet(fill: Callable[..., Tensor]) -> None:
    functional = Functional(build(ConvNetConfig(depth=2, width=4), (3, 8, 8), 2), Compute(CPU))
    params = functional.new(torch.Generator().manual_seed(0))
    for j, name in enumerate(functional.names):
        params[name].copy_(0.3 * torch.sin(0.7 * torch.arange(params[name].numel()).double() + j).view_as(params[name]))
    gradients, ones = Gradients(functional), torch.ones(3, dtype=torch.int64)
    _, target = gradients.loss_and_gradient(params, fill(3, 3, 8, 8, a=0.37), ones)
    synthetic = fill(2, 3, 8, 8, a=0.51, b=0.2)
    loss, slope = gradients.distance_gradient(params, synthetic, ones[:2], target, DISTANCES["ours"])
    assert loss.item() == pytest.approx(3.252180, rel=1e-5)
    assert slope.norm().item() == pytest.approx(2.108739, rel=1e-4)
    assert slope.abs().sum().item() == pytest.approx(32.659195, rel=1e-4)


def plain_distance(metric: str, synthetic: tuple[Tensor, ...], real: tuple[Tensor, ...]) -> Tensor:
    """The three distances as the released code writes them."""
    if metric == "ours":
        rows = [(g.flatten(1), r.flatten(1)) for g, r in zip(synthetic, real, strict=True) if g.ndim > 1]
        parts = [1 - (g * r).sum(1) / (g.norm(dim=1) * r.norm(dim=1) + 1e-6) for g, r in rows]
        return torch.cat(parts).sum()
    g, r = (torch.cat([part.flatten() for part in parts]) for parts in (synthetic, real))
    return ((g - r) ** 2).sum() if metric == "mse" else 1 - (g * r).sum() / (g.norm() * r.norm() + 1e-6)


def network_of(run: Run, params: dict[str, Tensor]) -> Network:
    network = build(run.spec.network, run.dataset.shape, len(run.dataset.classes))
    network.load_state_dict({name: value.detach().clone() for name, value in params.items()})
    return network


def published_step(method: GradientMatching[Any], step: MatchingStep, network: Network) -> tuple[float, Tensor]:
    """One graph of second derivatives for all classes, as the released code keeps it."""
    run, ipc = method.run, step.synthetic.ipc
    images = step.synthetic.images.detach().clone().requires_grad_()
    weights, loss = list(network.parameters()), torch.zeros(())
    for c, (rows, drawn) in enumerate(zip(step.rows, step.draws, strict=True)):
        real = siamese.apply(drawn, run.dataset.normalize(run.dataset.train.images[rows]))
        own = siamese.apply(drawn, images[c * ipc : (c + 1) * ipc])
        on_real = F.cross_entropy(network(real), torch.full((len(real),), c))
        on_own = F.cross_entropy(network(own), torch.full((ipc,), c))
        target = tuple(g.detach() for g in torch.autograd.grad(on_real, weights))
        gradient = torch.autograd.grad(on_own, weights, create_graph=True)
        loss = loss + plain_distance(method.config.distance, gradient, target)
    loss.backward()
    assert images.grad is not None
    return loss.item(), images.grad


@pytest.mark.parametrize("name", ["dc", "dsa"])
@pytest.mark.parametrize("distance", ["ours", "mse", "cos"])
@pytest.mark.parametrize("pieces", [0, 128], ids=["pieces", "groups"])
def test_class_by_class_equals_one_graph_for_all(make_run: Make, name: str, distance: str, pieces: int) -> None:
    method = ready(make_run, name, Compute(CPU, training_piece=pieces), distance=distance, outer_loop=2, inner_loop=2)
    synthetic = method.start()
    for index in range(3):
        synthetic.clear_gradient()
        step = method.draw(index, synthetic)
        expected, gradient = published_step(method, step, network_of(method.run, step.params))
        loss = method.backward(step)["loss/base"].item()
        assert loss == pytest.approx(expected, rel=1e-4)
        assert torch.allclose(synthetic.gradient, gradient, rtol=1e-3, atol=1e-4 * gradient.abs().max().item())
        synthetic.step()
        method.advance(step)


def test_batch_norm_is_warmed_up_on_real_images_and_then_frozen(make_run: Make) -> None:
    method = ready(make_run, network={"name": "convnet", "width": 8, "norm": "batch"})
    run, synthetic = method.run, method.start()
    state = run.random.state()
    step = method.draw(0, synthetic)

    run.random.load_state(state)
    fresh = run.functional.new(run.random.stream("method/network"))
    network = network_of(run, fresh).train()
    rows = run.sampler.draw_each(16, run.random.host_stream("method/warm-up"))
    with torch.no_grad():
        network(run.real_images(torch.cat(rows)))
    torch.testing.assert_close(step.params["blocks.0.1.running_mean"], network.get_buffer("blocks.0.1.running_mean"))

    before = step.params["blocks.0.1.running_var"].clone()
    expected, gradient = published_step(method, step, network.eval())
    assert method.backward(step)["loss/base"].item() == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(synthetic.gradient, gradient, rtol=1e-3, atol=1e-4 * gradient.abs().max().item())
    assert torch.equal(step.params["blocks.0.1.running_var"], before)
    assert not torch.equal(before, torch.ones_like(before))


def test_one_augmentation_is_drawn_for_each_class_and_used_on_both_sides(
    make_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = ready(make_run, "dsa", ipc=2)
    synthetic = method.start()
    step = method.draw(0, synthetic)
    assert len(step.draws) == synthetic.classes
    on_real: list[siamese.Draw] = []
    on_own: list[siamese.Draw] = []
    by_class, alone = siamese.apply_by_class, siamese.apply
    monkeypatch.setattr(siamese, "apply_by_class", watched(by_class, lambda *given, **_: on_real.extend(given[0])))
    monkeypatch.setattr("ddcore.augment.siamese.apply", watched(alone, lambda *given, **_: on_own.append(given[0])))
    method.backward(step)
    assert [id(drawn) for drawn in on_real] == [id(drawn) for drawn in step.draws]
    assert {id(drawn) for drawn in step.draws} <= {id(drawn) for drawn in on_own}
    assert all(p.numel() == 1 for drawn in step.draws for p in drawn.parameters)
    again = method.draw(1, synthetic)
    assert [d.operation for d in step.draws] != [d.operation for d in again.draws] or any(
        not torch.equal(p, q)
        for one, other in zip(step.draws, again.draws, strict=True)
        for p, q in zip(one.parameters, other.parameters, strict=True)
    )


def test_dc_draws_no_augmentation(make_run: Make) -> None:
    method = ready(make_run)
    assert method.run.strategy == ()
    assert {drawn.operation for drawn in method.draw(0, method.start()).draws} == {None}


def test_the_network_is_trained_between_the_steps_of_an_outer_iteration_and_new_after_them(make_run: Make) -> None:
    method = ready(make_run, ipc=2, outer_loop=3, inner_loop=2, lr_net=0.05)
    synthetic = method.start()
    seen = []
    for index in range(4):
        step = method.draw(index, synthetic)
        start = {name: value.clone() for name, value in step.params.items()}
        method.backward(step)
        assert all(torch.equal(step.params[name], value) for name, value in start.items())
        method.advance(step)
        seen.append((start, {name: value.clone() for name, value in step.params.items()}))

    def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
        return all(torch.equal(one[name], other[name]) for name in one)

    assert [same(start, end) for start, end in seen] == [False, False, True, False]
    assert [same(seen[i][1], seen[i + 1][0]) for i in range(3)] == [True, True, False]

    # All six images are one batch, so two epochs are two plain steps down the gradient.
    network = network_of(method.run, seen[0][0])
    weights = list(network.parameters())
    for _ in range(2):
        loss = F.cross_entropy(network(synthetic.images.detach()), synthetic.labels)
        with torch.no_grad():
            for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                weight.sub_(0.05 * gradient)
    for name, weight in network.named_parameters():
        torch.testing.assert_close(seen[0][1][name], weight.detach(), rtol=1e-4, atol=1e-5)


def test_regularisers_are_told_when_the_network_is_new(make_run: Make) -> None:
    method = ready(make_run, ipc=2, outer_loop=3, inner_loop=0)
    synthetic = method.start()
    assert [method.draw(index, synthetic).fresh_network for index in range(7)] == [i % 3 == 0 for i in range(7)]


def test_dsa_trains_the_network_on_augmented_images(make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    recipes = []
    monkeypatch.setattr("ddcore.methods.dc.train", lambda *args: recipes.append(args[4]))
    for name in ("dc", "dsa"):
        method = ready(make_run, name, outer_loop=2)
        synthetic = method.start()
        method.advance(method.draw(0, synthetic))
    assert recipes[0].strategy == ()
    assert recipes[1].strategy == method.run.strategy != ()
    assert {(r.lr, r.momentum, r.weight_decay, r.batch_size, r.epochs) for r in recipes} == {(0.01, 0, 0, 256, 50)}


def test_one_image_per_class_never_trains_the_network(make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddcore.methods.dc.train", lambda *_: pytest.fail("trained"))
    method = ready(make_run, ipc=1)
    synthetic = method.start()
    weights = []
    for index in range(3):
        step = method.draw(index, synthetic)
        method.advance(step)
        weights.append(step.params["classifier.weight"].clone())
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])


def test_a_saved_network_is_taken_up_again(make_run: Make) -> None:
    method = ready(make_run, ipc=2, outer_loop=3, inner_loop=1)
    step = method.draw(0, method.start())
    method.advance(step)
    saved = {name: value.clone() for name, value in method.state().items()}
    other = ready(make_run, ipc=2, outer_loop=3, inner_loop=1)
    synthetic = other.start()
    other.load_state(saved)
    resumed = other.draw(1, synthetic)
    assert all(torch.equal(resumed.params[name], value) for name, value in saved.items())


def test_starting_images_follow_the_job(make_run: Make) -> None:
    dc, dsa = ready(make_run), ready(make_run, "dsa")
    noise, real = dc.start().images.detach(), dsa.start().images.detach()
    images = dsa.run.real_images(torch.arange(len(dsa.run.dataset.train)))
    for starting, found in ((noise, False), (real, True)):
        assert bool((starting[:, None] == images[None]).flatten(2).all(dim=2).any(dim=1).all()) is found
    rows = dc.start().learned["images"]
    assert (rows.lr, rows.momentum) == (0.1, 0.5)


def test_loops_are_those_of_the_table_unless_given() -> None:
    assert DCConfig(outer_loop=7).loops(10) == (7, 50)
    assert DCConfig(inner_loop=0).loops(50) == (50, 0)
    assert [DCConfig().loops(ipc) for ipc in (9, 11, 41, 200)] == [(9, 50), (11, 25), (41, 10), (50, 10)]


def test_only_the_graph_of_one_class_is_held_at_a_time(make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    method = ready(make_run, ipc=2)
    batches = []
    derive = method._gradients.distance_gradient
    monkeypatch.setattr(
        method._gradients,
        "distance_gradient",
        watched(derive, lambda *args, **kwargs: batches.append(len(args[1]))),
    )
    synthetic = method.start()
    loss = method.backward(method.draw(0, synthetic))["loss/base"]
    assert batches == [2] * synthetic.classes
    assert not loss.requires_grad
