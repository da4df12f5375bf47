"""CIM pairs each tile with the image that it was made of, and moves what is added to the mosaics by AdamW."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ddcore.augment import siamese
from ddcore.formulas.feature_distances import paired_absolute
from ddcore.methods import build_method
from ddcore.methods.cim import CIM
from ddcore.nets import build
from ddcore.runtime.context import Run
from ddcore.spec import SpecError, parse
from ddcore.synthetic.decoders import Mosaic
from tests.ddcore.conftest import blobs
from tests.ddcore.memory import PeakMemory

TEACHER = {"network": {"name": "convnet", "width": 4}, "epochs": 1}
METHOD = {"name": "cim", "teacher": TEACHER, "candidates": 10}


def waves(count: int, delta: float) -> Tensor:
    """sin(k + delta) for k from 1, float64."""
    return torch.sin(torch.arange(1, count + 1, dtype=torch.float64) + delta)


def ready(make_run: Callable[..., Run], **fields: Any) -> tuple[CIM, Run]:
    run = make_run(**{"method": METHOD, **fields})
    method = build_method(run.spec.method, run)
    assert isinstance(method, CIM)
    method.prepare()
    return method, run


def test_the_printed_loss() -> None:
    anchors, tiles = waves(12, 0).view(3, 4), waves(12, 2).view(3, 4)
    assert paired_absolute(anchors, tiles).item() == pytest.approx(3.243427167415428, rel=1e-14)
    by_hand = sum(abs(math.sin(k) - math.sin(k + 2)) for k in range(1, 13)) / 4
    assert paired_absolute(anchors, tiles).item() == pytest.approx(by_hand, rel=1e-14)


def test_the_printed_tiles() -> None:
    tiles = Mosaic(2, (1, 4, 4)).decode(waves(16, 0).view(1, 1, 4, 4), 1)
    assert tiles.shape == (4, 1, 4, 4)
    assert tiles.sum().item() == pytest.approx(6.59113665072174, rel=1e-13)
    expected = [0.1411200080598672, -0.08336061778208165, -0.5323218694659793, -0.7568024953079282]
    assert tiles[1, 0, 0].tolist() == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("scales", ["single", "multi"])
def test_steps_are_those_of_the_released_loop_class_by_class(make_run: Callable[..., Run], scales: str) -> None:
    decoder = {"name": "mosaic", "factor": 2, "scales": scales}
    method, run = ready(make_run, decoder=decoder, augmentation="crop_cutout_flip")
    network = build(method.config.teacher.network, run.dataset.shape, 3).eval()
    network.load_state_dict(method._teacher._params)
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (run.dataset.mean, run.dataset.std))
    pools, draws = run.random.host_stream("method/candidates"), run.random.host_stream("method/augment")
    anchors = []
    for label in range(3):
        rows = (run.dataset.train.labels == label).nonzero().flatten()
        rows = rows[torch.randperm(len(rows), generator=pools)[:10]]
        images = run.pixels(rows)
        with torch.no_grad():
            losses = F.cross_entropy(network((images - mean) / std), torch.full((10,), label), reduction="none")
        anchors.append(images[losses.argsort()[:8]])
    shapes = [[siamese.draw_stacked(run.strategy, None, (3, 8, 8), draws) for _ in range(3)] for _ in range(3)]
    expected, totals = [], [0.0] * 3
    for label, real in enumerate(anchors):
        mosaic = torch.zeros(2, 3, 8, 8)
        for tile in range(4):
            top, left = 4 * (tile // 2), 4 * (tile % 2)
            # The nearest pixel of two is the first.
            mosaic[:, :, top : top + 4, left : left + 4] = real[2 * tile : 2 * tile + 2, :, ::2, ::2]
        delta = torch.zeros_like(mosaic, requires_grad=True)
        optimizer = torch.optim.AdamW([delta], 0.01)
        for step in range(3):
            parts = [(mosaic + delta)[:, :, top : top + 4, left : left + 4] for top in (0, 4) for left in (0, 4)]
            tiles = F.interpolate(torch.cat(parts), size=(8, 8), mode="bilinear", align_corners=False)
            both = siamese.apply(shapes[step][label], (torch.cat([real, tiles]) - mean) / std)
            features = network.features(both)
            loss = (features[:8] - features[8:]).abs().mean(dim=1).sum()
            totals[step] += loss.item()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        expected.append(((mosaic + delta).detach() - mean) / std)

    run.random.load_state({})
    synthetic = method.start()
    for index in range(3):
        synthetic.begin_step()
        step_drawn = method.draw(index, synthetic)
        assert step_drawn.fresh_network
        assert float(method.backward(step_drawn)["loss/base"]) == pytest.approx(totals[index], rel=1e-4)
        synthetic.step()
    torch.testing.assert_close(synthetic.stored.detach(), torch.cat(expected), rtol=1e-3, atol=1e-3)


def test_images_that_are_not_clamped_may_leave_the_range(make_run: Callable[..., Run]) -> None:
    method, run = ready(make_run, method={**METHOD, "lr_img": 0.5})
    synthetic = method.start()
    for index in range(4):
        synthetic.begin_step()
        method.backward(method.draw(index, synthetic))
        synthetic.step()
    pixels = run.dataset.denormalize(synthetic.stored.detach())
    assert float(pixels.min()) < 0 or float(pixels.max()) > 1


def test_the_memory_of_a_step_does_not_grow_with_the_classes(make_run: Callable[..., Run]) -> None:
    """What is beyond the images, their gradient and their moments is that of a few classes."""
    beyond = []
    for classes in (10, 40):
        data = blobs(classes=classes, per_class=12, shape=(3, 16, 16))
        method, run = ready(make_run, dataset=data, network={"name": "convnet", "width": 4})
        method._teacher.functional.graph_images = 16
        synthetic = method.start()
        step = method.draw(0, synthetic)
        synthetic.begin_step()
        with PeakMemory() as memory:
            method.backward(step)
        held = synthetic.stored.numel() * 4
        beyond.append(memory.peak - 2 * held - run.dataset.train.images.numel())
    assert beyond[1] < 1.2 * beyond[0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"init": "noise"}, r"/init: `cim` begins with mosaics of real images, but `init` is 'noise'; use 'real'"),
        (
            {"ipc": 3},
            r"/method/candidates: `candidates` is 10 .* take 12; choose at least 12, or an `ipc` of at most 2",
        ),
        ({"whitening": True}, r"/whitening: `cim` puts images together of pixels, which `whitening` mixes; use false"),
        ({"decoder": "identity"}, r"/decoder: .*use 'mosaic'"),
        (
            {"decoder": {"name": "mosaic", "scales": "bound"}},
            r"/decoder/scales: .* 'bound', which leaves tiles out; use 'single' or 'multi'",
        ),
        ({"regularizers": {"bacon": 1}}, r"/regularizers/0: .* but `cim` matches none; use one of "),
        ({"extends": "job_1"}, r"/method: the method `cim` lets the classes of a set influence each other"),
    ],
)
def test_what_cannot_work_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse({"dataset": "blobs", "ipc": 2, "method": METHOD, **fields})
