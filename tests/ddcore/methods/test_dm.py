"""DM against figures worked out beforehand and against the published loop, written plainly."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ddcore.augment import siamese
from ddcore.formulas.feature_distances import mean_embedding_distance
from ddcore.machine.compute import Compute
from ddcore.methods.dm import DM
from ddcore.methods.shared.feature_matching import MatchingStep
from ddcore.nets import build
from ddcore.nets.functional import Functional
from ddcore.regularizers import build_regularizer
from ddcore.runtime.context import Run
from ddcore.spec import ConvNetConfig, DMConfig

CPU = torch.device("cpu")


def test_printed_loss_and_gradient_of_the_tiny_convnet(fill: Callable[..., Tensor]) -> None:
    functional = Functional(build(ConvNetConfig(depth=2, width=4), (3, 8, 8), 2), Compute(CPU))
    params = functional.new(torch.Generator().manual_seed(0))
    for j, name in enumerate(functional.names):
        params[name].copy_(0.3 * torch.sin(0.7 * torch.arange(params[name].numel()).double() + j).view_as(params[name]))
    synthetic = fill(2, 3, 8, 8, a=0.51, b=0.2).requires_grad_()
    real = functional.features(params, fill(3, 3, 8, 8, a=0.37)).mean(0)
    loss = mean_embedding_distance(real, functional.features(params, synthetic).mean(0))
    loss.backward()
    assert loss.item() == pytest.approx(0.00760249, rel=1e-5)
    assert synthetic.grad is not None
    assert synthetic.grad.norm().item() == pytest.approx(0.0279126, rel=1e-4)


def published_loop(dm: DM, step: MatchingStep) -> tuple[float, Tensor]:
    """One class after another, one graph for all, as the released code goes about it."""
    run, ipc = dm.run, step.synthetic.ipc
    images = step.synthetic.images.detach().clone().requires_grad_()
    network = build(run.spec.network, run.dataset.shape, len(run.dataset.classes))
    network.load_state_dict(step.params)
    loss = torch.zeros(())
    for c, (rows, drawn) in enumerate(zip(step.rows, step.draws, strict=True)):
        with torch.no_grad():
            real = network.features(siamese.apply(drawn, run.dataset.normalize(run.dataset.train.images[rows])))
        synthetic = network.features(siamese.apply(drawn, images[c * ipc : (c + 1) * ipc]))
        loss = loss + ((real.mean(0) - synthetic.mean(0)) ** 2).sum()
    loss.backward()
    assert images.grad is not None
    return loss.item(), images.grad


@pytest.mark.parametrize("norm", ["instance", "layer", "none"])
@pytest.mark.parametrize("piece", [1, 128])
def test_one_pass_for_all_classes_equals_the_loop_over_classes(
    make_run: Callable[..., Run], norm: str, piece: int
) -> None:
    run = make_run(
        compute=Compute(CPU, piece=piece, training_piece=piece, graph=piece),
        method={"name": "dm", "batch_real": 16},
        network={"name": "convnet", "width": 8, "norm": norm},
    )
    assert isinstance(run.spec.method, DMConfig)
    dm = DM(run.spec.method, run)
    synthetic = dm.start()
    for index in range(3):
        synthetic.clear_gradient()
        step = dm.draw(index, synthetic)
        loss = dm.backward(step)["loss/base"].item()
        expected, gradient = published_loop(dm, step)
        assert loss == pytest.approx(expected, rel=1e-5)
        assert torch.allclose(synthetic.gradient, gradient, rtol=1e-4, atol=1e-5 * gradient.abs().max().item())
        synthetic.step()


def test_batch_norm_takes_the_statistics_of_all_classes_together(make_run: Callable[..., Run]) -> None:
    run = make_run(
        compute=Compute(CPU, piece=8, training_piece=8, graph=8),
        network={"name": "convnet", "width": 8, "norm": "batch"},
    )
    assert isinstance(run.spec.method, DMConfig)
    dm = DM(run.spec.method, run)
    synthetic = dm.start()
    step = dm.draw(0, synthetic)
    assert [len(group) for group in step.class_groups()] == [synthetic.classes]
    loss = dm.backward(step)["loss/base"].item()

    network = build(run.spec.network, run.dataset.shape, 3).train()
    network.load_state_dict({**step.params})
    sizes = [len(rows) for rows in step.rows]
    real_images = siamese.apply_by_class(step.draws, run.real_images(torch.cat(step.rows)), sizes)
    own_images = siamese.apply_by_class(step.draws, synthetic.images, [2] * 3)
    with torch.no_grad():
        real = [part.mean(0) for part in network.features(real_images).split(sizes)]
        own = [part.mean(0) for part in network.features(own_images).split(2)]
    expected = sum(((a - b) ** 2).sum().item() for a, b in zip(real, own, strict=True))
    assert loss == pytest.approx(expected, rel=1e-5)


def test_every_step_sees_a_fresh_network_and_its_own_draws(make_run: Callable[..., Run]) -> None:
    run = make_run()
    assert isinstance(run.spec.method, DMConfig)
    dm = DM(run.spec.method, run)
    synthetic = dm.start()
    weights, rows = [], []
    for index in range(2):
        step = dm.draw(index, synthetic)
        weights.append(step.params["classifier.weight"].clone())
        rows.append(torch.cat(step.rows))
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(rows[0], rows[1])


@pytest.mark.parametrize(("distance", "variant"), [("bacon", "released"), ("bacon_paper", "paper")])
def test_another_distance_takes_the_place_of_the_means(
    make_run: Callable[..., Run], distance: str, variant: str
) -> None:
    """Then the method's part is what the regulariser of that name would add at a weight of 1."""
    term = {"name": "bacon", "weight": 1, "variant": variant}
    run = make_run(method={"name": "dm", "batch_real": 8, "distance": distance}, regularizers=[term])
    assert isinstance(run.spec.method, DMConfig)
    dm = DM(run.spec.method, run)
    synthetic = dm.start()
    step = dm.draw(0, synthetic)
    loss, own = dm.backward(step)["loss/base"], synthetic.gradient.clone()
    synthetic.clear_gradient()
    added = build_regularizer(run.spec.regularizers[0], run).backward(step, 1.0)["loss/bacon"]
    assert own.any()
    assert loss == added
    assert torch.equal(own, synthetic.gradient)
