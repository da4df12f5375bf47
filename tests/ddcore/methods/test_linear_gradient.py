"""Linear gradient matching against a plain loop after its source, with autograd twice through the classifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddcore.machine.compute import Compute
from ddcore.methods import build_method
from ddcore.methods.linear_gradient import HeadStep, LinearGradient
from ddcore.nets import build
from ddcore.runtime.context import Run
from ddcore.spec import LinearGradientConfig, SpecError, parse
from tests.ddcore.conftest import CPU, blobs
from tests.ddcore.memory import PeakMemory

METHOD: dict[str, Any] = {
    "name": "linear_gradient",
    "iterations": 6,
    "teacher": {"network": {"name": "convnet", "width": 4}, "epochs": 1},
    "views": 3,
    "grow_every": 2,
    "lr_img": 0.05,
}
Make = Callable[..., Run]


def ready(make_run: Make, **fields: Any) -> tuple[LinearGradient, Run]:
    run = make_run(**{"method": METHOD, **fields})
    method = build_method(run.spec.method, run)
    assert isinstance(method, LinearGradient)
    method.prepare()
    return method, run


def network_of(method: LinearGradient, run: Run) -> Any:
    network = build(method.config.teacher.network, run.dataset.shape, len(run.dataset.classes)).eval()
    network.load_state_dict(method._teacher._params)
    return network


def gradient(network: Any, head: nn.Linear, images: Tensor, labels: Tensor, *, graph: bool) -> Tensor:
    """Of the mean cross-entropy of a linear classifier, as the released code takes it."""
    loss = F.cross_entropy(head(network.features(images)), labels)
    parts = torch.autograd.grad(loss, [head.weight, head.bias], create_graph=graph)
    return torch.cat([part.flatten() for part in parts])


def plain_loss(network: Any, step: HeadStep, run: Run, images: Tensor, views: int) -> Tensor:
    """1 - cosine of the gradients, differentiable to the synthetic images (2 of each of 3 classes)."""
    head = nn.Linear(step.head[0].shape[1], 3)
    with torch.no_grad():
        head.weight.copy_(step.head[0])
        head.bias.copy_(step.head[1])
    real = step.real.of(run.real_images(step.rows), 0)
    of_real = gradient(network, head, real, run.dataset.train.labels[step.rows], graph=False)
    copies = torch.cat([image.expand(views, -1, -1, -1) for image in images])
    labels = torch.tensor([0, 0, 1, 1, 2, 2]).repeat_interleave(views)
    of_synthetic = gradient(network, head, step.synthetic_views.of(copies, 0), labels, graph=True)
    return 1 - F.cosine_similarity(of_real, of_synthetic, dim=0)


def test_steps_are_those_of_the_released_loop(make_run: Make) -> None:
    method, run = ready(make_run)
    network, synthetic = network_of(method, run), method.start()
    for index in range(6):
        synthetic.begin_step()
        step = method.draw(index, synthetic)
        loss = float(method.backward(step)["loss/base"])
        slope = synthetic.gradient.clone()

        expected = plain_loss(network, step, run, synthetic.images, 3)
        (expected_slope,) = torch.autograd.grad(expected, synthetic.learned["images"].value)
        assert loss == pytest.approx(expected.item(), rel=1e-4)
        assert float(expected_slope.norm()) > 0
        torch.testing.assert_close(slope, expected_slope, rtol=1e-3, atol=1e-6)
        synthetic.step()
    levels: Any = synthetic.decoder
    assert levels.levels == 3


def test_every_step_has_a_classifier_and_views_of_its_own(make_run: Make) -> None:
    method, run = ready(make_run, method=METHOD | {"head_std": 0.5})
    synthetic = method.start()
    steps = [method.draw(index, synthetic) for index in range(2)]
    assert not torch.equal(steps[0].head[0], steps[1].head[0])
    assert not torch.equal(steps[0].rows, steps[1].rows)
    assert not torch.equal(steps[0].synthetic_views.crops.top, steps[1].synthetic_views.crops.top)
    assert steps[0].synthetic_views.seed != steps[1].synthetic_views.seed != steps[1].real.seed
    assert all(step.fresh_network for step in steps)
    weights = torch.cat([step.head[0].flatten() for step in steps])
    assert float(weights.std()) == pytest.approx(0.5, rel=0.3)
    assert not bool(steps[0].head[1].any())
    assert len(steps[0].rows) == 3 * 6
    assert len(set(steps[0].rows.tolist())) == 18, "distinct"
    assert run.dataset.flip == bool(steps[0].real.crops.mirrored.any() or steps[1].real.crops.mirrored.any())


def test_noise_has_its_deviation_in_pixel_units_and_is_the_same_again(make_run: Make) -> None:
    method, run = ready(make_run, method=METHOD | {"views": 200, "smallest": 1.0})
    views = method.draw(0, method.start()).synthetic_views
    grey = torch.zeros(1200, 3, 8, 8)
    seen = views.of(grey, 0)
    assert torch.equal(seen, views.of(grey, 0))
    deviations = seen.std(dim=(0, 2, 3)) * torch.tensor(run.dataset.std)
    assert deviations.tolist() == pytest.approx([0.2] * 3, rel=0.02)
    quiet, _ = ready(make_run, method=METHOD | {"noise": 0.0})
    assert not bool(quiet.draw(0, quiet.start()).real.of(grey[:18], 0).any())


def test_a_view_is_the_same_in_whichever_piece_it_is_asked_for(make_run: Make) -> None:
    method, _ = ready(make_run, method=METHOD | {"views": 20})
    views = method.draw(0, method.start()).synthetic_views
    images = torch.randn(120, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    whole, grey = views.of(images, 0), views.of(torch.zeros_like(images), 0)
    for size in (1, 7, 32, 50, 119):
        pieces = [views.of(piece, size * number) for number, piece in enumerate(images.split(size))]
        torch.testing.assert_close(torch.cat(pieces), whole, rtol=0, atol=1e-5)
        noise = [views.of(torch.zeros_like(piece), size * number) for number, piece in enumerate(images.split(size))]
        assert torch.equal(torch.cat(noise), grey), "the same bytes"
    assert len({view.numpy().tobytes() for view in grey}) == 120, "no two views have the same noise"


def test_groups_of_classes_have_the_slope_of_one_graph(make_run: Make) -> None:
    slopes = []
    for graph, count in ((512, 1), (1, 2)):
        compute = Compute(CPU, graph=graph)
        method, _ = ready(make_run, compute=compute)
        synthetic = method.start()
        groups = list(synthetic.class_groups(method._teacher.functional.graph_images // 3))
        assert len(groups) == count
        step = method.draw(0, synthetic)
        method.backward(step)
        slopes.append(synthetic.gradient.clone())
    torch.testing.assert_close(slopes[1], slopes[0], rtol=1e-4, atol=1e-7)


def test_the_memory_of_a_step_does_not_grow_with_the_classes(make_run: Make) -> None:
    """What is beyond the images, their levels and the features is that of one group."""
    beyond = []
    for classes in (10, 40):
        compute = Compute(CPU, graph=16)
        data = blobs(classes=classes, per_class=12, shape=(3, 16, 16))
        method, _ = ready(make_run, dataset=data, compute=compute)
        synthetic = method.start()
        step = method.draw(0, synthetic)
        synthetic.begin_step()
        with PeakMemory() as memory:
            method.backward(step)
        features = 3 * len(synthetic) * method._teacher.feature_count
        beyond.append(memory.peak - 4 * (2 * synthetic.stored.numel() + 4 * features))
    assert beyond[1] < 1.3 * beyond[0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"init": "real"}, r"/init: `linear_gradient` begins with noise, .* but `init` is 'real'; use 'noise'"),
        ({"whitening": True}, r"/whitening: `linear_gradient` keeps pixels within their range"),
        ({"decoder": "mosaic"}, r"/decoder: .*use 'identity'"),
        ({"method": METHOD | {"views": 0}}, r"/method/views: `views` is 0, but must be at least 1"),
        ({"method": METHOD | {"smallest": 0}}, r"/method/smallest: .* greater than 0"),
        ({"extends": "job_1"}, r"/method: the method `linear_gradient` lets the classes of a set influence each other"),
        ({"regularizers": {"iid": 1}}, r"/regularizers/0: `iid` compares the features"),
    ],
)
def test_what_cannot_work_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse({"dataset": "blobs", "ipc": 2, "method": METHOD, **fields})


def test_the_defaults_are_the_released_ones() -> None:
    spec = parse({"dataset": "cifar10", "ipc": 1, "method": "linear_gradient"})
    method = spec.method
    assert isinstance(method, LinearGradientConfig)
    assert spec.init == "noise"
    assert (method.iterations, method.lr_img, method.grow_every, method.views) == (5000, 0.002, 200, 10)
    assert (method.smallest, method.noise, method.head_std) == (0.08, 0.2, 0.01)
