"""SRe2L and FADRM against plain loops after their sources, batch by batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddcore.methods import build_method
from ddcore.methods.shared.crops import random_crops
from ddcore.methods.sre2l import FADRM, SRe2L
from ddcore.nets import build
from ddcore.runtime.context import Run
from ddcore.spec import SpecError, parse
from ddcore.spec.methods.sre2l import RecoveringConfig
from tests.ddcore.conftest import blobs
from tests.ddcore.memory import PeakMemory

TEACHER = {"network": {"name": "convnet", "norm": "batch", "width": 4}, "epochs": 1}
METHOD = {"name": "sre2l", "iterations": 4, "teacher": TEACHER, "candidates": 10}
STAGED = METHOD | {"name": "fadrm", "rounds": 2}


def ready(make_run: Callable[..., Run], **fields: Any) -> tuple[SRe2L | FADRM, Run]:
    run = make_run(**{"method": METHOD, **fields})
    method = build_method(run.spec.method, run)
    assert isinstance(method, SRe2L | FADRM)
    method.prepare()
    return method, run


def plain_loss(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy, and what hooks on the normalisations find, as the released code has it."""
    distances: list[Tensor] = []

    def hook(module: nn.BatchNorm2d, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        maps = inputs[0]
        mean = maps.mean([0, 2, 3])
        variance = maps.permute(1, 0, 2, 3).contiguous().reshape(maps.shape[1], -1).var(1, unbiased=False)
        assert module.running_var is not None
        assert module.running_mean is not None
        distances.append(torch.norm(module.running_var - variance, 2) + torch.norm(module.running_mean - mean, 2))

    layers = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    handles = [layer.register_forward_hook(hook) for layer in layers]
    loss = F.cross_entropy(network(images), labels)
    for handle in handles:
        handle.remove()
    return loss + 0.01 * sum(10 * d if index == 0 else d for index, d in enumerate(distances))


@pytest.mark.parametrize(
    ("fields", "residual"),
    [
        ({"batch_classes": 100}, 0.0),
        ({"batch_classes": 2, "init": "real"}, 0.0),
        ({"name": "fadrm", "rounds": 2, "init": "real"}, 0.5),
        ({"other_teachers": [{**TEACHER, "epochs": 2}]}, 0.0),
    ],
    ids=str,
)
def test_steps_are_those_of_the_released_loop_batch_by_batch(
    make_run: Callable[..., Run], fields: dict[str, Any], residual: float
) -> None:
    init = fields.pop("init", "noise")
    method, run = ready(make_run, method=METHOD | fields, init=init)
    networks = []
    for config, teacher in zip(method.config.all_teachers, method._teachers, strict=True):
        network = build(config.network, run.dataset.shape, 3).eval()
        network.load_state_dict(teacher._params)
        networks.append(network)
    batches = [torch.tensor(rows) for rows in ([0, 2], [4], [1, 3], [5])]
    if method.config.batch_classes > 2:
        batches = [torch.tensor([0, 2, 4]), torch.tensor([1, 3, 5])]
    synthetic = method.start()
    patches = synthetic.stored.detach().clone()
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (run.dataset.mean, run.dataset.std))
    views = [method.draw(index, synthetic).views for index in range(4)]
    run.random.load_state({})
    synthetic = method.start()
    totals = []
    for index in range(4):
        step = method.draw(index, synthetic)
        synthetic.begin_step()
        totals.append(float(method.backward(step)["loss/base"]))
        synthetic.step()

    expected, sums = patches.clone(), [0.0] * 4
    for number, rows in enumerate(batches):
        images, done = patches[rows].clone(), 0
        for end in (2, 4) if residual else (4,):
            images = images.requires_grad_()
            optimizer = torch.optim.Adam([images], 0.25, betas=(0.5, 0.9), eps=1e-8)
            for turn in range(done, end):
                optimizer.param_groups[0]["lr"] = 0.125 * (1 + math.cos(math.pi * turn / 4))
                loss = plain_loss(networks[turn % len(networks)], views[turn][number](images), rows // 2)
                sums[turn] += loss.item()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                with torch.no_grad():
                    images.copy_(torch.minimum(torch.maximum(images, -mean / std), (1 - mean) / std))
            done, images = end, images.detach()
            if end != 4:
                images = (1 - residual) * images + residual * patches[rows]
        expected[rows] = images
    assert totals == pytest.approx(sums, rel=1e-4)
    # A slope near zero has either sign, and Adam makes a whole step of it.
    close = torch.isclose(synthetic.stored.detach(), expected, rtol=1e-3, atol=1e-3)
    assert close.float().mean() > 0.99


def test_it_begins_with_the_crops_that_the_teacher_is_half_sure_of(make_run: Callable[..., Run]) -> None:
    method, run = ready(make_run, init="real", method=METHOD | {"smallest": 0.25})
    begun = method.start().stored.detach()
    network = build(method.config.teacher.network, run.dataset.shape, 3).eval()
    network.load_state_dict(method._teachers[0]._params)
    pools, crops = run.random, []
    pools.load_state({})
    candidates, places = pools.host_stream("method/candidates"), pools.host_stream("method/crops")
    for label in range(3):
        rows = (run.dataset.train.labels == label).nonzero().flatten()
        rows = rows[torch.randperm(len(rows), generator=candidates)[:10]]
        found = random_crops(run.real_images(rows), (8, 8), 0.25, places)
        with torch.no_grad():
            losses = F.cross_entropy(network(found), torch.full((10,), label), reduction="none")
        # Ranks 4 and 5 of 0 to 9.
        crops.append(found[losses.argsort()[4:6]])
    torch.testing.assert_close(begun, torch.cat(crops))


def test_teachers_take_turns(make_run: Callable[..., Run]) -> None:
    """A regulariser that keeps its teacher as long as the method does has another one at every step then."""
    method, _ = ready(make_run, method=METHOD | {"other_teachers": [{**TEACHER, "epochs": 2}]})
    assert len(method._teachers) == 2
    synthetic = method.start()
    fresh = [method.draw(index, synthetic).fresh_network for index in range(3)]
    assert fresh == [True, True, True]
    alone, _ = ready(make_run)
    assert [alone.draw(index, alone.start()).fresh_network for index in range(2)] == [True, False]


def test_images_stay_within_the_range_of_pixels(make_run: Callable[..., Run]) -> None:
    method, run = ready(make_run, method=METHOD | {"lr_img": 5.0})
    synthetic = method.start()
    for index in range(3):
        synthetic.begin_step()
        method.backward(method.draw(index, synthetic))
        synthetic.step()
    pixels = run.dataset.denormalize(synthetic.stored.detach())
    assert float(pixels.min()) >= -1e-6
    assert float(pixels.max()) <= 1 + 1e-6


def test_the_memory_of_a_step_does_not_grow_with_the_classes(make_run: Callable[..., Run]) -> None:
    """What is beyond the images and their gradient is that of one batch."""
    beyond = []
    for classes in (10, 40):
        data = blobs(classes=classes, per_class=12, shape=(3, 16, 16))
        method, _ = ready(make_run, dataset=data, method=METHOD | {"batch_classes": 5})
        synthetic = method.start()
        step = method.draw(0, synthetic)
        synthetic.begin_step()
        with PeakMemory() as memory:
            method.backward(step)
        beyond.append(memory.peak - 2 * synthetic.stored.numel() * 4)
    assert beyond[1] < 1.2 * beyond[0]


INSTANCE = {"network": {"name": "convnet", "width": 4}}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"method": METHOD | {"teacher": INSTANCE}},
            r"/method/teacher/network: .* the teacher `convnet` has `norm` 'instance'; use a network with `norm`: 'bat",
        ),
        (
            {"method": METHOD | {"other_teachers": [INSTANCE]}},
            r"/method/other_teachers/0/network: .* has `norm` 'instance'",
        ),
        ({"whitening": True}, r"/whitening: `sre2l` keeps pixels within their range, which `whitening` has none of"),
        ({"init": "k_means"}, r"/init: .* but `init` is 'k_means'; use 'noise' or 'real'"),
        (
            {"init": "real", "ipc": 11},
            r"/method/candidates: .* 10 crops of each class, but `ipc` is 11; choose at least",
        ),
        ({"method": STAGED, "init": "noise"}, r"/init: `fadrm` begins with crops .* but `init` is 'noise'; use 'real'"),
        ({"method": STAGED | {"rounds": 5}}, r"/method/rounds: `rounds` is 5, but there are 4 `iterations`; choose at"),
        ({"decoder": "mosaic"}, r"/decoder: .*use 'identity'"),
        ({"extends": "job_1"}, r"/method: the method `sre2l` lets the classes of a set influence each other"),
    ],
)
def test_what_cannot_work_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse({"dataset": "blobs", "ipc": 2, "method": METHOD, **fields})


def test_the_default_teacher_has_batch_normalisation() -> None:
    for name in ("sre2l", "fadrm"):
        method = parse({"dataset": "cifar10", "ipc": 1, "method": name}).method
        assert isinstance(method, RecoveringConfig)
        assert method.teacher.network.model_dump()["norm"] == "batch"
